"""What is wrong with a pool beside its runs: index, checkpoints, sweeps, leftovers."""

import os
import re
import time
from collections.abc import Callable, Iterator, Set
from functools import partial
from pathlib import Path

from rnnjax.counting import count
from rnnjax.errors import UserError
from rnnjax.store.checkpoint import PACKS, PackCheckpoint
from rnnjax.store.findings import Finding, moved_aside, remove
from rnnjax.store.index import INDEX, content_of, read_index, row_of
from rnnjax.store.leases import (
    LEASES,
    STALE_SECONDS,
    leased,
    lives,
    odd_entries,
    stale_files,
)
from rnnjax.store.manifest import OtherFormat
from rnnjax.store.pool import Pool
from rnnjax.store.quarantine import QUARANTINE, set_aside
from rnnjax.store.rundir import RunDir
from rnnjax.store.sweep_record import SWEEP, SWEEPS, read_sweep


OLD_SECONDS = 3600.0
"""Age of a temporary file of another machine's process that counts as left behind."""


def places(pool: Path) -> Iterator[Finding]:
    """What stands where a folder of the pool has to be, and keeps a launch from it."""
    for place in (pool / LEASES, pool / PACKS, pool / SWEEPS):
        if os.path.lexists(place) and (place.is_symlink() or not place.is_dir()):
            yield moved_aside(place, pool, f"'{place}' is {_kind(place)}")
    for entry in odd_entries(pool):
        if not entry.name.endswith(".tmp"):
            yield moved_aside(entry, pool, f"'{entry}' is no lease")
    room = pool / QUARANTINE
    if os.path.lexists(room) and (room.is_symlink() or not room.is_dir()):
        yield Finding("note", f"'{room}' is {_kind(room)}, and repair needs it")


def _kind(place: Path) -> str:
    return "a link" if place.is_symlink() else "no folder"


def checkpoints(pool: Path, known: dict[str, RunDir]) -> Iterator[Finding]:
    """Packs that cannot be read, and those of which no run needs them any more.

    None while a process is at work on the pool, for it may be writing there.
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
            why = f"'{folder}' holds what no checkpoint does: {names}"
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
    """What is wrong with a checkpoint; empty: nothing."""
    try:
        PackCheckpoint(folder).check()
    except UserError as error:
        return str(error)
    return ""


def _spent(folder: Path, known: dict[str, RunDir]) -> str:
    """Why nobody needs a checkpoint; empty: a run goes on from it, or it is torn."""
    try:
        members = PackCheckpoint(folder).members()
    except UserError:
        return ""
    runs = [known.get(member) for member in members]
    if members and not all(run and run.manifest().is_finished for run in runs):
        return ""
    return f"no run goes on from the checkpoint '{folder}'"


def _unless_at_work(
    pool: Path,
    folder: Path,
    known: dict[str, RunDir],
    mend: Callable[[Path], object],
) -> None:
    """Mend a checkpoint if it still needs that, and no process is at work by now."""
    if not leased(pool) and (_spent(folder, known) or _torn(folder)):
        mend(folder)


def index(pool: Path, known: dict[str, RunDir], working: bool) -> Iterator[Finding]:
    """An index that cannot be read, or tells something else than the runs.

    Args:
        pool: the folder.
        known: the runs that are whole, by identity.
        working: whether a process is at work on the pool.

    Raises:
        OtherFormat: it is of another version.
    """
    file = pool / INDEX
    mend = Pool(pool).rebuild
    try:
        found = read_index(file)
    except OtherFormat:
        raise
    except UserError as error:  # a folder, say
        mend = partial(set_aside, file, pool, str(error))
        text = f"{error}; repair moves it to quarantine and writes one from the runs"
        yield Finding("index", text, mend)
        return
    if found.damaged:
        text = f"{count(found.damaged, 'line')} of '{file}' cannot be read"
        yield Finding("index", f"{text}; repair writes it anew from the runs", mend)
        return
    wrong = [
        run.path.name
        for identity, run in known.items()
        if (row := found.rows.get(identity)) is None
        or content_of(row) != content_of(row_of(run))
    ]
    gone = [
        row.folder
        for key, row in found.rows.items()
        if key not in known and not (pool / row.folder).is_dir()
    ]
    if wrong or (gone and not working):
        names = ", ".join([*wrong, *gone][:3])
        text = f"'{file}' tells something else than {len(wrong + gone)} runs: {names}"
        yield Finding("index", f"{text}; repair writes it anew from the runs", mend)


def sweeps(pool: Path, known: Set[str]) -> Iterator[Finding]:
    """Sweeps that name runs which the pool lacks, and records that are damaged."""
    for folder in sorted((pool / SWEEPS).glob("*/")):
        file = folder / SWEEP
        try:
            record = read_sweep(folder)
        except UserError as error:
            yield Finding("note", f"{error}; its runs are in the pool all the same")
            continue
        lost = [identity for identity in record.runs if identity not in known]
        if lost:
            text = f"the sweep '{file.parent}' names {len(lost)} of {len(record.runs)}"
            yield Finding("note", f"{text} runs that the pool lacks; launch it again")


def leftovers(pool: Path) -> Iterator[Finding]:
    """Leases and temporary files of processes that are gone."""
    for file in stale_files(pool):
        text = f"'{file}' is the lease of a process that is gone; repair removes it"
        yield Finding("leftover", text, partial(remove, file, pool))
    for file in sorted(pool.rglob(".*.tmp")):
        if file.is_file() and _left_behind(file):
            text = f"'{file}' was left by a killed process; repair removes it"
            yield Finding("leftover", text, partial(remove, file, pool))


def _left_behind(file: Path) -> bool:
    """Whether the process in the name of a temporary file is gone, or it is old."""
    number = re.fullmatch(r"\..*\.(\d+)\.tmp", file.name)
    if number is None:
        return False
    age = time.time() - file.stat().st_mtime
    return age > (OLD_SECONDS if lives(int(number[1])) else STALE_SECONDS)
