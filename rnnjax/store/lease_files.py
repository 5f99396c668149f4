"""The files of leases in a pool: what is leased, abandoned, or no lease at all."""

import os
import re
import stat
import time
from contextlib import suppress
from pathlib import Path

from rnnjax.store import leases
from rnnjax.store.leases import (
    GENERATION,
    LEASES,
    gone,
    latest_generation,
    sign_text,
)


def leased(pool: Path) -> set[str]:
    """Ids of the runs that a process is working on; nothing is written.

    Ages are measured by the clock of this machine; a lease from the future counts too.
    """
    folders = (folder for folder in (pool / LEASES).glob("*") if _is_of_run(folder))
    return {
        folder.name
        for folder in folders
        if (number := latest_generation(folder)) is not None
        and not _old(folder / str(number))
    }


def stale_files(pool: Path) -> list[Path]:
    """Leases and sign files of processes that have ended or gone silent."""
    return sorted(file for file in _entries(pool) if is_abandoned(file))


def is_abandoned(file: Path) -> bool:
    """Whether a lease or sign file is there whose process has ended or gone silent."""
    return not is_odd(file) and _old(file) and os.path.lexists(file)


def odd_entries(pool: Path) -> list[Path]:
    """Entries among the leases that are not leases: links, folders, other files."""
    return sorted(entry for entry in _entries(pool) if is_odd(entry))


def is_odd(entry: Path) -> bool:
    """Whether an entry among the leases is there and is not a lease."""
    mode, in_root = _mode(entry), entry.parent.name == LEASES
    if stat.S_ISDIR(mode):
        return not in_root or entry.suffix == ".sign"
    name = r"[0-9a-f]{32}\.sign" if in_root else GENERATION
    own = stat.S_ISREG(mode) and re.fullmatch(name, entry.name)
    return mode != 0 and not own


def _entries(pool: Path) -> list[Path]:
    """Everything in the folder of leases and in its subfolders, one per run."""
    folder = pool / LEASES
    if folder.is_symlink() or not folder.is_dir():
        return []
    entries = list(folder.iterdir())
    runs = [entry for entry in entries if _is_of_run(entry)]
    inside: list[Path] = []
    for run in runs:
        with suppress(FileNotFoundError):  # its process has just released it
            inside += run.iterdir()
    return [entry for entry in entries if entry not in runs] + inside


def _is_of_run(entry: Path) -> bool:
    return stat.S_ISDIR(_mode(entry)) and entry.suffix != ".sign"


def _mode(entry: Path) -> int:
    """The type of an entry, a link not followed; 0 if it is not there any more."""
    try:
        return os.lstat(entry).st_mode
    except FileNotFoundError:
        return 0


def _old(lease: Path) -> bool:
    try:
        if gone(sign_text(lease)):
            return True
        return time.time() - lease.lstat().st_mtime > leases.STALE_SECONDS
    except FileNotFoundError:
        return True
