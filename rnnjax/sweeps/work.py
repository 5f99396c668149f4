"""The work of a launch on this machine: packs one after the other, runs sealed."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import Any

from jax.sharding import Mesh

from rnnjax.errors import one_line
from rnnjax.store.environment import Environment, environment
from rnnjax.store.index import Row
from rnnjax.store.manifest import Manifest, Slot, now
from rnnjax.store.pool import Pool
from rnnjax.store.rundir import STATE, RunDir, begin_run, finish_run
from rnnjax.store.wandb_mirror import mirror
from rnnjax.sweeps.extending import continued, with_starts
from rnnjax.sweeps.packing import Planned, PlannedPack, make_packs
from rnnjax.sweeps.progress import Progress
from rnnjax.sweeps.sealing import seal
from rnnjax.sweeps.settings import LaunchSettings
from rnnjax.training.compiled import Compiled
from rnnjax.training.loop import PackTraining, Saving
from rnnjax.training.pack import mesh_for, run_mesh
from rnnjax.training.program import Signature


AHEAD = 2
"""Packs that are compiled while another one runs."""


@dataclasses.dataclass(frozen=True)
class Work:
    """One process that computes runs of a sweep into a pool.

    Attributes:
        settings: pool, capacity, checkpoints.
        group: the name of the sweep.
        progress: told of every advance.
        programs: compiled ones by signature and devices.
    """

    settings: LaunchSettings
    group: str
    progress: Progress = dataclasses.field(default_factory=Progress)
    programs: dict[tuple[Signature, Mesh], Compiled] = dataclasses.field(
        default_factory=dict
    )

    @cached_property
    def pool(self) -> Pool:
        """Where the runs go."""
        return Pool(Path(self.settings.out))

    @cached_property
    def environment(self) -> Environment:
        """Collected once: the state of a checkout takes a while."""
        return environment()

    def do(
        self, planned: Sequence[Planned], rows: Mapping[str, Row], unfinished: set[str]
    ) -> int:
        """Run the unfinished of the planned runs, packed; counts failures.

        Args:
            planned: all runs that may share a pack with them.
            rows: what the pool holds, by identity.
            unfinished: identities of those that are to be computed.
        """
        settings = self.settings
        mesh = run_mesh(settings.pack.devices)
        slots = mesh.devices.size * settings.pack.capacity
        started = with_starts(self.pool, planned, rows, unfinished)
        packs = make_packs(started, unfinished, self.pool.path, slots)

        def make_ready(pack: PlannedPack) -> PackTraining:
            first = pack.members[0].signature
            place = mesh_for(mesh, len(pack.members), first.shards)
            fresh = Compiled(first, place, settings.pack.capacity)
            compiled = self.programs.setdefault((first, place), fresh)
            saving = Saving(pack.checkpoint, settings.checkpoint.every_seconds)
            configs = [member.job.config for member in pack.members]
            starts = continued(self.pool, pack)
            training = PackTraining(compiled, configs, saving, starts)
            training.warm()
            return training

        steps = [(p.members[0].schedule.steps, len(p.members)) for p in packs]
        self.progress.begin(steps, len(planned) - len(unfinished))
        failed = 0
        with ThreadPoolExecutor(AHEAD) as workers, self.progress:
            try:
                for pack, ready in prefetch(workers, packs, make_ready):
                    failed += self._run(pack, ready, unfinished)
            finally:
                workers.shutdown(wait=False, cancel_futures=True)
        return failed

    def _run(
        self, pack: PlannedPack, ready: "Future[PackTraining]", unfinished: set[str]
    ) -> int:
        """Train a pack and seal its runs, mirrored to W&B; counts failures."""
        size = len(pack.members)
        left: dict[int, tuple[RunDir, Manifest]] = {}
        try:
            for i, member in enumerate(pack.members):
                if member.identity in unfinished:
                    left[i] = self._begin(member)
            outcomes = ready.result().run(self.progress.advance)
            for i in list(left):
                member, slot = pack.members[i], Slot(size, i)
                keep = self.settings.checkpoint.keep
                sealed = seal(*left[i], member, outcomes[i], slot, keep)
                del left[i]
                self.pool.add(sealed)
                self._mirror(sealed, member)
        except Exception as error:
            reason = one_line(error)
            self._close(left, status="failed", error=reason)
            self.progress.warn(f"{len(left)} runs failed: {reason}")
            return len(left)
        except KeyboardInterrupt:
            self._close(left, status="interrupted")
            raise
        pack.checkpoint.clear()
        return 0

    def _mirror(self, run: RunDir, planned: Planned) -> None:
        tracker = planned.job.tracker
        if tracker.name == "wandb":
            names = {"group": self.group, "project": tracker.project}
            mirror(run, mode=tracker.mode, **names)

    def _close(self, runs: dict[int, tuple[RunDir, Manifest]], **changes: Any) -> None:
        """Enter runs that ended without a result; what they go on from stays."""
        for run, manifest in runs.values():
            state = run.state_bytes() if run.has(STATE) else None
            ended = manifest.replace(finished=now(), **changes)
            self.pool.add(finish_run(run, ended, state=state))

    def _begin(self, planned: Planned) -> tuple[RunDir, Manifest]:
        """Make the run directory, with status running."""
        job = planned.job
        manifest = Manifest(
            identity=planned.identity,
            name=job.name,
            status="running",
            environment=self.environment,
            created=now(),
            seeds={"seed": job.config.seed},
            metric=planned.signature.spec.metric,
        )
        config = job.resolved | {"variant": job.label}
        run = begin_run(self.pool.path, job.name, planned.identity, config, manifest)
        self.pool.add(run)
        return run, manifest


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
