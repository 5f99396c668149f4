"""Launch jobs: skip what is done, pack what is alike, keep every run's directory."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from rnnjax.errors import UserError
from rnnjax.store.environment import environment
from rnnjax.store.identity import identity, source_digest
from rnnjax.store.index import Row
from rnnjax.store.manifest import Manifest, Slot, now
from rnnjax.store.pool import Pool
from rnnjax.store.rundir import PROBES, RunDir, begin_run, finish_run
from rnnjax.store.sweep_record import SweepRecord, write_sweep
from rnnjax.store.wandb_mirror import mirror
from rnnjax.sweeps.jobs import Job, with_data
from rnnjax.sweeps.packing import Planned, PlannedPack, make_packs, plan
from rnnjax.sweeps.progress import Progress
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
        UserError: the pool cannot be written, data cannot be read, or finished runs of
            other numeric code are in the way (``stale=error``).
    """
    progress = progress or Progress()
    pool = Pool(Path(settings.out))
    planned = [
        plan(job, identity(job.resolved, job.data_hashes)) for job in with_data(jobs)
    ]
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
        for pack, ready in prefetch(workers, packs, make_ready):
            failed += run_pack(pool, pack, ready, unfinished, sweep.name, progress)
    runs = tuple(run for one in planned if (run := pool.find(one.identity)))
    return LaunchResult(sweep, runs, len(unfinished), failed, stale)


def finished(
    pool: Pool, planned: Sequence[Planned], stale: str
) -> tuple[set[str], int]:
    """Identities that need no work, and how many of them other code made.

    Raises:
        UserError: there are stale ones and nothing says what to do with them.
    """
    rows = {row.identity: row for row in pool.rows()}
    digest = source_digest()
    good: set[str] = set()
    old: set[str] = set()
    for one in planned:
        row = rows.get(one.identity)
        if row is None or not row.is_finished or not covers(pool, row, one):
            continue
        fresh = row.facts.get("source_digest") == digest
        (good if fresh else old).add(one.identity)
    if old and stale == "error":
        raise UserError(
            f"{len(old)} of the runs in '{pool.path}' were made by other numeric code; "
            "stale=accept keeps them, stale=rerun runs them again"
        )
    return (good | old, len(old)) if stale == "accept" else (good, 0)


def covers(pool: Pool, row: Row, planned: Planned) -> bool:
    """Whether a finished run holds all that is asked for: its steps and its probes."""
    config = planned.job.config
    ended_early = row.facts["status"] == "diverged" or row.results.get("stopped_early")
    if row.facts["steps"] < config.steps and not ended_early:
        return False
    if config.probe.preset == "off":
        return True
    if row.config.get("probe.preset") != config.probe.preset:
        return False
    asked = set(config.probe.steps) <= set(row.config.get("probe.steps") or ())
    return asked and RunDir(pool.path / row.folder).has(PROBES)


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
    begun = {}
    for i, member in enumerate(pack.members):
        if member.identity in unfinished:
            begun[i] = begin(pool, member)
    try:
        training = ready.result()
        outcomes = training.run(progress.advance)
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:500]
        for run, manifest in begun.values():
            manifest = manifest.replace(status="failed", finished=now(), error=reason)
            pool.add(finish_run(run, manifest))
        progress.warn(f"{len(begun)} runs failed: {reason}")
        return len(begun)
    except KeyboardInterrupt:
        for run, manifest in begun.values():
            pool.add(finish_run(run, manifest.replace(status="interrupted")))
        raise
    size = len(pack.members)
    for i, (run, manifest) in begun.items():
        sealed = seal(run, manifest, pack.members[i], outcomes[i], Slot(size, i))
        pool.add(sealed)
        tracker = pack.members[i].job.tracker
        if tracker.name == "wandb":
            mirror(sealed, mode=tracker.mode, group=group, project=tracker.project)
    pack.checkpoint.clear()
    return 0


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
    )
    config = job.resolved | {"variant": job.label}
    run = begin_run(pool.path, job.name, planned.identity, config, manifest)
    pool.add(run)
    return run, manifest
