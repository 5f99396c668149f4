"""The work of one process of a launch: compute packs one by one and seal the runs."""

import dataclasses
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cached_property, partial
from itertools import islice

from jax.sharding import Mesh

from rnnjax.counting import count
from rnnjax.interrupts import closing
from rnnjax.store.environment import environment
from rnnjax.store.index import Row, row_of
from rnnjax.store.leases import Leases, Overtaken
from rnnjax.store.manifest import Damaged
from rnnjax.store.pool import Pool
from rnnjax.store.quarantine import damage, set_aside
from rnnjax.store.rundir import MANIFEST, RunDir
from rnnjax.sweeps.assignment import Assignment
from rnnjax.sweeps.copies import Copies
from rnnjax.sweeps.jobs import Job
from rnnjax.sweeps.pack_run import PackRun
from rnnjax.sweeps.packing import JobPack, Slots, make_packs, pack_of
from rnnjax.sweeps.progress import PackSize, Progress
from rnnjax.sweeps.reuse import continued, held, with_starts
from rnnjax.training.compiled import Compiled, programs_for
from rnnjax.training.loop import PackTraining
from rnnjax.training.pack import run_mesh
from rnnjax.training.program import Signature
from rnnjax.training.saving import Saving


WAIT_SECONDS = 1.0
"""Pause between checks of runs that another process is working on."""

AHEAD = 2
"""Number of packs that are compiled while another one runs."""


@dataclasses.dataclass(frozen=True)
class Worker:
    """One process that computes runs of a sweep into a pool.

    Attributes:
        assignment: the runs.
        progress: notified of every advance.
        copies: makes W&B copies, and collects failures, which are not reported here.
    """

    assignment: Assignment
    progress: Progress
    copies: Copies

    @cached_property
    def pool(self) -> Pool:
        """The pool for the runs."""
        return self.assignment.pool

    @cached_property
    def slots(self) -> Slots:
        """The sizes of packs."""
        config = self.assignment.settings.pack
        return Slots(run_mesh(config.devices), config)

    @cached_property
    def programs(self) -> dict[tuple[Signature, Mesh, int], Compiled]:
        """Compiled programs, by signature, devices, and places per device."""
        return {}

    def packs(self, jobs: Sequence[Job], unfinished: Set[str]) -> list[JobPack]:
        """Packs of the unfinished runs among some jobs of the assignment.

        The jobs include finished ones, which an interrupted pack may contain.
        """
        started = with_starts(self.pool, jobs, self.assignment.rows, unfinished)
        return make_packs(started, unfinished, self.pool.path, self.slots)

    def compute(self, packs: Sequence[JobPack]) -> int:
        """Compute packs; returns the number of runs that failed.

        Runs that another process of this pool is working on are skipped at first. If
        that process gives up its lease without finishing a run, it is computed here.
        """
        firsts = [(pack.members[0], len(pack.members)) for pack in packs]
        sizes = [PackSize(one.schedule.steps, n, one.start) for one, n in firsts]
        self.progress.begin(sizes, self.assignment.done)
        if not packs:
            return 0
        failed, waiting = 0, ""
        # No `with`, because that would wait until running compilations end.
        workers = ThreadPoolExecutor(AHEAD)
        with Leases(self.pool.path) as leases, closing(leases.close), self.progress:
            make_ready = partial(self._make_ready, leases)
            told = self.progress, self.copies
            sealing = PackRun(self.assignment, leases, environment(), *told)
            try:
                while packs:
                    elsewhere: list[JobPack] = []
                    mine = self._leased(packs, leases, elsewhere)
                    for pack, ready in prefetch(workers, mine, make_ready):
                        lost, overtaken = sealing.run(pack, ready)
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
        """Wait a while; before, say whose runs we wait for, unless that was just said.

        Returns:
            The message that was said last.
        """
        runs = [run_id for pack in packs for run_id in pack.run_ids]
        holders = sorted(set(filter(None, map(leases.holder, runs))))
        text = f"waiting for {count(len(runs), 'run')} of {', '.join(holders)}"
        if holders and text != said:
            self.progress.say(text)
        time.sleep(WAIT_SECONDS)
        return text if holders else said

    def _leased(
        self,
        packs: Sequence[JobPack],
        leases: Leases,
        elsewhere: list[JobPack],
    ) -> Iterator[JobPack]:
        """Packs of the runs on which this process gets a lease, except finished ones.

        Packs of the runs that other processes hold are appended to `elsewhere`.
        """
        for pack in packs:
            left = self.assignment.unfinished
            wanted = [one for one in pack.members if one.run_id in left]
            taken = [one for one in wanted if leases.take(one.run_id)]
            there = self._there(taken)
            left = [one for one in taken if one.run_id not in there]
            for one in taken:
                if one not in left:  # finished by another process in the meantime
                    leases.release(one.run_id)
                    self.progress.advance(one.schedule.steps, 1)
            if len(taken) < len(wanted):
                others = [one for one in wanted if one not in taken]
                elsewhere.append(pack_of(others, self.pool.path))
            if len(left) == len(wanted):
                yield pack
            elif left:
                yield pack_of(left, self.pool.path)

    def _there(self, jobs: Sequence[Job]) -> set[str]:
        """Ids of the jobs that the pool now holds undamaged, made by the present code.

        Another process may have made a run in a directory with another name.
        """
        places = self.pool.places()
        rows: dict[str, Row] = {}
        for one in jobs:
            own = one.path(self.pool.path)
            for run in map(RunDir, {own, *places.get(one.run_id, ())}):
                if run.has(MANIFEST) and not damage(run):
                    row = row_of(run)
                    if row.run_id != one.run_id:
                        continue  # another run was moved to this place
                    if row.is_finished or one.run_id not in rows:
                        rows[one.run_id] = row
        good, _ = held(rows, jobs)
        return good

    def _make_ready(self, leases: Leases, pack: JobPack) -> PackTraining:
        first = pack.members[0].signature
        key = first, *self.slots.places(pack.members)
        fresh = programs_for(*key, self.assignment.settings.pack.how)
        compiled = self.programs.setdefault(key, fresh)

        def check() -> None:
            if not all(map(leases.holds, pack.run_ids)):
                raise Overtaken

        every = self.assignment.settings.checkpoint.every_seconds
        saving = Saving(pack.checkpoint, every, check)
        configs = [member.config for member in pack.members]
        start = continued(self.pool, pack)
        try:
            training = PackTraining(compiled, configs, saving, start)
        except Damaged as error:  # the pack starts again without its checkpoint
            folder, pool = pack.checkpoint.folder, self.pool.path
            self.progress.warn(set_aside(folder, pool, str(error)))
            training = PackTraining(compiled, configs, saving, start)
        training.warm()
        return training


def prefetch(
    workers: ThreadPoolExecutor,
    packs: Iterable[JobPack],
    make_ready: Callable[[JobPack], PackTraining],
) -> Iterator[tuple[JobPack, Future[PackTraining]]]:
    """Each pack with its training, which is compiled while earlier packs run.

    Packs are drawn from `packs` only when their compilation is due.
    """
    waiting: deque[tuple[JobPack, Future[PackTraining]]] = deque()
    coming = iter(packs)
    while True:
        for pack in islice(coming, AHEAD + 1 - len(waiting)):
            waiting.append((pack, workers.submit(make_ready, pack)))
        if not waiting:
            return
        yield waiting.popleft()
