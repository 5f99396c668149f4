"""Launch jobs: skip what is done, pack what is alike, keep every run's directory."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from rnnjax.errors import one_line
from rnnjax.store.environment import environment
from rnnjax.store.identity import identity
from rnnjax.store.manifest import Manifest, Slot, now
from rnnjax.store.pool import Pool
from rnnjax.store.rundir import RunDir, begin_run, finish_run
from rnnjax.store.sweep_record import SweepRecord, write_sweep
from rnnjax.store.wandb_mirror import mirror
from rnnjax.sweeps.jobs import Job, with_data
from rnnjax.sweeps.packing import (
    Planned,
    PlannedPack,
    clear_leftovers,
    make_packs,
    plan,
)
from rnnjax.sweeps.progress import Progress
from rnnjax.sweeps.reuse import finished, refuse_twins
from rnnjax.sweeps.sealing import seal
from rnnjax.sweeps.settings import LaunchSettings
from rnnjax.training.compiled import Compiled
from rnnjax.training.loop import PackTraining, Saving
from rnnjax.training.pack import run_mesh
from rnnjax.training.program import Signature


SWEEPS = "sweeps"

AHEAD = 2
"""Packs that are compiled while another one runs."""


@dataclasses.dataclass(frozen=True)
class LaunchResult:
    """What a launch left behind.

    Attributes:
        sweep: folder of the sweep, with ``sweep.json``.
        runs: the run directories, in the order of the jobs.
        computed: how many were computed now; the others were there.
        failed: how many ended with an error.
        stale: how many were there, made by other numeric code, and were accepted.
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
) -> LaunchResult:
    """Run all jobs that the pool does not hold already, packed by signature.

    Args:
        jobs: composed and validated.
        settings: pool, capacity, checkpoints, what to do with stale runs.
        command: the command line, for the record.
        progress: told of every advance; None: silent.

    Raises:
        UserError: the pool cannot be written, data cannot be read, two jobs are one
            run, or finished runs of other numeric code are in the way.
    """
    progress = progress or Progress()
    pool = Pool(Path(settings.out))
    planned = [
        plan(job, identity(job.resolved, job.data_hashes)) for job in with_data(jobs)
    ]
    refuse_twins(planned)
    there, stale = finished(pool, planned, settings.stale)
    unfinished = {one.identity for one in planned} - there
    mesh = run_mesh(settings.pack.devices)
    slots = mesh.devices.size * settings.pack.capacity
    packs = make_packs(planned, unfinished, pool.path, slots)
    sweep = record_sweep(pool, planned, settings, command)
    programs: dict[Signature, Compiled] = {}

    def make_ready(pack: PlannedPack) -> PackTraining:
        first = pack.members[0].signature
        fresh = Compiled(first, mesh, settings.pack.capacity)
        saving = Saving(pack.checkpoint, settings.checkpoint.every_seconds)
        configs = [member.job.config for member in pack.members]
        training = PackTraining(programs.setdefault(first, fresh), configs, saving)
        training.warm()
        return training

    progress.begin(
        [(p.members[0].schedule.steps, len(p.members)) for p in packs], len(there)
    )
    failed = 0
    with ThreadPoolExecutor(AHEAD) as workers, progress:
        try:
            for pack, ready in prefetch(workers, packs, make_ready):
                failed += run_pack(pool, pack, ready, unfinished, sweep.name, progress)
        finally:
            workers.shutdown(wait=False, cancel_futures=True)
    clear_leftovers(pool)
    runs = tuple(run for one in planned if (run := pool.find(one.identity)))
    return LaunchResult(sweep, runs, len(unfinished), failed, stale)


def record_sweep(
    pool: Pool, planned: Sequence[Planned], settings: LaunchSettings, command: str
) -> Path:
    """Write ``sweep.json`` in a folder of its own."""
    created = now()
    stamp = created[:19].replace(":", "").replace("-", "")
    name = settings.name or "sweep"
    folder = pool.path / SWEEPS / f"{name}-{stamp}"
    tries = 1
    while folder.exists():
        tries += 1
        folder = pool.path / SWEEPS / f"{name}-{stamp}-{tries}"
    groups: dict[str, tuple[str, ...]] = {}
    for one in planned:
        groups[one.job.label] = (*groups.get(one.job.label, ()), one.identity)
    runs = tuple(one.identity for one in planned)
    write_sweep(
        folder, SweepRecord(folder.name, command, created, runs, pool.path, groups)
    )
    return folder


def prefetch(
    workers: ThreadPoolExecutor,
    packs: Sequence[PlannedPack],
    make_ready: Callable[[PlannedPack], PackTraining],
) -> Iterator[tuple[PlannedPack, Future[PackTraining]]]:
    """Each pack with its training, compiled a few packs ahead of its turn."""
    waiting: list[Future[PackTraining]] = []
    for i, pack in enumerate(packs):
        while len(waiting) < min(len(packs), i + 1 + AHEAD):
            waiting.append(workers.submit(make_ready, packs[len(waiting)]))
        yield pack, waiting[i]
        waiting[i] = Future()


def run_pack(
    pool: Pool,
    pack: PlannedPack,
    ready: "Future[PackTraining]",
    unfinished: set[str],
    group: str,
    progress: Progress,
) -> int:
    """Train a pack and seal its runs, mirrored to W&B in `group`; counts failures."""
    size = len(pack.members)
    left: dict[int, tuple[RunDir, Manifest]] = {}
    try:
        for i, member in enumerate(pack.members):
            if member.identity in unfinished:
                left[i] = begin(pool, member)
        outcomes = ready.result().run(progress.advance)
        for i in list(left):
            member, slot = pack.members[i], Slot(size, i)
            sealed = seal(*left[i], member, outcomes[i], slot)
            del left[i]
            pool.add(sealed)
            tracker = member.job.tracker
            if tracker.name == "wandb":
                mirror(sealed, mode=tracker.mode, group=group, project=tracker.project)
    except Exception as error:
        reason = one_line(error)
        close(pool, left, status="failed", error=reason)
        progress.warn(f"{len(left)} runs failed: {reason}")
        return len(left)
    except KeyboardInterrupt:
        close(pool, left, status="interrupted")
        raise
    pack.checkpoint.clear()
    return 0


def close(pool: Pool, runs: dict[int, tuple[RunDir, Manifest]], **changes: Any) -> None:
    """Enter runs that ended without a result."""
    for run, manifest in runs.values():
        pool.add(finish_run(run, manifest.replace(finished=now(), **changes)))


def begin(pool: Pool, planned: Planned) -> tuple[RunDir, Manifest]:
    """Make the run directory, with status running."""
    job = planned.job
    manifest = Manifest(
        identity=planned.identity,
        name=job.name,
        status="running",
        environment=environment(),
        created=now(),
        seeds={"seed": job.config.seed},
        metric=planned.signature.spec.metric,
    )
    config = job.resolved | {"variant": job.label}
    run = begin_run(pool.path, job.name, planned.identity, config, manifest)
    pool.add(run)
    return run, manifest
