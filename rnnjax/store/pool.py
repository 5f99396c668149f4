"""A pool: a folder of run directories shared by sweeps, and its index."""

import os
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from rnnjax.errors import UserError
from rnnjax.store.atomic import make_folder
from rnnjax.store.index import (
    INDEX,
    Index,
    Row,
    append_row,
    read_index,
    row_of,
    tells_of,
    write_rows,
)
from rnnjax.store.manifest import OtherFormat
from rnnjax.store.rundir import MANIFEST, RunDir, run_id_in
from rnnjax.store.table import table_of


@dataclass(frozen=True)
class Pool:
    """Runs by run id.

    The run directories are authoritative; the index only caches them. A row that is
    missing, is unfinished or was made from a different manifest is read again from the
    run's directory, and a row whose directory is gone is dropped. If any line of the
    index is damaged, all rows are read from the directories.

    Attributes:
        path: the folder; it need not exist yet.
    """

    path: Path

    def __post_init__(self) -> None:
        object.__setattr__(self, "path", Path(self.path))

    def find(self, run_id: str) -> RunDir | None:
        """The directory of a run, whatever its status; None if there is none.

        Finds the run by the name of its folder. To look up many runs at once, use
        `rows`, which also finds folders that were renamed by hand.
        """
        folders = [name for name in self._folders() if name.endswith(f"-{run_id}")]
        rows = [row for row in self._read_all(folders) if row.run_id == run_id]
        latest = max(rows, key=by_rank, default=None)
        return RunDir(self.path / latest.folder) if latest else None

    def runs(self) -> list[RunDir]:
        """The directories of all runs, in the order of the index."""
        return [RunDir(self.path / row.folder) for row in self.rows()]

    def index(self) -> pl.DataFrame:
        """One row per run: run id, name, status, path, …, configuration, results."""
        return table_of(self.rows(), self.path).frame

    def add(self, run: RunDir) -> None:
        """Record a run's current state; call after ``begin_run`` and ``finish_run``.

        Raises:
            UserError: the index cannot be written.
        """
        append_row(self.path / INDEX, row_of(run))

    def rebuild(self) -> None:
        """Rewrite the index from the run directories.

        Raises:
            UserError: the index cannot be written.
        """
        make_folder(self.path)
        latest = _latest(self._read_all(sorted(self._folders())))
        write_rows(self.path / INDEX, latest.values())

    def rows(self) -> list[Row]:
        """Rows of the index, brought up to date with the run directories."""
        return self._rows(read_index(self.path / INDEX))

    def mend(self) -> list[Row]:
        """`rows`, after adding to the index the results that killed processes did not.

        Raises:
            UserError: the index cannot be written.
        """
        index = read_index(self.path / INDEX)
        rows = self._rows(index)
        if index.damaged:
            write_rows(self.path / INDEX, rows)
        else:
            for row in rows:
                if row.is_finished and row != index.rows.get(row.run_id):
                    append_row(self.path / INDEX, row)
        return rows

    def _rows(self, index: Index) -> list[Row]:
        folders = self._folders()
        indexed = {} if index.damaged else index.rows
        there = {
            row.run_id: row
            for row in indexed.values()
            if row.is_finished
            and row.folder in folders
            and tells_of(row, RunDir(self.path / row.folder))
        }
        # The remaining folders may hold unfinished, changed, renamed or swapped runs.
        found = self._read_all(sorted(folders - {row.folder for row in there.values()}))
        new = _latest(row for row in found if row.run_id not in there)
        order = dict.fromkeys([*indexed, *new])
        both = there | new
        return [both[run_id] for run_id in order if run_id in both]

    def places(self) -> dict[str, list[Path]]:
        """Folders by the run id at the end of their names; no file is read."""
        found: dict[str, list[Path]] = {}
        for folder in self._folders():
            found.setdefault(run_id_in(folder), []).append(self.path / folder)
        return found

    def _folders(self) -> set[str]:
        try:
            with os.scandir(self.path) as entries:
                names = [entry.name for entry in entries if _is_folder(entry)]
        except FileNotFoundError:
            return set()
        except OSError as error:
            raise UserError(f"cannot read '{self.path}': {error.strerror}") from None
        return {name for name in names if _is_text(name)}

    def _read_all(self, folders: Iterable[str]) -> list[Row]:
        return [row for row in map(self._read, folders) if row]

    def _read(self, folder: str) -> Row | None:
        run = RunDir(self.path / folder)
        if not (run.path / MANIFEST).is_file():
            return None
        try:
            return row_of(run)
        except OtherFormat:
            raise
        except UserError as error:
            warnings.warn(f"left out of the pool: {error}", stacklevel=2)
            return None


def _is_text(name: str) -> bool:
    """Whether a name is valid Unicode, as a table needs; names of runs always are."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # for example a link to itself, which is not part of the pool
        return False


def _latest(rows: Iterable[Row]) -> dict[str, Row]:
    """One row per run: the one that counts, if a run has several directories."""
    return {row.run_id: row for row in sorted(rows, key=by_rank)}


def by_rank(row: Row) -> tuple[bool, str]:
    """Sort key: finished runs rank above unfinished ones, then newer above older."""
    return row.is_finished, str(row.facts.get("created"))
