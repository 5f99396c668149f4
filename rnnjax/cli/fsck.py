"""The command `rnnjax fsck`: check a pool, and repair it."""

from collections import Counter
from pathlib import Path

from rnnjax.counting import count
from rnnjax.store.fsck import Examination, examine, repair
from rnnjax.terminal import console


def fsck(folder: str, mend: bool) -> int:
    """Print one sentence per problem of a pool; with `mend`, repair them.

    Returns:
        0 if nothing is damaged (after the repair, if any), 1 otherwise. Leftovers of
        killed processes do not count as damage.

    Raises:
        UserError: the folder is not a pool, or a file cannot be moved.
    """
    found = examine(folder)
    for finding in found.findings:
        console().print(f"{finding.kind}: {finding.text}", soft_wrap=True)
    if mend and found.findings:
        repair(folder, found.findings)
        left = examine(folder)
        mended = len(found.findings) - len(left.findings)
        console().print(f"repaired {mended} of {len(found.findings)} problems")
        found = left
    console().print(_summary(folder, found), soft_wrap=True)
    return int(any(one.kind not in ("leftover", "note") for one in found.findings))


def _summary(folder: str, found: Examination) -> str:
    kinds = Counter(finding.kind for finding in found.findings)
    parts = [count(found.runs, "run"), f"{found.finished} finished and undamaged"]
    if found.busy:
        parts.append(f"{found.busy} being computed, not checked")
    parts += [f"{number} {kind}" for kind, number in sorted(kinds.items())]
    return f"{Path(folder)}: {', '.join(parts if kinds else [*parts, 'no problems'])}"
