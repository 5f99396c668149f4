"""What a launcher is asked for, and the pieces of it that other processes take."""

import dataclasses
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from rnnjax.devices import keep_programs, use_devices
from rnnjax.errors import UserError
from rnnjax.store.index import Row
from rnnjax.sweeps.copies import Copies
from rnnjax.sweeps.job_data import check_loaded
from rnnjax.sweeps.jobs import Job
from rnnjax.sweeps.packing import Planned, make_packs, plan
from rnnjax.sweeps.progress import PackSize, Progress, Warnings
from rnnjax.sweeps.settings import LaunchSettings
from rnnjax.sweeps.user_files import register
from rnnjax.sweeps.work import Work


@dataclasses.dataclass(frozen=True)
class Order:
    """Runs to compute.

    Attributes:
        planned: all runs of the launch.
        rows: what the pool holds, by identity.
        unfinished: identities of those that are to be computed.
        settings: of the launch.
        group: the name of the sweep.
        progress: told of every advance.
        copies: those to W&B; other processes have their own.
    """

    planned: tuple[Planned, ...]
    rows: Mapping[str, Row]
    unfinished: set[str]
    settings: LaunchSettings
    group: str
    progress: Progress
    copies: Copies = dataclasses.field(default_factory=Copies)

    @property
    def left(self) -> list[Planned]:
        """The runs that are to be computed."""
        return [one for one in self.planned if one.identity in self.unfinished]

    @property
    def there(self) -> int:
        """How many runs need no work."""
        return len(self.planned) - len(self.unfinished)

    def parcel(self, members: Iterable[Planned], devices: int) -> "Parcel":
        """Some of the runs, for a process with so many devices of its own."""
        members = tuple(members)
        lineages = {one.lineage for one in members}
        return Parcel(
            jobs=tuple(one.job for one in members),
            rows=tuple(row for row in self.rows.values() if row.lineage in lineages),
            settings=dataclasses.replace(
                self.settings,
                out=str(Path(self.settings.out).absolute()),
                pack=dataclasses.replace(self.settings.pack, devices=devices),
            ),
            group=self.group,
            folder=os.getcwd(),
        )

    def parcels(self, devices: int) -> list["Parcel"]:
        """One for each pack that fits a process with so many devices."""
        slots = devices * self.settings.pack.places
        pool = Path(self.settings.out)
        packs = make_packs(self.left, self.unfinished, pool, lambda _: slots)
        return [self.parcel(pack.members, devices) for pack in packs]


@dataclasses.dataclass(frozen=True)
class Parcel:
    """Runs for another process: plain records, so that it can be pickled.

    Calling it computes them into the pool, which the process has to see under the same
    path, and returns how many failed. It may be called again, after a part of it was
    done: what is sealed by then is left alone, and a saved pack goes on.

    Attributes:
        jobs: what to run, data digested.
        rows: what the pool held of them, and of shorter and longer runs of each.
        settings: with the absolute path of the pool.
        group: the name of the sweep.
        folder: to work in, for relative paths of data.
    """

    jobs: tuple[Job, ...]
    rows: tuple[Row, ...]
    settings: LaunchSettings
    group: str
    folder: str

    def __call__(self) -> int:
        keep_programs()
        use_devices(self.settings.pack.devices or 1)
        os.chdir(self.folder)
        for job in self.jobs:
            for file in job.files:
                if register(file).digests != file.digests:
                    raise UserError(
                        f"'{file.path}' imports a module that has changed since the "
                        "launch began; launch it again"
                    )
        planned = [plan(job) for job in self.jobs]
        check_loaded(self.jobs)
        unfinished = {one.identity for one in planned}
        rows = {row.identity: row for row in self.rows}
        return Work(self.settings, self.group, Warnings()).do(planned, rows, unfinished)

    @property
    def updates(self) -> int:
        """Of all runs together."""
        return sum(job.config.steps for job in self.jobs)

    @property
    def size(self) -> PackSize:
        """Mean updates of a run, and how many runs."""
        return PackSize(self.updates // len(self.jobs), len(self.jobs))
