"""What a sweep folder records: the ids of its runs, and where the pool is."""

import errno
import os
import secrets
import shutil
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from rnnjax.errors import UserError, one_line
from rnnjax.paths import read_file, user_path
from rnnjax.store import sealed_json
from rnnjax.store.atomic import make_folder, sync, writable, write_text
from rnnjax.store.typed import check_types


SWEEP = "sweep.json"

SWEEPS = "sweeps"
"""The folder in a pool that has one subfolder per sweep."""


TAKEN = (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR)
"""Errors of renaming a folder if something is in the new place."""


@dataclass(frozen=True)
class SweepRecord:
    """A sweep, as ``sweep.json`` describes it.

    Attributes:
        name: name of the sweep.
        command: the command line that launched it.
        created: ISO 8601 time in UTC.
        runs: run ids, in the order of the sweep.
        pool: the folder of the run directories.
        groups: run ids by the label that the sweep gives them.
    """

    name: str
    command: str
    created: str
    runs: tuple[str, ...]
    pool: Path
    groups: dict[str, tuple[str, ...]] = field(default_factory=dict)


def write_sweep(folder: str | Path, record: SweepRecord) -> Path:
    """Write ``sweep.json`` atomically; the pool is stored relative to the folder.

    Raises:
        UserError: the folder cannot be written.
    """
    folder = Path(folder)
    make_folder(folder)
    pool = os.path.relpath(record.pool.resolve(), folder.resolve())
    entries = asdict(record) | {"pool": Path(pool).as_posix()}
    write_text(folder / SWEEP, sealed_json.sealed(entries, indent=1) + "\n")
    return folder / SWEEP


def new_sweep(pool: Path, record: SweepRecord) -> Path:
    """Make the folder of a sweep, which is there with its record or not at all.

    Args:
        pool: the pool in whose `SWEEPS` it is made.
        record: the folder gets its name, with a number added if another launch has
            just taken that name.

    Returns:
        The folder.

    Raises:
        UserError: it cannot be made.
    """
    sweeps = pool / SWEEPS
    make_folder(sweeps, pool)
    hidden = sweeps / f".sweep.{os.getpid()}.{secrets.token_hex(4)}.tmp"
    name, number = record.name, 1
    with writable(sweeps):
        try:
            while True:
                write_sweep(hidden, replace(record, name=name))
                try:
                    os.rename(hidden, sweeps / name)
                except OSError as error:
                    if error.errno not in TAKEN:
                        raise
                    number += 1
                    name = f"{record.name}-{number}"
                else:
                    sync(sweeps)
                    break
        finally:
            shutil.rmtree(hidden, ignore_errors=True)
    return sweeps / name


def read_sweep(folder: str | Path) -> SweepRecord:
    """Read the record in a sweep folder.

    Raises:
        UserError: there is no record, or it is damaged.
    """
    file = Path(folder) / SWEEP
    try:
        entries = sealed_json.opened(read_file(file))
        check_types(SweepRecord, entries | {"pool": Path(entries["pool"])})
        return SweepRecord(
            name=entries["name"],
            command=entries["command"],
            created=entries["created"],
            runs=tuple(entries["runs"]),
            pool=user_path(
                os.path.normpath(file.parent.resolve() / entries["pool"]),
                f"the pool named in '{file}' is not a valid path",
            ),
            groups={key: tuple(runs) for key, runs in entries["groups"].items()},
        )
    except OSError as error:
        raise UserError(f"cannot read '{file}': {error.strerror}") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        said = one_line(error)
        raise UserError(f"'{file}' is not a valid sweep record: {said}") from None
