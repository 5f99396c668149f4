"""A pool: a folder of run directories that sweeps share, and its index."""

import os
import warnings
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import yaml

from rnnjax.errors import UserError
from rnnjax.store.atomic import make_folder
from rnnjax.store.index import INDEX, Row, append_row, read_rows, row_of, write_rows
from rnnjax.store.manifest import OtherFormat
from rnnjax.store.rundir import MANIFEST, RunDir
from rnnjax.store.table import table_of


@dataclass(frozen=True)
class Pool:
    """Runs by identity.

    The run directories are the truth. The index is a cache of them: a row that is
    missing or unfinished is read from its directory, a row without a directory is
    dropped.

    Attributes:
        path: the folder; it need not exist yet.
    """

    path: Path

    def __post_init__(self) -> None:
        object.__setattr__(self, "path", Path(self.path))

    def find(self, identity: str) -> RunDir | None:
        """The directory of a run, in whatever state it is; None if there is none.

        Reads the names of the folders alone; for many runs at once, `rows`.
        """
        folders = [name for name in self._folders() if name.endswith(f"-{identity}")]
        rows = filter(None, map(self._read, folders))
        latest = max(rows, key=_by_time, default=None)
        return RunDir(self.path / latest.folder) if latest else None

    def runs(self) -> list[RunDir]:
        """The directories of all runs, in the order of the index."""
        return [RunDir(self.path / row.folder) for row in self.rows()]

    def index(self) -> pl.DataFrame:
        """One row per run: identity, name, status, path, …, configuration, results."""
        return table_of(self.rows(), self.path).frame

    def add(self, run: RunDir) -> None:
        """Enter the present state of a run, after ``begin_run`` and ``finish_run``.

        Raises:
            UserError: the index cannot be written.
        """
        append_row(self.path / INDEX, row_of(run))

    def rebuild(self) -> None:
        """Write the index anew from the run directories alone.

        Raises:
            UserError: the index cannot be written.
        """
        make_folder(self.path)
        rows = filter(None, (self._read(folder) for folder in sorted(self._folders())))
        latest = {row.identity: row for row in sorted(rows, key=_by_time)}
        write_rows(self.path / INDEX, latest.values())

    def rows(self) -> list[Row]:
        """Rows of the index, brought up to date with the run directories."""
        folders = self._folders()
        indexed = read_rows(self.path / INDEX)
        rows = [
            row if row.is_finished else self._read(row.folder)
            for row in indexed.values()
            if row.folder in folders
        ]
        unknown = folders - {row.folder for row in indexed.values()}
        found = filter(None, (self._read(folder) for folder in unknown))
        # A run of the index in another folder has been renamed: that one is superseded.
        new = {
            row.identity: row
            for row in sorted(found, key=_by_time)
            if row.identity not in indexed
        }
        return [*filter(None, rows), *new.values()]

    def _folders(self) -> set[str]:
        try:
            with os.scandir(self.path) as entries:
                return {entry.name for entry in entries if entry.is_dir()}
        except FileNotFoundError:
            return set()
        except OSError as error:
            raise UserError(f"cannot read '{self.path}': {error.strerror}") from None

    def _read(self, folder: str) -> Row | None:
        run = RunDir(self.path / folder)
        if not _holds_run(run.path):
            return None
        try:
            return row_of(run)
        except OtherFormat:
            raise
        except UserError as error:
            warnings.warn(f"left out of the pool: {error}", stacklevel=2)
            return None
        except (yaml.YAMLError, ValueError, TypeError, AttributeError) as error:
            said = f"the configuration of '{run.path}' cannot be read: {error!r}"
            warnings.warn(f"left out of the pool: {said}", stacklevel=2)
            return None


def _holds_run(folder: Path) -> bool:
    return (folder / MANIFEST).is_file()


def _by_time(row: Row) -> str:
    return row.facts["created"]
