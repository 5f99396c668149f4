"""The command that examines a pool, and mends it."""

from collections import Counter
from pathlib import Path

from rnnjax.store.fsck import Examination, examine, repair
from rnnjax.terminal import console


def fsck(folder: str, mend: bool) -> int:
    """Say in a sentence each what is wrong with a pool; with `mend`, put it right.

    Returns:
        0 if nothing is damaged any more, 1 otherwise. What killed processes left is no
        damage.

    Raises:
        UserError: the folder is no pool, or something cannot be moved.
    """
    found = examine(folder)
    for finding in found.findings:
        console().print(f"{finding.kind}: {finding.text}", soft_wrap=True)
    if mend and found.findings:
        repair(folder, found.findings)
        left = examine(folder)
        mended = len(found.findings) - len(left.findings)
        console().print(f"mended {mended} of {len(found.findings)}")
        found = left
    console().print(_summary(folder, found), soft_wrap=True)
    return int(any(one.kind not in ("leftover", "note") for one in found.findings))


def _summary(folder: str, found: Examination) -> str:
    kinds = Counter(finding.kind for finding in found.findings)
    parts = [f"{found.runs} runs", f"{found.finished} finished and whole"]
    if found.busy:
        parts.append(f"{found.busy} being worked on, not examined")
    parts += [f"{number} {kind}" for kind, number in sorted(kinds.items())]
    return f"{Path(folder)}: {', '.join(parts if kinds else [*parts, 'all sound'])}"
