"""The work of a launch on this machine: packs one after the other, runs sealed."""

import dataclasses
import time
from collections.abc import Iterator, Mapping, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property, partial
from pathlib import Path

from jax.sharding import Mesh

from rnnjax.counting import count
from rnnjax.interrupts import closing
from rnnjax.store.environment import Environment, environment
from rnnjax.store.index import Row, row_of
from rnnjax.store.leases import Leases, Overtaken
from rnnjax.store.manifest import Damaged
from rnnjax.store.pool import Pool
from rnnjax.store.quarantine import damage, set_aside
from rnnjax.store.rundir import MANIFEST, RunDir
from rnnjax.sweeps.copies import Copies
from rnnjax.sweeps.jobs import Job
from rnnjax.sweeps.pack_run import PackRun
from rnnjax.sweeps.packing import JobPack, make_packs, pack_of
from rnnjax.sweeps.prefetch import AHEAD, prefetch
from rnnjax.sweeps.progress import PackSize, Progress
from rnnjax.sweeps.resume import continued, with_starts
from rnnjax.sweeps.reuse import held
from rnnjax.sweeps.settings import LaunchSettings
from rnnjax.sweeps.slots import Slots
from rnnjax.training.compiled import Compiled
from rnnjax.training.loop import PackTraining
from rnnjax.training.pack import run_mesh
from rnnjax.training.program import Signature
from rnnjax.training.saving import Saving


WAIT_SECONDS = 1.0
"""Between two looks at runs that another process works on."""


@dataclasses.dataclass(frozen=True)
class Worker:
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

    @property
    def _pack_run(self) -> PackRun:
        keep = self.settings.checkpoint.keep
        return PackRun(
            *(self.pool, self.group, self.environment, keep, self.progress, self.copies)
        )

    def compute(
        self, jobs: Sequence[Job], rows: Mapping[str, Row], unfinished: Set[str]
    ) -> int:
        """Run the unfinished of the planned runs, packed; counts failures.

        Args:
            jobs: all runs that may share a pack with them.
            rows: what the pool holds, by identity.
            unfinished: identities of those that are to be computed.
        """
        packs = self.packs(jobs, rows, unfinished)
        return self.compute_packs(packs, unfinished, len(jobs) - len(unfinished))

    def packs(
        self, jobs: Sequence[Job], rows: Mapping[str, Row], unfinished: Set[str]
    ) -> list[JobPack]:
        """The packs that `compute` would run."""
        started = with_starts(self.pool, jobs, rows, unfinished)
        return make_packs(started, unfinished, self.pool.path, self.slots)

    def compute_packs(
        self, packs: Sequence[JobPack], unfinished: Set[str], there: int
    ) -> int:
        """Run packs, except for what another process of this pool is working on.

        What that one leaves undone is computed here, once its lease is given up.

        Args:
            packs: of `packs`.
            unfinished: identities of those of their runs that are to be computed.
            there: how many others need no work, for the progress.
        """
        self.progress.begin([_size(pack) for pack in packs], there)
        if not packs:
            return 0
        failed, waiting = 0, ""
        # Not left through its context, which would wait for what it compiles.
        workers = ThreadPoolExecutor(AHEAD)
        with Leases(self.pool.path) as leases, closing(leases.close), self.progress:
            make_ready = partial(self._make_ready, leases)
            try:
                while packs:
                    elsewhere: list[JobPack] = []
                    mine = self._leased(packs, unfinished, leases, elsewhere)
                    for pack, ready in prefetch(workers, mine, make_ready):
                        lost, overtaken = self._pack_run.run(
                            pack, ready, unfinished, leases
                        )
                        failed += lost
                        if overtaken:
                            elsewhere.append(pack_of(overtaken, self.pool.path))
                    packs = elsewhere
                    if packs:
                        waiting = self._wait(packs, leases, waiting)
            finally:
                workers.shutdown(wait=False, cancel_futures=True)
        return failed

    def _wait(self, packs: Sequence[JobPack], leases: Leases, said: str) -> str:
        """Say whose runs are waited for, if it was not said yet, and wait a while."""
        runs = [identity for pack in packs for identity in pack.identities]
        holders = sorted(set(filter(None, map(leases.holder, runs))))
        text = f"waiting for {count(len(runs), 'run')} of {', '.join(holders)}"
        if holders and text != said:
            self.progress.say(text)
        time.sleep(WAIT_SECONDS)
        return text if holders else said

    def _leased(
        self,
        packs: Sequence[JobPack],
        unfinished: Set[str],
        leases: Leases,
        elsewhere: list[JobPack],
    ) -> Iterator[JobPack]:
        """Packs of those runs that no other process works on; the rest is collected."""
        for pack in packs:
            wanted = [one for one in pack.members if one.identity in unfinished]
            taken = [one for one in wanted if leases.take(one.identity)]
            there = self._there(taken)
            left = [one for one in taken if one.identity not in there]
            for one in taken:
                if one not in left:  # made by another process meanwhile
                    leases.release(one.identity)
                    self.progress.advance(one.schedule.steps, 1)
            if len(taken) < len(wanted):
                others = [one for one in wanted if one not in taken]
                elsewhere.append(pack_of(others, self.pool.path))
            if len(left) == len(wanted):
                yield pack
            elif left:
                yield pack_of(left, self.pool.path)

    def _there(self, jobs: Sequence[Job]) -> set[str]:
        """Identities of what the pool holds by now, made by this code and whole.

        Another process may have made a run under another name.
        """
        places = self.pool.places()
        rows: dict[str, Row] = {}
        for one in jobs:
            own = one.path(self.pool.path)
            for run in map(RunDir, {own, *places.get(one.identity, ())}):
                if run.has(MANIFEST) and not damage(run):
                    row = row_of(run)
                    if row.identity != one.identity:
                        continue  # of another run that was moved there
                    if row.is_finished or one.identity not in rows:
                        rows[one.identity] = row
        good, _ = held(rows, jobs)
        return good

    def _make_ready(self, leases: Leases, pack: JobPack) -> PackTraining:
        first = pack.members[0].signature
        key = first, *self.slots.places(pack.members)
        fresh = Compiled(*key, self.settings.pack.how)
        compiled = self.programs.setdefault(key, fresh)

        def check() -> None:
            if not all(map(leases.holds, pack.identities)):
                raise Overtaken

        every = self.settings.checkpoint.every_seconds
        saving = Saving(pack.checkpoint, every, check)
        configs = [member.config for member in pack.members]
        start = continued(self.pool, pack)
        try:
            training = PackTraining(compiled, configs, saving, start)
        except Damaged as error:  # it begins again from its start
            folder, pool = pack.checkpoint.folder, self.pool.path
            self.progress.warn(set_aside(folder, pool, str(error)))
            training = PackTraining(compiled, configs, saving, start)
        training.warm()
        return training


def _size(pack: JobPack) -> PackSize:
    first = pack.members[0]
    return PackSize(first.schedule.steps, len(pack.members), first.start)
