"""The command `rnnjax verify`: finished runs are computed again and compared."""

import math
import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rnnjax.counting import count
from rnnjax.errors import UserError


if TYPE_CHECKING:
    from rnnjax.store.rundir import RunDir
    from rnnjax.sweeps.differences import Difference
    from rnnjax.sweeps.verifying import Verdict


SCALARS = ("manifest", "metrics", "results")
"""Parts of single numbers, where two values say it all."""


def verify(name: str, whole: bool, run_code: bool) -> int:
    """Compute one run, or all of a folder, again; a line for each says what came out.

    Args:
        name: a run directory, or ``POOL/beginning`` of an identity; with `whole` a pool
            or the folder of a sweep, whose finished runs are meant.
        whole: see `name`.
        run_code: whether cells and tasks of a user's may be executed.

    Returns:
        0 all are equal, or within the tolerance that is promised; 1 something differs;
        2 nothing differs, but a run could not be verified.

    Raises:
        UserError: there is no such run or folder, or nothing in it is finished.
    """
    from rich.console import Console

    from rnnjax.cli.tables import find_run
    from rnnjax.devices import check_settings, use_every_core
    from rnnjax.sweeps.progress import LiveProgress
    from rnnjax.sweeps.verifying import verify as verdicts_on
    from rnnjax.terminal import console

    check_settings()
    use_every_core()
    runs, unread = finished_runs(name) if whole else ([find_run(name)], [])
    verdicts = verdicts_on(runs, run_code, LiveProgress(Console(stderr=True)))
    lines = [sentence(verdict) for verdict in verdicts] + unread
    outcomes = Counter(verdict.outcome for verdict in verdicts)
    outcomes["refused"] += len(unread)
    if whole:
        lines.append(summary(outcomes))
    console().print(*lines, sep="\n", soft_wrap=True)
    return 1 if outcomes["differs"] else 2 if outcomes["refused"] else 0


def finished_runs(folder: str) -> tuple[list["RunDir"], list[str]]:
    """The finished runs of a pool or sweep, and a line for each that cannot be read.

    Raises:
        UserError: the folder holds no finished run.
    """
    from rnnjax.results import load
    from rnnjax.store.manifest import FINISHED
    from rnnjax.store.rundir import RunDir

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        table = load(folder).runs
    unread = [f"cannot be verified: {warning.message}" for warning in caught]
    known = zip(table["path"], table["status"], strict=True)
    runs = [RunDir(Path(path)) for path, status in known if status in FINISHED]
    if not runs and not unread:
        raise UserError(f"'{folder}' holds no finished run")
    return runs, unread


def sentence(verdict: "Verdict") -> str:
    """What came out for a run, in one line."""
    return f"{verdict.run.path.name}: {_outcome(verdict)}"


def _outcome(verdict: "Verdict") -> str:
    promise = verdict.promise
    if verdict.outcome == "refused":
        return f"cannot be verified: {verdict.refused}"
    code = "made by other numeric code" if verdict.other_code else ""
    why = "; ".join(filter(None, [*promise.reasons, code]))
    if verdict.outcome == "equal":
        though = f", though {code}" if code else ""
        return f"equal, bit by bit{though} ({_counts(verdict)})"
    if verdict.outcome == "within":
        if verdict.agrees_until >= verdict.steps:
            reach = f"in all {verdict.steps} updates"
        else:
            reach = (
                f"up to step {verdict.agrees_until} of {verdict.steps}; later "
                f"differences are no failure, as {promise.updates} updates are promised"
            )
        return f"equal {promise}, {reach} ({why})"
    parts = [*verdict.damage, *_differences(verdict.first)]
    if promise.reasons and verdict.first:
        parts.append(f"promised is {promise} for {promise.updates} updates")
    return "; ".join(parts) + (f" ({why})" if why else "")


def _counts(verdict: "Verdict") -> str:
    return (
        f"{verdict.rows} metrics rows, {verdict.probed} probed steps, "
        f"{verdict.arrays} arrays"
    )


def _differences(first: Sequence["Difference"]) -> list[str]:
    """The first difference of all, then the first of each other part."""
    if not first:
        return []
    one, *others = first
    texts = [f"differs first at step {one.place.step} in {_where(one)}"]
    return texts + [f"at step {it.place.step} in {_where(it)}" for it in others]


def _where(one: "Difference") -> str:
    """The array of a difference with both values; of a large one, how far apart."""
    scalar = one.place.part in SCALARS or not math.isfinite(one.relative)
    apart = "" if scalar else f", {one.relative:.1g} of its largest number apart"
    values = f"({one.here} here, {one.stored} stored{apart})"
    return f"{one.place.part} '{one.place.name}' {values}"


def summary(outcomes: Counter[str]) -> str:
    """How many runs ended in which way."""
    words = {
        "equal": "equal, bit by bit",
        "within": "equal within a tolerance",
        "differs": "differ" if outcomes["differs"] != 1 else "differs",
        "refused": "cannot be verified",
    }
    parts = [f"{outcomes[key]} {text}" for key, text in words.items() if outcomes[key]]
    return f"{count(outcomes.total(), 'run')}: {', '.join(parts)}"
