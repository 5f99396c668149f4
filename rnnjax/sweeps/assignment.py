"""The runs that a process has to compute, and their division among processes."""

import dataclasses
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from rnnjax.store.index import Row
from rnnjax.store.pool import Pool
from rnnjax.sweeps.jobs import Job
from rnnjax.sweeps.packing import make_packs
from rnnjax.sweeps.progress import PackSize
from rnnjax.sweeps.settings import LaunchSettings


@dataclasses.dataclass(frozen=True)
class Assignment:
    """Runs to compute, made of plain records so that it can be pickled.

    Attributes:
        jobs: all runs of the launch, with the digests of their data.
        rows: the pool's rows of these runs, and of shorter and longer runs of the same
            lineages, by run id.
        unfinished: ids of the runs to compute.
        settings, group: settings of the launch, and the name of the sweep.
        folder: working directory, for relative paths of data.
    """

    jobs: tuple[Job, ...]
    rows: Mapping[str, Row]
    unfinished: frozenset[str]
    settings: LaunchSettings
    group: str
    folder: str = dataclasses.field(default_factory=os.getcwd)

    @property
    def pool(self) -> Pool:
        """The pool for the runs."""
        return Pool(Path(self.settings.out))

    @property
    def left(self) -> list[Job]:
        """The runs to compute."""
        return [job for job in self.jobs if job.run_id in self.unfinished]

    @property
    def done(self) -> int:
        """Number of runs that need no work."""
        return len(self.jobs) - len(self.unfinished)

    @property
    def updates(self) -> int:
        """Total number of updates of all runs."""
        return sum(job.config.steps for job in self.jobs)

    @property
    def size(self) -> PackSize:
        """Mean number of updates per run, and number of runs."""
        return PackSize(self.updates // len(self.jobs), len(self.jobs))

    def share(self, members: Iterable[Job], devices: int) -> "Assignment":
        """The part with these runs, for a process that has `devices` devices."""
        members = tuple(members)
        lineages = {job.lineage for job in members}
        return Assignment(
            # new objects, without the properties that this process has cached
            jobs=tuple(dataclasses.replace(job) for job in members),
            rows={k: row for k, row in self.rows.items() if row.lineage in lineages},
            unfinished=frozenset(job.run_id for job in members),
            settings=dataclasses.replace(
                self.settings,
                out=str(Path(self.settings.out).absolute()),
                pack=dataclasses.replace(self.settings.pack, devices=devices),
            ),
            group=self.group,
            folder=self.folder,
        )

    def shares(self, devices: int) -> list["Assignment"]:
        """One part per pack, for processes that have `devices` devices each."""
        slots = devices * self.settings.pack.places
        packs = make_packs(self.left, self.unfinished, self.pool.path, lambda _: slots)
        return [self.share(pack.members, devices) for pack in packs]
