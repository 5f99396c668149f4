"""Compute finished runs again from their stored configurations, and compare.

The rules by which a run is judged:

- If libraries, device, processor and flags of JAX are the same as in the record, all
  bits must be equal (`EXACT`), whatever the pack, and whether it was resumed or not.
- Otherwise, and for packs whose runs were mapped side by side, numbers of the first few
  updates must agree within a tolerance (`promise`). Training is chaotic: a difference
  in the last bit grows until nothing agrees. Numbers of later steps are therefore
  compared, but differences there are not failures; the verdict says up to which step
  both runs agree. Final and best parameters, state and results belong to the last step.
- A missing or damaged file is always a failure.
"""

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from math import inf
from pathlib import Path
from typing import Literal

from rnnjax import interrupts
from rnnjax.errors import UserError, one_line
from rnnjax.run import Run
from rnnjax.store.environment import DECIDING, Environment, numerics
from rnnjax.store.manifest import Manifest
from rnnjax.store.rundir import STATE, RunDir, run_path
from rnnjax.sweeps.differences import (
    Difference,
    Numbers,
    differences,
    files_of,
    recorded,
)
from rnnjax.sweeps.job_data import with_data
from rnnjax.sweeps.jobs import Job
from rnnjax.sweeps.launch import launch
from rnnjax.sweeps.progress import Progress
from rnnjax.sweeps.settings import LaunchSettings, TrackerConfig
from rnnjax.sweeps.user_files import loaded_files


NAME = "again"

TOLERANCE = 2e-3
"""Tolerance for an array computed on another machine, relative to its largest number.
Golden runs are also compared with this tolerance."""

UPDATES = 20
"""Number of updates that must agree within `TOLERANCE`."""

UPDATES_IN_COMPANY = 12
"""Number of updates that must agree within `pack.TOLERANCE`, the tolerance of packs
whose runs are mapped side by side."""

COARSE = ("probes", "state")
"""Parts not covered by `pack.TOLERANCE`; `TOLERANCE` applies to them."""


@dataclass(frozen=True)
class Promise:
    """How closely a run must agree with its record.

    Attributes:
        tolerance: the largest difference, relative to the largest number of the array;
            0: no bit may differ. For `COARSE` parts it is at least `TOLERANCE`.
        updates: number of updates that must agree; None: all of them.
        reasons: why bits may differ; empty if they may not.
    """

    tolerance: float = 0.0
    updates: int | None = None
    reasons: tuple[str, ...] = ()

    def broken_by(self, one: Difference) -> bool:
        """Whether a difference is a failure."""
        early = self.updates is None or one.place.step <= self.updates
        return early and not self.allows(one)

    def allows(self, one: Difference) -> bool:
        """Whether a difference is within the tolerance, regardless of its step."""
        if not self.reasons:
            return False
        coarse = TOLERANCE if one.place.part in COARSE else 0.0
        return one.relative <= max(self.tolerance, coarse)

    def __str__(self) -> str:
        text = f"within {self.tolerance:g} of the largest number of each array"
        return text + (f" (probes {TOLERANCE:g})" if self.tolerance < TOLERANCE else "")


EXACT = Promise()


def promise(then: Manifest, here: Manifest) -> Promise:
    """How closely two computations of the same run must agree."""
    reasons = list(_elsewhere(then.environment, here.environment))
    tolerance, updates = (TOLERANCE, UPDATES) if reasons else (0.0, UPDATES)
    packs = [one.pack for one in (then, here) if one.pack and one.pack.tolerance]
    if packs:
        reasons.append("the runs of its pack were mapped side by side")
        allowed = [pack.tolerance for pack in packs if pack.tolerance]
        tolerance, updates = max(tolerance, *allowed), UPDATES_IN_COMPANY
    return Promise(tolerance, updates, tuple(reasons)) if reasons else EXACT


def _elsewhere(then: Environment, here: Environment) -> Iterator[str]:
    """What affects the last bits and differs between the two environments."""
    for name in DECIDING:
        was, now = then.versions.get(name), here.versions.get(name)
        if was != now:
            yield f"{name} {was} then, {now} here"
    if then.device != here.device:
        yield f"{then.device} then, {here.device} here"
    if then.processor is None:
        yield "the processor was not recorded"
    elif then.processor != here.processor:
        yield "different processors"
    if then.xla_flags != here.xla_flags:
        yield f"XLA_FLAGS '{then.xla_flags}' then, '{here.xla_flags}' here"
    if then.matmul_precision != here.matmul_precision:
        was, now = then.matmul_precision, here.matmul_precision
        yield f"precision of matrix products {was} then, {now} here"


@dataclass(frozen=True)
class Verdict:
    """The result of computing a run again.

    Attributes:
        run: the run directory.
        refused: why the run could not be computed again; None if it was.
        damage: a sentence for each file that cannot be read.
        first: for each part, the earliest difference that is a failure.
        promise: how closely the run had to agree; `EXACT` if all bits are equal.
        agrees_until: the last recorded step up to which all numbers agree.
        steps: number of updates of the run.
        other_code: whether the record was made by different numeric code.
        rows: number of rows of metrics in the record.
        probed: number of probed steps in the record.
        arrays: number of arrays of parameters and state in the record.
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
        """All bits equal; within the promised tolerance; neither; or not computed."""
        if self.refused is not None:
            return "refused"
        if self.damage or self.first:
            return "differs"
        return "within" if self.promise.reasons else "equal"


def verify(
    runs: Sequence[RunDir], run_code: bool = False, progress: Progress | None = None
) -> list[Verdict]:
    """Compute finished runs again, packed, in a temporary pool, and compare.

    With `run_code`, cells and tasks from users' files may be executed, from the copies
    in the run directories.

    Raises:
        UserError: the launch cannot begin. A problem with a single run is not raised
            but reported in its verdict.
    """
    jobs: dict[Path, Job] = {}
    refused: dict[Path, str] = {}
    before: dict[Path, bytes] = {}
    for run in runs:
        try:
            before[run.path] = run.manifest_bytes()
            jobs[run.path] = rebuilt(run, run_code)
        except Exception as error:  # raised for its data, or by code of the user
            refused[run.path] = one_line(error)
    with (
        tempfile.TemporaryDirectory(prefix="rnnjax-verify-") as pool,
        interrupts.closing(partial(shutil.rmtree, pool, ignore_errors=True)),
    ):
        if jobs:
            settings = LaunchSettings(out=pool)
            launch([*jobs.values()], settings, "rnnjax verify", progress)
        for run in runs:
            if run.path not in refused and _manifest(run) != before[run.path]:
                refused[run.path] = "it was computed again, or removed, in the meantime"
        return [
            Verdict(run, refused[run.path])
            if run.path in refused
            else _judged(run, RunDir(run_path(pool, NAME, jobs[run.path].run_id)))
            for run in runs
        ]


def _manifest(run: RunDir) -> bytes:
    try:
        return run.manifest_bytes()
    except UserError:
        return b""


def rebuilt(run: RunDir, run_code: bool) -> Job:
    """The job of a finished run, rebuilt from its stored configuration.

    Raises:
        UserError: the run is not finished, needs code that may not be executed or data
            that is missing, or its record contradicts itself.
    """
    manifest, tree = run.manifest(), run.config()
    if not manifest.is_finished:
        raise UserError(f"it is {manifest.status}, not finished")
    own = tree.get("paths", {})
    if own and not run_code:
        raise UserError(
            f"the run's own {' and '.join(own)} in '{run.path}' would be executed; "
            "--run-code allows that"
        )
    opened = Run(run, run_code)
    config = opened.config
    files = loaded_files(config.cell, config.task)
    resolved = {key: value for key, value in tree.items() if key != "variant"}
    job = Job(config, resolved, (), NAME, tree["variant"], TrackerConfig(), files)
    (job,) = with_data([job])
    opened.check_data()
    if job.run_id != manifest.run_id:
        raise UserError(_unlike(manifest))
    return job


def _unlike(manifest: Manifest) -> str:
    """Why a configuration does not yield the recorded run id."""
    then, here = manifest.environment, numerics()
    if then.x64 != here["x64"]:
        precision = "double" if then.x64 else "single"
        value = "1" if then.x64 else "0"
        return f"it was made in {precision} precision; set JAX_ENABLE_X64={value}"
    if then.prng not in (None, here["prng"]):
        return f"it was made with JAX_DEFAULT_PRNG_IMPL={then.prng}; set this variable"
    return (
        "its configuration, code and data do not match its run id "
        f"{manifest.run_id}, or JAX draws random numbers differently"
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
    # Only the configuration decides which files a run has, except for the state.
    fresh, _ = recorded(again, files_of(again) - ({STATE} - wanted) - unread.keys())
    other_code = then.source_digest != here.source_digest
    held_to = promise(then, here)
    found = differences(stored, fresh, held_to.updates)
    if other_code:  # a quantity that is new in this code is not a difference
        found = [one for one in found if one.place in stored]
    first: dict[str, Difference] = {}  # of each part, the earliest part first
    for one in found:
        if held_to.broken_by(one):
            first.setdefault(one.place.part, one)
    return Verdict(
        run,
        damage=tuple(unread.values()),
        first=tuple(first.values()),
        promise=held_to if found else EXACT,
        agrees_until=_agreement(stored, found, held_to),
        steps=then.steps,
        other_code=other_code,
        rows=sum(place[1:] == ("metrics", "step") for place in stored),
        probed=sum(place[1:] == ("probes", "train_step") for place in stored),
        arrays=sum("parameters" in p.part or p.part == "state" for p in stored),
    )


def _agreement(stored: Numbers, found: Sequence[Difference], held_to: Promise) -> int:
    """The last recorded step before the first difference beyond the tolerance."""
    apart = [one.place.step for one in found if not held_to.allows(one)]
    steps = {place.step for place in stored if place.part in ("metrics", "probes")}
    return max((step for step in steps if step < min(apart, default=inf)), default=0)
