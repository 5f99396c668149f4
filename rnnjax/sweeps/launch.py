"""Launch jobs: skip finished runs, pack similar ones, write all run directories."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

from rnnjax.errors import UserError
from rnnjax.store.index import Row
from rnnjax.store.manifest import now
from rnnjax.store.pool import Pool
from rnnjax.store.rundir import RunDir
from rnnjax.store.sweep_record import SweepRecord, new_sweep
from rnnjax.sweeps.assignment import Assignment
from rnnjax.sweeps.copies import Copies
from rnnjax.sweeps.hydra_callbacks import HydraCallbacks
from rnnjax.sweeps.job_data import check_loaded, with_data
from rnnjax.sweeps.jobs import Job
from rnnjax.sweeps.launchers import launcher_of
from rnnjax.sweeps.packing import clear_leftovers, set_aside_checkpoints
from rnnjax.sweeps.progress import Progress, Warnings
from rnnjax.sweeps.resources import check_needs, needs
from rnnjax.sweeps.reuse import held, whole_rows, without_twins
from rnnjax.sweeps.settings import LaunchSettings


@dataclasses.dataclass(frozen=True)
class LaunchResult:
    """The result of a launch.

    Attributes:
        sweep: folder of the sweep, with ``sweep.json``.
        runs: the run directories, in the order of the jobs.
        computed: number of runs computed by this launch; the others were finished.
        failed: number of runs that ended with an error.
        stale: number of finished runs accepted though made by different numeric code.
    """

    sweep: Path
    runs: tuple[RunDir, ...]
    computed: int
    failed: int
    stale: int


def launch(
    jobs: Sequence[Job],
    settings: LaunchSettings,
    command: str = "",
    progress: Progress | None = None,
    callbacks: HydraCallbacks | None = None,
) -> LaunchResult:
    """Run all jobs that the pool does not hold already, packed by signature.

    Args:
        jobs, settings: as composed.
        command: the command line, which is recorded.
        progress: reports progress; None: only problems, as Python warnings.
        callbacks: notified of the jobs; the caller has to close them.

    Raises:
        UserError: a library is missing, the pool cannot be written, data cannot be
            read, two jobs are the same run, the pool holds finished runs that were made
            by different numeric code, or memory or disk do not suffice.
    """
    pool = Pool(Path(settings.out))
    launcher = launcher_of(settings.launcher.name)
    jobs = without_twins(with_data(jobs))
    check_loaded(jobs)
    told = progress or Warnings()
    rows = whole_rows(pool, jobs)
    fresh, stale = held(rows, jobs)
    if stale and settings.stale == "error":
        raise UserError(
            f"{len(stale)} of the runs in '{pool.path}' were made by different numeric "
            "code; stale=accept keeps them, stale=rerun runs them again"
        )
    accepted = stale if settings.stale == "accept" else set[str]()
    unfinished = frozenset(one.run_id for one in jobs) - fresh - accepted
    check_needs(needs(jobs, unfinished, rows, settings), settings)
    set_aside_checkpoints(pool.path, told.warn)
    sweep = record_sweep(pool, jobs, settings, command)
    copies = Copies()
    assignment = Assignment(tuple(jobs), rows, unfinished, settings, sweep.name)
    if callbacks:
        known = {} if jobs[0].run_id in unfinished else rows
        callbacks.begin(jobs, _path(pool, jobs[0], known))
    failed = launcher(assignment, told, copies)
    rows = {row.run_id: row for row in pool.rows()}
    clear_leftovers(pool, rows)
    copies.complete(pool, jobs, rows, sweep.name, told)
    known = (rows.get(one.run_id) for one in jobs)
    runs = tuple(RunDir(pool.path / row.folder) for row in known if row)
    if callbacks:
        callbacks.end([_path(pool, one, rows) for one in jobs])
    return LaunchResult(sweep, runs, len(unfinished), failed, len(accepted))


def _path(pool: Pool, job: Job, rows: Mapping[str, Row]) -> Path:
    """The directory of a run; `rows` has those of existing runs, whose names vary."""
    row = rows.get(job.run_id)
    return pool.path / row.folder if row else job.path(pool.path)


def record_sweep(
    pool: Pool, jobs: Sequence[Job], settings: LaunchSettings, command: str
) -> Path:
    """Make the folder of a sweep, with its record; returns the folder."""
    created = now()
    stamp = created[:19].replace(":", "").replace("-", "")
    name = settings.name or "sweep"
    labelled: dict[str, list[str]] = {}
    for one in jobs:
        labelled.setdefault(one.label, []).append(one.run_id)
    groups = {label: tuple(run_ids) for label, run_ids in labelled.items()}
    runs = tuple(one.run_id for one in jobs)
    record = SweepRecord(f"{name}-{stamp}", command, created, runs, pool.path, groups)
    return new_sweep(pool.path, record)
