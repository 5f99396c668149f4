"""Run one pack: begin its runs, train them, and seal them or close failed ones."""

import dataclasses
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

from rnnjax.counting import count
from rnnjax.errors import UserError, one_line
from rnnjax.store.atomic import writable
from rnnjax.store.environment import Environment
from rnnjax.store.leases import Leases, Overtaken
from rnnjax.store.locks import locked
from rnnjax.store.manifest import Manifest, now
from rnnjax.store.pool import Pool
from rnnjax.store.quarantine import damage, set_aside
from rnnjax.store.rundir import MANIFEST, RunDir, run_path
from rnnjax.store.writing import begin_run, finish_run, owned, write_source
from rnnjax.sweeps.assignment import Assignment
from rnnjax.sweeps.copies import Copies
from rnnjax.sweeps.hydra_node import write_folder
from rnnjax.sweeps.jobs import Job
from rnnjax.sweeps.packing import JobPack, slots_of
from rnnjax.sweeps.progress import Progress
from rnnjax.sweeps.sealing import seal
from rnnjax.training.loop import PackTraining


SEALERS = 8
"""Number of runs sealed at the same time; most of that is waiting for the disk."""

Begun = tuple[RunDir, Manifest]
"""A run directory, and the manifest that was written when the run began."""


@dataclasses.dataclass(frozen=True)
class PackRun:
    """Computes the packs of an assignment, for whose runs `leases` are held."""

    assignment: Assignment
    leases: Leases
    environment: Environment
    progress: Progress
    copies: Copies

    @property
    def pool(self) -> Pool:
        """The pool for the runs."""
        return self.assignment.pool

    def run(
        self, pack: JobPack, ready: "Future[PackTraining]"
    ) -> tuple[int, list[Job]]:
        """Train a pack, seal its runs and copy them to W&B if requested.

        Returns:
            The number of runs that failed; and the runs that another process has taken
            over, for which nothing is written.
        """
        unfinished, leases = self.assignment.unfinished, self.leases
        keep = self.assignment.settings.checkpoint.keep
        wanted = {i: m for i, m in enumerate(pack.members) if m.run_id in unfinished}
        own = [member.run_id for member in wanted.values()]
        left: dict[int, Begun] = {}
        lost = 0

        def mine() -> dict[int, Begun]:
            return {i: b for i, b in left.items() if leases.holds(wanted[i].run_id)}

        noted: list[Future[None]] = []
        sealing: dict[int, Future[RunDir]] = {}
        try:
            with ThreadPoolExecutor(SEALERS) as sealers:
                for i, member in list(wanted.items()):
                    if not leases.holds(member.run_id):
                        raise Overtaken
                    try:
                        left[i] = self._begin(member)
                    except UserError as error:  # only this run fails, not its pack
                        del wanted[i]
                        lost += 1
                        self.progress.warn(f"1 run failed: {error}")
                        continue
                    noted.append(sealers.submit(_note, *left[i], member))
                if not left:
                    return lost, []
                training = ready.result()
                outcomes = training.run(self.progress.advance)
                slots = slots_of(training)
                for one in noted:
                    one.result()
                for i, begun in mine().items():
                    given = wanted[i], outcomes[i], slots[i], keep
                    sealing[i] = sealers.submit(seal, *begun, *given)
            for i, done in sealing.items():
                if not done.exception():
                    del left[i]
                    tracker = wanted.pop(i).tracker
                    self.pool.add(done.result())
                    self.copies.add(done.result(), tracker, self.assignment.group)
            for i in left.keys() & sealing.keys():
                sealing[i].result()  # raises the error of the first of them
        except Overtaken:
            pass
        except Exception as error:
            reason = one_line(error)
            ended = mine()
            failed, overtaken = self._close(ended, status="failed", error=reason)
            if failed:
                self.progress.warn(f"{count(failed, 'run')} failed: {reason}")
            lost += failed
            for i in ended.keys() - overtaken:
                del wanted[i]
        except KeyboardInterrupt:
            # runs that are being sealed at this moment end first (Python 3.11 takes a
            # thread for ended if the interrupt came while it was being joined)
            handed: list[Future[Any]] = [*noted, *sealing.values()]
            wait(handed)
            self._close(mine(), status="interrupted")
            self.progress.warn(_kept(pack, len(wanted)))
            raise
        finally:
            if not lost and not wanted and all(map(leases.holds, own)):
                pack.checkpoint.clear()
            for run_id in pack.run_ids:
                leases.release(run_id)
        return lost, list(wanted.values())

    def _close(self, runs: Mapping[int, Begun], **changes: Any) -> tuple[int, set[int]]:
        """Record in the pool that runs ended, failed or interrupted, without a result.

        An earlier result is kept. A run that was sealed just before the interrupt
        keeps its result, too.

        Returns:
            The number of runs without a result, and the indices of the runs that
            another process has taken over.
        """
        without, overtaken = 0, set[int]()
        for i, (run, manifest) in runs.items():
            if _is_sealed(run, manifest):
                run = RunDir(run.home)
            elif run.has(MANIFEST):
                try:
                    ended = manifest.replace(finished=now(), **changes)
                    run = finish_run(run, ended)
                    without += 1
                except Overtaken:
                    overtaken.add(i)
                    continue
            else:
                without += 1
            if run.has(MANIFEST):
                self.pool.add(run)
        return without, overtaken

    def _place(self, job: Job) -> Path:
        """The directory of a run, avoiding one into which a user moved another run."""
        path, number = job.path(self.pool.path), 1
        while _holds_another(RunDir(path), job.run_id):
            number += 1
            name = f"{job.name}.{number}"
            path = run_path(self.pool.path, name, job.run_id)
        return path

    def _begin(self, job: Job) -> Begun:
        """Make the run directory, with status running.

        A damaged run in its place is moved to quarantine.
        """
        manifest = Manifest(
            run_id=job.run_id,
            lineage=job.lineage,
            name=job.name,
            status="running",
            environment=self.environment,
            source_digest=job.source,
            digests=job.digests,
            task=dataclasses.asdict(job.signature.spec),
            created=now(),
            seeds={"seed": job.config.seed},
            metric=job.signature.spec.metric,
        )
        path = self._place(job)
        if path.is_dir() and not path.is_symlink():
            with writable(path), locked(path):
                if why := damage(RunDir(path)):
                    self.progress.warn(set_aside(path, self.pool.path, why))
        run = begin_run(path, job.stored, manifest)
        if run.path == path:  # a sealed result stays until the new attempt is sealed
            self.pool.add(run)
        return run, manifest


def _holds_another(run: RunDir, run_id: str) -> bool:
    try:
        return run.has(MANIFEST) and run.manifest().run_id != run_id
    except UserError:  # damaged, will be set aside
        return False


def _is_sealed(run: RunDir, begun: Manifest) -> bool:
    """Whether a run that was begun is sealed; sealing moves it out of ``next/``."""
    place = run if run.has(MANIFEST) else RunDir(run.path.parent)
    if not place.has(MANIFEST):
        return False
    found = place.manifest()
    return found.is_finished and found.created == begun.created


def _kept(pack: JobPack, runs: int) -> str:
    """The message about what is kept of an interrupted pack."""
    steps = pack.members[0].schedule.steps
    try:
        tag = pack.checkpoint.tag()
    except UserError:  # damaged; the next launch sets it aside
        tag = None
    saved = f"saved after {tag} of {steps} updates" if tag else "not saved yet"
    return (
        f"interrupted: sealed runs are kept, {count(runs, 'run')} {saved}; "
        "the same command resumes from there"
    )


def _note(run: RunDir, begun: Manifest, job: Job) -> None:
    """Write Hydra's files and copies of the user's files while the run trains."""
    with owned(run, begun):
        write_folder(run, job.hydra, job.number, job.overrides)
        for file in job.files:
            write_source(run, file.kind, file.content)
