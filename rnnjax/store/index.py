"""The index of a pool: one line of JSON per event; the last line of a run counts."""

import os
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from rnnjax.errors import UserError
from rnnjax.paths import read_file
from rnnjax.store import sealed_json
from rnnjax.store.atomic import no_link, writable, write_bytes
from rnnjax.store.locks import locked
from rnnjax.store.manifest import (
    FINISHED,
    SCHEMA_VERSION,
    Manifest,
    OtherFormat,
    Result,
    check_schema,
)
from rnnjax.store.run_id import digest
from rnnjax.store.rundir import MANIFEST, NEXT, RunDir
from rnnjax.store.typed import check_types


INDEX = "index.jsonl"


@dataclass(frozen=True)
class Row:
    """What the index records about a run.

    Attributes:
        run_id: the run id.
        lineage: see `rnnjax.store.run_id.lineage`.
        folder: the run's directory, relative to the pool, so that a pool can be moved.
        facts: fields of the manifest that tables show (name, status, …).
        config: the configuration with dotted keys.
        results: final numbers.
        manifest: SHA-256 of the manifest from which the row was made.
        stamp: modification time in ns, size and inode of that manifest file; if all
            are unchanged, the file need not be read again.
        schema: format version of the record.
    """

    run_id: str
    lineage: str
    folder: str
    facts: dict[str, Any]
    config: dict[str, Any]
    results: dict[str, Result]
    manifest: str = ""
    stamp: list[int] = field(default_factory=list)
    schema: int = SCHEMA_VERSION

    @property
    def is_finished(self) -> bool:
        """Whether the run had a result when the row was written."""
        return self.facts.get("status") in FINISHED


FACTS = (
    "name status created finished steps resumed_from diverged_at error metric".split()
    + "compile_seconds run_seconds source_digest".split()
)


def row_of(run: RunDir) -> Row:
    """Make the row of a run from its directory.

    Raises:
        UserError: its manifest or configuration cannot be read.
    """
    stamp = stamp_of(run)
    content = run.manifest_bytes()
    manifest = run.manifest_of(content)
    facts = {name: getattr(manifest, name) for name in FACTS}
    return Row(
        manifest.run_id,
        manifest.lineage,
        run.home.name,
        facts,
        dict(flatten(run.config())),
        manifest.results,
        digest(content),
        stamp,
    )


def stamp_of(run: RunDir) -> list[int]:
    """The present `Row.stamp` of a run; empty if it has no manifest."""
    try:
        found = os.stat(run.path / MANIFEST)
    except OSError:
        return []
    return [found.st_mtime_ns, found.st_size, found.st_ino]


def tells_of(row: Row, run: RunDir) -> bool:
    """Whether a row was made from the manifest that is now in a directory.

    It may not have been: another run may have been moved there, or an older state of
    the run restored. If the manifest is missing or damaged, the row is the last known
    state; it is accepted with a warning.
    """
    file = run.path / MANIFEST
    stamp = stamp_of(run)
    moving = os.path.lexists(run.path / NEXT / MANIFEST)  # a later, sealed attempt
    if stamp == row.stamp and not moving:
        return True
    try:
        content = run.manifest_bytes()
        run.manifest_of(content)
        return row.manifest == digest(content)
    except UserError:
        warnings.warn(
            f"'{file}' is missing or damaged; tables show this run as recorded in the "
            "index",
            stacklevel=2,
        )
        return True


def content_of(row: Row) -> str:
    """The content of a row as text, by which two rows can be compared."""
    return sealed_json.dumps(asdict(replace(row, stamp=[])))


def flatten(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Leaves of nested mappings with dotted keys.

    >>> dict(flatten({"cell": {"name": "lstm", "chrono": 8}, "seed": 0}))
    {'cell.name': 'lstm', 'cell.chrono': 8, 'seed': 0}
    """
    for key, value in config.items():
        if isinstance(value, Mapping):
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


@dataclass(frozen=True)
class Index:
    """The content of an index file.

    Attributes:
        rows: the last row of each run, by run id.
        damaged: number of lines that could not be read; their content is lost.
    """

    rows: dict[str, Row]
    damaged: int


def append_row(index: Path, row: Row) -> None:
    """Append a line in a single write, so that lines of several processes never mix.

    An incomplete last line, left by a writer that was killed or whose disk was full, is
    removed first; readers find that run through its directory.

    Raises:
        UserError: the index cannot be written.
    """
    line = _line(row)
    with writable(index), _locked(index) as descriptor:
        whole = size = os.fstat(descriptor).st_size
        if size and os.pread(descriptor, 1, size - 1) != b"\n":
            whole = os.pread(descriptor, size, 0).rfind(b"\n") + 1
        if os.fstat(descriptor).st_nlink > 1:  # a copy of the pool made by `cp -al`
            write_bytes(index, os.pread(descriptor, whole, 0) + line)
            return
        os.ftruncate(descriptor, whole)
        try:
            if os.write(descriptor, line) != len(line):
                raise OSError("only part of a line could be written")
        except OSError:
            os.ftruncate(descriptor, whole)
            raise


def read_index(index: Path) -> Index:
    """Read an index; a missing file gives an index without rows.

    Raises:
        UserError: the index cannot be read.
        OtherFormat: it was written with another `SCHEMA_VERSION`.
    """
    try:
        lines = read_file(index).split(b"\n")
    except FileNotFoundError:
        return Index({}, 0)
    except OSError as error:
        raise UserError(f"cannot read '{index}': {error.strerror}") from None
    rows: dict[str, Row] = {}
    damaged = 0
    for line in filter(None, lines):
        try:
            entries = sealed_json.opened(line)
            check_schema(entries, "train into another pool (out=…)")
            check_types(Row, entries)
            check_types(Manifest, {name: entries["facts"][name] for name in FACTS})
            row = Row(**entries)
        except OtherFormat as error:
            raise OtherFormat(f"'{index}': {error}") from None
        except (ValueError, TypeError, KeyError, AttributeError):
            damaged += 1
            continue
        rows.pop(row.run_id, None)  # Otherwise the dict would keep the old position.
        rows[row.run_id] = row
    return Index(rows, damaged)


def write_rows(index: Path, rows: Iterable[Row]) -> None:
    """Replace the whole index atomically.

    Raises:
        UserError: the index cannot be written.
    """
    with writable(index), _locked(index):
        write_bytes(index, b"".join(map(_line, rows)))


def _line(row: Row) -> bytes:
    return (sealed_json.sealed(asdict(row)) + "\n").encode()


def _locked(index: Path) -> AbstractContextManager[int]:
    """The opened index file, locked against other writers.

    Without the lock, a line that another process is still writing could be taken for
    the incomplete line of a killed process, and a line appended to a file that is being
    replaced would be lost.
    """
    no_link(index, index.parent)
    return locked(index, os.O_RDWR | os.O_APPEND | os.O_CREAT)
