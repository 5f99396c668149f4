"""Problems of a pool other than in its runs: index, checkpoints, sweeps, leftovers."""

import os
import time
from collections.abc import Callable, Iterator, Set
from functools import partial
from pathlib import Path

from rnnjax.counting import count
from rnnjax.errors import UserError
from rnnjax.store.atomic import TEMPORARY
from rnnjax.store.checkpoint import PACKS, PackCheckpoint
from rnnjax.store.findings import Finding, moved_aside, remove
from rnnjax.store.index import INDEX, content_of, read_index, row_of
from rnnjax.store.lease_files import (
    is_abandoned,
    is_odd,
    leased,
    odd_entries,
    stale_files,
)
from rnnjax.store.leases import LEASES, STALE_SECONDS, lives
from rnnjax.store.manifest import OtherFormat
from rnnjax.store.pool import Pool
from rnnjax.store.quarantine import QUARANTINE, set_aside
from rnnjax.store.rundir import RunDir
from rnnjax.store.sweep_record import SWEEP, SWEEPS, read_sweep


OLD_SECONDS = 3600.0
"""Age from which a temporary file counts as abandoned even if a process on this machine
has the number in its name: the file may be from another machine."""


def places(pool: Path) -> Iterator[Finding]:
    """Entries in the places of the pool's own folders, which would block a launch."""
    for place in (pool / LEASES, pool / PACKS, pool / SWEEPS):
        if os.path.lexists(place) and (place.is_symlink() or not place.is_dir()):
            yield moved_aside(place, pool, f"'{place}' is {_kind(place)}")
    for entry in odd_entries(pool):
        if not entry.name.endswith(".tmp"):
            why = f"'{entry}' is not a lease"
            yield moved_aside(entry, pool, why, partial(is_odd, entry))
    room = pool / QUARANTINE
    if os.path.lexists(room) and (room.is_symlink() or not room.is_dir()):
        yield Finding("note", f"'{room}' is {_kind(room)}; repair needs a folder there")


def _kind(place: Path) -> str:
    return "a link" if place.is_symlink() else "not a folder"


def checkpoints(pool: Path, known: dict[str, RunDir]) -> Iterator[Finding]:
    """Checkpoints that cannot be read, and those that no run needs any more.

    Yields neither while a process works on the pool, as it may be writing there.
    """
    packs = pool / PACKS
    if packs.is_symlink():
        return
    for folder in sorted(packs.glob("*")):
        if folder.is_symlink():
            yield moved_aside(folder, pool, f"'{folder}' is a link")
        elif not folder.is_dir():
            continue
        elif foreign := PackCheckpoint(folder).foreign():
            names = ", ".join(foreign[:3])
            why = f"'{folder}' contains files that are not of a checkpoint: {names}"
            yield moved_aside(folder, pool, why)
            continue
        if text := _spent(folder, known):
            end = "repair removes it"
            clear = partial(remove, pool=pool)
            mend = partial(_unless_at_work, pool, folder, known, clear)
            kind = "leftover"
        elif text := _torn(folder):
            end = "repair moves it to quarantine"
            aside = partial(set_aside, pool=pool, why=text)
            mend = partial(_unless_at_work, pool, folder, known, aside)
            kind = "damaged"
        else:
            continue
        if not leased(pool):
            yield Finding(kind, f"{text.rstrip('.')}; {end}", mend)


def _torn(folder: Path) -> str:
    """What is wrong with a checkpoint; empty if nothing is."""
    try:
        PackCheckpoint(folder).check()
    except UserError as error:
        return str(error)
    return ""


def _spent(folder: Path, known: dict[str, RunDir]) -> str:
    """Why a checkpoint is no longer needed; empty if it is needed or damaged."""
    try:
        members = PackCheckpoint(folder).members()
    except UserError:
        return ""
    runs = [known.get(member) for member in members]
    if members and not all(run and run.manifest().is_finished for run in runs):
        return ""
    return f"no run needs the checkpoint '{folder}' any more"


def _unless_at_work(
    pool: Path,
    folder: Path,
    known: dict[str, RunDir],
    mend: Callable[[Path], object],
) -> None:
    """Repair a checkpoint if it still needs it and no process has started to work."""
    if not leased(pool) and (_spent(folder, known) or _torn(folder)):
        mend(folder)


def index(pool: Path, known: dict[str, RunDir], working: bool) -> Iterator[Finding]:
    """An index that cannot be read or that disagrees with the runs.

    Args:
        pool: the folder.
        known: the intact runs, by run id.
        working: whether a process is working on the pool.

    Raises:
        OtherFormat: the index was written in another format version.
    """
    file = pool / INDEX
    mend = Pool(pool).rebuild
    try:
        found = read_index(file)
    except OtherFormat:
        raise
    except UserError as error:  # for example, a folder is in its place
        mend = partial(set_aside, file, pool, str(error))
        text = f"{error}; repair moves it to quarantine and rebuilds it from the runs"
        yield Finding("index", text, mend)
        return
    if found.damaged:
        text = f"{count(found.damaged, 'line')} of '{file}' cannot be read"
        yield Finding("index", f"{text}; repair rebuilds it from the runs", mend)
        return
    wrong = [
        run.path.name
        for run_id, run in known.items()
        if (row := found.rows.get(run_id)) is None
        or content_of(row) != content_of(row_of(run))
    ]
    gone = [
        row.folder
        for key, row in found.rows.items()
        if key not in known and not (pool / row.folder).is_dir()
    ]
    if wrong or (gone and not working):
        names = ", ".join([*wrong, *gone][:3])
        text = f"'{file}' disagrees with {len(wrong + gone)} of the runs: {names}"
        yield Finding("index", f"{text}; repair rebuilds it from the runs", mend)


def sweeps(pool: Path, known: Set[str]) -> Iterator[Finding]:
    """Sweeps that name runs missing from the pool, and damaged sweep records."""
    for folder in sorted((pool / SWEEPS).glob("[!.]*/")):
        file = folder / SWEEP
        try:
            record = read_sweep(folder)
        except UserError as error:
            yield Finding("note", f"{error}; its runs are still in the pool")
            continue
        lost = [run_id for run_id in record.runs if run_id not in known]
        if lost:
            text = f"{len(lost)} of the {len(record.runs)} runs of '{file.parent}'"
            yield Finding("note", f"{text} are not in the pool; launch the sweep again")


def leftovers(pool: Path) -> Iterator[Finding]:
    """Leases and temporary files of processes that have ended."""
    for file in stale_files(pool):
        text = f"'{file}' is the lease of a process that has ended; repair removes it"
        mend = partial(_remove_if, is_abandoned, file, pool)
        yield Finding("leftover", text, mend)
    for file in _temporary(pool):
        of_sweep = file.parent == pool / SWEEPS  # a folder that was not renamed yet
        if (file.is_file() or of_sweep) and _left_behind(file):
            text = f"'{file}' was left behind by a killed process; repair removes it"
            yield Finding(
                "leftover", text, partial(_remove_if, _left_behind, file, pool)
            )


def _temporary(pool: Path) -> list[Path]:
    """Entries of a pool at any depth that are named like temporary files.

    Unlike a glob, `os.walk` passes over a folder that vanishes in the meantime.
    """
    return sorted(
        Path(folder, name)
        for folder, folders, files in os.walk(pool)
        for name in (*folders, *files)
        if TEMPORARY.fullmatch(name)
    )


def _remove_if(still: Callable[[Path], bool], file: Path, pool: Path) -> None:
    if still(file):
        remove(file, pool)


def _left_behind(file: Path) -> bool:
    """Whether a temporary file is old for the state of the process in its name.

    The limit is `STALE_SECONDS` if that process has ended, else `OLD_SECONDS`.
    """
    own = TEMPORARY.fullmatch(file.name)
    if own is None:
        return False
    try:
        age = time.time() - file.lstat().st_mtime
    except FileNotFoundError:  # its process has just renamed it
        return False
    return age > (OLD_SECONDS if lives(int(own["pid"])) else STALE_SECONDS)
