"""Finished runs, computed again from what they stored and compared with it.

How close they have to come is said in `rnnjax.sweeps.promises`.
"""

import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from math import inf
from pathlib import Path
from typing import Literal

from rnnjax import interrupts
from rnnjax.errors import UserError, one_line
from rnnjax.run import Run
from rnnjax.store.environment import numerics
from rnnjax.store.manifest import Manifest
from rnnjax.store.rundir import STATE, RunDir, run_path
from rnnjax.sweeps.differences import Difference, differences
from rnnjax.sweeps.job_data import with_data
from rnnjax.sweeps.jobs import Job
from rnnjax.sweeps.launch import launch
from rnnjax.sweeps.progress import Progress
from rnnjax.sweeps.promises import EXACT, Promise, promise
from rnnjax.sweeps.recorded import Numbers, files_of, recorded
from rnnjax.sweeps.settings import LaunchSettings, TrackerConfig
from rnnjax.sweeps.user_files import file_of


NAME = "again"


@dataclass(frozen=True)
class Verdict:
    """What came out when a run was computed again.

    Attributes:
        run: its directory.
        refused: why it could not be computed again; None: it was.
        damage: a sentence for each of its files that cannot be read.
        first: the earliest difference of each part that is a failure.
        promise: what it was held to; bits that are equal need no promise.
        agrees_until: the last recorded step up to which all numbers agree.
        steps: updates that it made.
        other_code: whether other numeric code made the record.
        rows, probed, arrays: of the record: rows of metrics, probed steps, and arrays
            of parameters and state.
    """

    run: RunDir
    refused: str | None = None
    damage: tuple[str, ...] = ()
    first: tuple[Difference, ...] = ()
    promise: Promise = EXACT
    agrees_until: int = 0
    steps: int = 0
    other_code: bool = False
    rows: int = 0
    probed: int = 0
    arrays: int = 0

    @property
    def outcome(self) -> Literal["equal", "within", "differs", "refused"]:
        """All bits equal, within the tolerance where promised, neither, or unknown."""
        if self.refused is not None:
            return "refused"
        if self.damage or self.first:
            return "differs"
        return "within" if self.promise.reasons else "equal"


def verify(
    runs: Sequence[RunDir], run_code: bool = False, progress: Progress | None = None
) -> list[Verdict]:
    """Compute finished runs again, packed into a pool of their own, and compare.

    Args:
        runs: their directories.
        run_code: whether cells and tasks of a user's may be executed, from the copies
            in the run directories.
        progress: of the launch.

    Raises:
        UserError: the launch cannot begin. What is wrong with one run alone is said in
            its verdict.
    """
    jobs: dict[Path, Job] = {}
    refused: dict[Path, str] = {}
    for run in runs:
        try:
            jobs[run.path] = rebuilt(run, run_code)
        except Exception as error:  # of its data, or of code of the user's
            refused[run.path] = one_line(error)
    with (
        tempfile.TemporaryDirectory(prefix="rnnjax-verify-") as pool,
        interrupts.closing(partial(shutil.rmtree, pool, ignore_errors=True)),
    ):
        if jobs:
            settings = LaunchSettings(out=pool)
            launch([*jobs.values()], settings, "rnnjax verify", progress)
        return [
            Verdict(run, refused[run.path])
            if run.path in refused
            else _judged(run, RunDir(run_path(pool, NAME, jobs[run.path].identity)))
            for run in runs
        ]


def rebuilt(run: RunDir, run_code: bool) -> Job:
    """The job that a finished run stored.

    Raises:
        UserError: it is not finished, needs code or data that is not given, or its
            record contradicts itself.
    """
    manifest, tree = run.manifest(), run.config()
    if not manifest.is_finished:
        raise UserError(f"it is {manifest.status}, not finished")
    own = tree.get("paths", {})
    if own and not run_code:
        raise UserError(
            f"its {' and '.join(own)} would be executed, from the copy in "
            f"'{run.path}'; --run-code permits that"
        )
    opened = Run(run, run_code)
    config = opened.config
    files = tuple(filter(None, (file_of(kind, getattr(config, kind)) for kind in own)))
    resolved = {key: value for key, value in tree.items() if key != "variant"}
    job = Job(config, resolved, (), NAME, tree["variant"], TrackerConfig(), files)
    (job,) = with_data([job])
    opened.check_data()
    if job.identity != manifest.identity:
        raise UserError(_unlike(manifest))
    return job


def _unlike(manifest: Manifest) -> str:
    """Why a configuration does not have the identity of its run."""
    then, here = manifest.environment, numerics()
    if then.x64 != here["x64"]:
        precision = "double" if then.x64 else "single"
        value = "1" if then.x64 else "0"
        return f"it was made in {precision} precision; set JAX_ENABLE_X64={value}"
    if then.prng not in (None, here["prng"]):
        return f"it was made with JAX_DEFAULT_PRNG_IMPL={then.prng}; set that"
    return (
        "its configuration, code and data are not those of its identity "
        f"{manifest.identity}, or JAX draws random numbers in another way"
    )


def _judged(run: RunDir, again: RunDir) -> Verdict:
    """The verdict on a run that was computed again."""
    try:
        then, here = run.manifest(), again.manifest()
    except UserError as error:
        return Verdict(run, f"it cannot be computed again: {error}")
    if not here.is_finished:
        return Verdict(run, f"computing it again failed: {here.error}")
    wanted = files_of(run)
    stored, unread = recorded(run, wanted)
    # Whether a state is kept is no part of the configuration; the other files are.
    fresh, _ = recorded(again, files_of(again) - ({STATE} - wanted) - unread.keys())
    other_code = then.source_digest != here.source_digest
    held_to = promise(then, here)
    found = differences(stored, fresh, held_to.updates)
    if other_code:  # a new quantity is no change
        found = [one for one in found if one.place in stored]
    return Verdict(
        run,
        damage=tuple(unread.values()),
        first=_first_failures(found, held_to),
        promise=held_to if found else EXACT,
        agrees_until=_agreement(stored, found, held_to),
        steps=then.steps,
        other_code=other_code,
        rows=_count(stored, "metrics", "step"),
        probed=_count(stored, "probes", "train_step"),
        arrays=_count(stored, "parameters")
        + _count(stored, "best parameters")
        + _count(stored, "probed parameters")
        + _count(stored, "state"),
    )


def _first_failures(
    found: Sequence[Difference], held_to: Promise
) -> tuple[Difference, ...]:
    """The earliest difference of each part, the earliest part first."""
    first: dict[str, Difference] = {}
    for one in found:
        if held_to.broken_by(one):
            first.setdefault(one.place.part, one)
    return tuple(first.values())


def _agreement(stored: Numbers, found: Sequence[Difference], held_to: Promise) -> int:
    """The last recorded step before the first difference that is not allowed."""
    apart = [one.place.step for one in found if not held_to.allows(one)]
    steps = {place.step for place in stored if place.part in ("metrics", "probes")}
    return max((step for step in steps if step < min(apart, default=inf)), default=0)


def _count(numbers: Numbers, part: str, name: str | None = None) -> int:
    """How many arrays a part holds, or how many of one name."""
    return sum(place.part == part and name in (None, place.name) for place in numbers)
