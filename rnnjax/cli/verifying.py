"""The command `rnnjax verify`: compute finished runs again and compare them."""

import math
import warnings
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from rnnjax.counting import count
from rnnjax.errors import UserError


if TYPE_CHECKING:
    from rnnjax.store.rundir import RunDir
    from rnnjax.sweeps.differences import Difference
    from rnnjax.sweeps.verifying import Verdict


SCALARS = ("manifest", "metrics", "results")
"""Parts made of single numbers, where printing the two values is enough."""


def verify(name: str, whole: bool, run_code: bool) -> int:
    """Compute one run, or all of a folder, again; print one line per run.

    Args:
        name: a run directory, or ``POOL/`` and the beginning of a run id; with `whole`,
            a pool or the folder of a sweep.
        whole: whether to verify all finished runs in the folder `name`.
        run_code: whether cells and tasks from users' files may be executed.

    Returns:
        0 if all runs are equal to their records, or within the promised tolerance; 1 if
        a run differs; 2 if none differs but some could not be verified.

    Raises:
        UserError: the run or folder does not exist, or has no finished run.
    """
    from rnnjax.cli.tables import find_run
    from rnnjax.devices import check_settings, use_every_core
    from rnnjax.sweeps.progress import LiveProgress
    from rnnjax.sweeps.verifying import verify as verdicts_on
    from rnnjax.terminal import console, error_screen

    check_settings()
    use_every_core()
    runs, unread = finished_runs(name) if whole else ([find_run(name)], [])
    verdicts = verdicts_on(runs, run_code, LiveProgress(error_screen()))
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
    """The verdict on a run, in one line."""
    return f"{verdict.run.path.name}: {_outcome(verdict)}"


def _outcome(verdict: "Verdict") -> str:
    promise = verdict.promise
    if verdict.outcome == "refused":
        return f"cannot be verified: {verdict.refused}"
    code = "made by different numeric code" if verdict.other_code else ""
    why = "; ".join(filter(None, [*promise.reasons, code]))
    if verdict.outcome == "equal":
        though = f", though {code}" if code else ""
        return (
            f"equal, bit by bit{though} ({verdict.rows} metrics rows, "
            f"{verdict.probed} probed steps, {verdict.arrays} arrays)"
        )
    if verdict.outcome == "within":
        if verdict.agrees_until >= verdict.steps:
            reach = f"in all {verdict.steps} updates"
        else:
            reach = (
                f"up to step {verdict.agrees_until} of {verdict.steps}; later "
                f"differences are allowed, as the promise covers {promise.updates} "
                "updates"
            )
        return f"equal {promise}, {reach} ({why})"
    places = [f"at step {one.place.step} in {_where(one)}" for one in verdict.first]
    places[:1] = [f"differs first {place}" for place in places[:1]]
    parts = [*verdict.damage, *places]
    if promise.reasons and verdict.first:
        parts.append(f"the promise is equality {promise} for {promise.updates} updates")
    return "; ".join(parts) + (f" ({why})" if why else "")


def _where(one: "Difference") -> str:
    """The array that differs, both values, and for a large array how far apart."""
    scalar = one.place.part in SCALARS or not math.isfinite(one.relative)
    apart = f", {one.relative:.1g} of the array's largest number apart"
    values = f"({one.here} here, {one.stored} stored{'' if scalar else apart})"
    return f"{one.place.part} '{one.place.name}' {values}"


def summary(outcomes: Counter[str]) -> str:
    """How many runs had each outcome."""
    labels = {
        "equal": "equal, bit by bit",
        "within": "equal within a tolerance",
        "differs": "differ" if outcomes["differs"] != 1 else "differs",
        "refused": "cannot be verified",
    }
    parts = [f"{outcomes[key]} {text}" for key, text in labels.items() if outcomes[key]]
    return f"{count(outcomes.total(), 'run')}: {', '.join(parts)}"
