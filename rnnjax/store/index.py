"""The index of a pool: one line of JSON per event, the last of a run counts."""

import fcntl
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rnnjax.errors import UserError
from rnnjax.store import portable
from rnnjax.store.atomic import writable, write_text
from rnnjax.store.identity import SCHEMA_VERSION
from rnnjax.store.manifest import FINISHED, OtherFormat, Result, check_schema
from rnnjax.store.rundir import RunDir


INDEX = "index.jsonl"


@dataclass(frozen=True)
class Row:
    """What the index knows of a run.

    Attributes:
        identity: of the run.
        lineage: of the run.
        folder: its directory, relative to the pool, so that a pool can be moved.
        facts: fields of the manifest that tables show (name, status, …).
        config: the configuration with dotted keys.
        results: final numbers.
        schema: version of the record.
    """

    identity: str
    lineage: str
    folder: str
    facts: dict[str, Any]
    config: dict[str, Any]
    results: dict[str, Result]
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
    """Read the row of a run from its directory.

    Raises:
        UserError: its manifest or configuration cannot be read.
    """
    manifest = run.manifest()
    facts = {name: getattr(manifest, name) for name in FACTS}
    return Row(
        manifest.identity,
        manifest.lineage,
        run.path.name,
        facts,
        dict(flatten(run.config())),
        manifest.results,
    )


def flatten(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Leaves of nested mappings with dotted keys.

    >>> dict(flatten({"cell": {"name": "lstm", "hidden": 8}, "seed": 0}))
    {'cell.name': 'lstm', 'cell.hidden': 8, 'seed': 0}
    """
    for key, value in config.items():
        if isinstance(value, Mapping):
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def append_row(index: Path, row: Row) -> None:
    """Append one line in one write, so that writers of several processes never mix.

    A lock covers the look at the end of the file too: without it, half of a line that
    another writer is at would pass for the line of one that was killed.

    Raises:
        UserError: the index cannot be written.
    """
    line = (portable.dumps(asdict(row)) + "\n").encode()
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT
    with writable(index):
        descriptor = os.open(index, flags, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            size = os.fstat(descriptor).st_size
            if size and os.pread(descriptor, 1, size - 1) != b"\n":
                line = b"\n" + line  # Close the line of a writer that was killed in it.
            if os.write(descriptor, line) != len(line):
                raise OSError("the disk took only a part of a line")
        finally:
            os.close(descriptor)


def read_rows(index: Path) -> dict[str, Row]:
    """Rows by identity, the last one of each; none if there is no index.

    A line that is torn is skipped: what it told is read from the run directory.

    Raises:
        UserError: the index cannot be read.
        OtherFormat: it is of another `SCHEMA_VERSION`.
    """
    try:
        lines = index.read_bytes().split(b"\n")
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise UserError(f"cannot read '{index}': {error.strerror}") from None
    rows: dict[str, Row] = {}
    for line in filter(None, lines):
        try:
            entries = portable.loads(line)
            check_schema(entries)
            row = Row(**entries)
        except OtherFormat as error:
            raise OtherFormat(f"'{index}': {error}") from None
        except (ValueError, TypeError, KeyError, AttributeError):
            continue
        rows.pop(row.identity, None)  # A dictionary keeps the place of the first entry.
        rows[row.identity] = row
    return rows


def write_rows(index: Path, rows: Iterable[Row]) -> None:
    """Replace the index, at once.

    Raises:
        UserError: the index cannot be written.
    """
    write_text(index, "".join(portable.dumps(asdict(row)) + "\n" for row in rows))
