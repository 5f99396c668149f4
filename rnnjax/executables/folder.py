"""The folder of compiled programs: who may write to it, what is in it, how much."""

import atexit
import hashlib
import os
import re
import shutil
import stat
import tempfile
import time
import warnings
from collections.abc import Iterable
from contextlib import suppress
from functools import cache
from pathlib import Path

import jax

from rnnjax.errors import UserError
from rnnjax.store.atomic import TEMPORARY, writable, write_bytes
from rnnjax.store.environment import processor
from rnnjax.store.source_facts import remember_in


LIMIT = 2**31
"""Bytes that are kept; what was used least recently goes first."""

LARGEST = 2**29
"""Most bytes of an entry."""

PROGRAM_BYTES = 2**18
"""Size of a typical compiled program."""

ABANDONED = 3600.0
"""Seconds after which a temporary file belongs to a process that was killed."""

NAME = re.compile(r"[0-9a-f]{32}")
"""Names of entries: see `rnnjax.executables.lookup`."""

_current: Path | None = None


def keep_programs() -> None:
    """Keep compiled programs for later processes, in a private folder of the user.

    Later processes execute these programs, so no other user may write to the folder.
    They fit one type of processor, so each type has its own folder. If
    ``JAX_COMPILATION_CACHE_DIR`` or `jax.config` names a folder, JAX keeps programs
    there in its own way. If nothing can be kept, programs are compiled again, with a
    single warning.
    """
    global _current
    place = _place()
    remember_in(None if place is None else place / "sources.json")
    _current = place


def _place() -> Path | None:
    """The folder of this process, which exists; None if none can be used."""
    if getattr(jax.config, "jax_compilation_cache_dir", None) is not None:
        return None
    folder = cache_folder() / f"executables-{processor()}"
    try:
        make_private(folder.parent)
        make_private(folder)
        _check_room(folder)
    except (OSError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or error
        warnings.warn(
            f"cannot keep compiled programs in {folder.parent}: {reason}; set "
            "XDG_CACHE_HOME to choose another folder",
            stacklevel=3,
        )
        return None
    return folder


def cache_folder() -> Path:
    """The folder of everything that is kept between processes."""
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(os.path.expanduser(base)) / "rnnjax"


def current() -> Path | None:
    """The folder in which this process keeps programs, if any."""
    return _current


def load(key: str) -> bytes | None:
    """The content of an entry; None if there is none, or it is not what was written."""
    place = _current
    if place is None:
        return None
    file = place / key
    with suppress(OSError, MemoryError):
        known = file.lstat()
        if stat.S_ISREG(known.st_mode) and known.st_size <= LARGEST:
            seal, _, content = file.read_bytes().partition(b"\n")
            if seal == _seal(key, content):
                os.utime(file)  # used just now
                return content
    return None


def keep(key: str, content: bytes) -> None:
    """Write an entry; if that fails, what is in it is found out again next time."""
    place = _current
    if place is not None and len(content) < LARGEST:
        with suppress(UserError):
            sealed = _seal(key, content) + b"\n" + content
            write_bytes(place / key, sealed, durable=False)
            _limit_at_exit(place)


def _seal(key: str, content: bytes) -> bytes:
    """The first line of an entry, which binds its content to its name."""
    return hashlib.sha256(key.encode() + b"\n" + content).hexdigest().encode()


@cache
def _limit_at_exit(folder: Path) -> None:
    atexit.register(limit, folder)


def limit(folder: Path, size: int = LIMIT) -> None:
    """Remove the entries used least recently, and what killed processes left."""
    found, files = [], []
    with suppress(OSError):
        files = list(folder.iterdir())
    for file in files:
        with suppress(OSError):
            known = file.lstat()
            if NAME.fullmatch(file.name):
                found.append((known.st_mtime, known.st_size, file))
            elif TEMPORARY.fullmatch(file.name):
                if time.time() - known.st_mtime > ABANDONED:
                    file.unlink()
    total = sum(bytes for _, bytes, _ in found)
    for _, bytes, file in sorted(found):
        if total <= size:
            return
        with suppress(OSError):
            file.unlink()
            total -= bytes


def contents() -> dict[Path, list[Path]]:
    """The folders of programs, one for each type of processor, and what is in them."""
    places = sorted(cache_folder().glob("executables-*"))
    return {place: sorted(place.iterdir()) for place in places if place.is_dir()}


def remove(files: Iterable[Path]) -> None:
    """Remove entries; a process that uses one has read it already.

    Raises:
        UserError: one cannot be removed.
    """
    for file in files:
        with writable(file):
            if file.is_dir() and not file.is_symlink():
                shutil.rmtree(file)
            else:
                file.unlink(missing_ok=True)


def make_private(folder: Path) -> None:
    """Make a folder to which only its owner can write, or make an existing one so.

    Raises:
        OSError: the folder cannot be made, or it belongs to another user, or a link in
            its place does.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for owner in (folder.lstat().st_uid, folder.stat().st_uid):
        if owner != os.getuid():  # root could change the mode anyway
            raise PermissionError(f"'{folder}' belongs to user {owner}")
    folder.chmod(0o700)


def _check_room(folder: Path) -> None:
    """Raise an `OSError` if the folder has no room for a typical program."""
    with tempfile.TemporaryFile(dir=folder) as file:
        file.write(os.urandom(PROGRAM_BYTES))
