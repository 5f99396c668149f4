"""The work of a launch on this machine: packs one after the other, runs sealed."""

import dataclasses
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import Any

from jax.sharding import Mesh

from rnnjax.errors import UserError, one_line
from rnnjax.store.claims import Claims
from rnnjax.store.environment import Environment, environment
from rnnjax.store.index import Row, row_of
from rnnjax.store.manifest import Manifest, now
from rnnjax.store.pool import Pool
from rnnjax.store.rundir import (
    MANIFEST,
    STATE,
    RunDir,
    begin_run,
    finish_run,
    run_path,
    write_source,
)
from rnnjax.sweeps.copies import Copies
from rnnjax.sweeps.extending import continued, with_starts
from rnnjax.sweeps.hydra_node import write_folder
from rnnjax.sweeps.jobs import Job
from rnnjax.sweeps.packing import Planned, PlannedPack, make_packs, pack_of
from rnnjax.sweeps.prefetch import AHEAD, prefetch
from rnnjax.sweeps.progress import PackSize, Progress
from rnnjax.sweeps.reuse import held
from rnnjax.sweeps.sealing import seal
from rnnjax.sweeps.settings import LaunchSettings
from rnnjax.sweeps.slots import Slots, slots_of
from rnnjax.training.compiled import Compiled
from rnnjax.training.loop import PackTraining, Saving
from rnnjax.training.pack import run_mesh
from rnnjax.training.program import Signature


SEALERS = 8
"""Runs that are sealed side by side: most of it is waiting for the disk."""

WAIT_SECONDS = 1.0
"""Between two looks at runs that another process works on."""


@dataclasses.dataclass(frozen=True)
class Work:
    """One process that computes runs of a sweep into a pool.

    Attributes:
        settings: pool, capacity, checkpoints.
        group: the name of the sweep.
        progress: told of every advance.
        programs: compiled ones by signature, devices and places on each.
        copies: of the runs, if they ask for any; what fails is kept there, not told.
    """

    settings: LaunchSettings
    group: str
    progress: Progress = dataclasses.field(default_factory=Progress)
    programs: dict[tuple[Signature, Mesh, int], Compiled] = dataclasses.field(
        default_factory=dict
    )
    copies: Copies = dataclasses.field(default_factory=Copies)

    @cached_property
    def pool(self) -> Pool:
        """Where the runs go."""
        return Pool(Path(self.settings.out))

    @cached_property
    def mesh(self) -> Mesh:
        """The devices that packs are spread over."""
        return run_mesh(self.settings.pack.devices)

    @cached_property
    def slots(self) -> Slots:
        """How large packs are."""
        return Slots(self.mesh, self.settings.pack)

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
        packs = self.packs(planned, rows, unfinished)
        return self.run(packs, unfinished, len(planned) - len(unfinished))

    def packs(
        self, planned: Sequence[Planned], rows: Mapping[str, Row], unfinished: set[str]
    ) -> list[PlannedPack]:
        """The packs that `do` would run."""
        started = with_starts(self.pool, planned, rows, unfinished)
        return make_packs(started, unfinished, self.pool.path, self.slots)

    def run(
        self, packs: Sequence[PlannedPack], unfinished: set[str], there: int
    ) -> int:
        """Run packs, except for what another process of this pool is working on.

        What that one leaves undone is computed here, once its claim is given up.

        Args:
            packs: of `packs`.
            unfinished: identities of those of their runs that are to be computed.
            there: how many others need no work, for the progress.
        """
        self.progress.begin([_size(pack) for pack in packs], there)
        if not packs:
            return 0
        failed = 0
        with (
            Claims(self.pool.path) as claims,
            ThreadPoolExecutor(AHEAD) as workers,
            self.progress,
        ):
            try:
                while packs:
                    elsewhere: list[PlannedPack] = []
                    mine = self._claimed(packs, unfinished, claims, elsewhere)
                    for pack, ready in prefetch(workers, mine, self._make_ready):
                        failed += self._run(pack, ready, unfinished, claims)
                    packs = elsewhere
                    if packs:
                        time.sleep(WAIT_SECONDS)
            finally:
                workers.shutdown(wait=False, cancel_futures=True)
        return failed

    def _claimed(
        self,
        packs: Sequence[PlannedPack],
        unfinished: set[str],
        claims: Claims,
        elsewhere: list[PlannedPack],
    ) -> Iterator[PlannedPack]:
        """Packs of those runs that no other process works on; the rest is collected."""
        for pack in packs:
            wanted = [one for one in pack.members if one.identity in unfinished]
            taken = [one for one in wanted if claims.take(one.identity)]
            left = [one for one in taken if not self._is_there(one)]
            for one in taken:
                if one not in left:  # made by another process meanwhile
                    claims.release(one.identity)
                    self.progress.advance(one.schedule.steps, 1)
            if len(taken) < len(wanted):
                others = [one for one in wanted if one not in taken]
                elsewhere.append(pack_of(others, self.pool.path))
            if len(left) == len(wanted):
                yield pack
            elif left:
                yield pack_of(left, self.pool.path)

    def _is_there(self, planned: Planned) -> bool:
        """Whether the pool holds a run by now, made by this code and with all of it."""
        run = RunDir(run_path(self.pool.path, planned.job.name, planned.identity))
        if not run.has(MANIFEST):
            return False
        good, _ = held({planned.identity: row_of(run)}, [planned])
        return bool(good)

    def _make_ready(self, pack: PlannedPack) -> PackTraining:
        first = pack.members[0].signature
        key = first, *self.slots.places(pack.members)
        fresh = Compiled(*key, self.settings.pack.how)
        compiled = self.programs.setdefault(key, fresh)
        saving = Saving(pack.checkpoint, self.settings.checkpoint.every_seconds)
        configs = [member.job.config for member in pack.members]
        training = PackTraining(compiled, configs, saving, continued(self.pool, pack))
        training.warm()
        return training

    def _run(
        self,
        pack: PlannedPack,
        ready: "Future[PackTraining]",
        unfinished: set[str],
        claims: Claims,
    ) -> int:
        """Train a pack and seal its runs, mirrored to W&B; counts failures.

        A run whose folder cannot be made is one of them.
        """
        left: dict[int, tuple[RunDir, Manifest]] = {}
        lost = 0
        try:
            with ThreadPoolExecutor(SEALERS) as sealers:
                noted: list[Future[None]] = []
                for i, member in enumerate(pack.members):
                    if member.identity not in unfinished:
                        continue
                    try:
                        left[i] = self._begin(member)
                    except UserError as error:  # costs this run, not its pack
                        lost += 1
                        self.progress.warn(f"1 run failed: {error}")
                        continue
                    noted.append(sealers.submit(_note, left[i][0], member.job))
                if not left:
                    return lost
                training = ready.result()
                outcomes = training.run(self.progress.advance)
                slots = slots_of(training)
                for one in noted:
                    one.result()
                keep = self.settings.checkpoint.keep
                mine = [i for i in left if claims.holds(pack.members[i].identity)]
                sealing = {
                    i: sealers.submit(
                        seal,
                        *left[i],
                        pack.members[i],
                        outcomes[i],
                        slots[i],
                        keep,
                    )
                    for i in mine
                }
            left = {i: left[i] for i, done in sealing.items() if done.exception()}
            for i, done in sealing.items():
                if i not in left:
                    self.pool.add(done.result())
                    tracker = pack.members[i].job.tracker
                    self.copies.add(done.result(), tracker, self.group)
            for i in left:
                sealing[i].result()  # raises what went wrong with the first of them
        except Exception as error:
            reason = one_line(error)
            self._close(left, status="failed", error=reason)
            self.progress.warn(f"{len(left)} runs failed: {reason}")
            return lost + len(left)
        except KeyboardInterrupt:
            self._close(left, status="interrupted")
            raise
        finally:
            for identity in pack.identities:
                claims.release(identity)
        if not lost:
            pack.checkpoint.clear()
        return lost

    def _close(self, runs: dict[int, tuple[RunDir, Manifest]], **changes: Any) -> None:
        """Enter runs that ended without a result; what they go on from stays."""
        for run, manifest in runs.values():
            if run.manifest().is_finished:  # interrupted just after it was sealed
                self.pool.add(run)
                continue
            state = run.state_bytes() if run.has(STATE) else None
            ended = manifest.replace(finished=now(), **changes)
            self.pool.add(finish_run(run, ended, state=state))

    def _begin(self, planned: Planned) -> tuple[RunDir, Manifest]:
        """Make the run directory, with status running."""
        job = planned.job
        manifest = Manifest(
            identity=planned.identity,
            lineage=planned.lineage,
            name=job.name,
            status="running",
            environment=self.environment,
            source_digest=planned.source,
            digests=job.digests,
            task=dataclasses.asdict(planned.signature.spec),
            created=now(),
            seeds={"seed": job.config.seed},
            metric=planned.signature.spec.metric,
        )
        run = begin_run(
            self.pool.path, job.name, planned.identity, job.stored, manifest
        )
        self.pool.add(run)
        return run, manifest


def _size(pack: PlannedPack) -> PackSize:
    first = pack.members[0]
    return PackSize(first.schedule.steps, len(pack.members), first.start)


def _note(run: RunDir, job: Job) -> None:
    """Hydra's files and the user's, of a run that begins, while it trains."""
    write_folder(run, job.hydra, job.number, job.overrides)
    for file in job.files:
        write_source(run, file.kind, file.content)
