"""Lock a file or folder while it is changed.

A lease says which process works on a run, but its holder may be suspended in the middle
of replacing files, be overtaken, and continue much later. Files are therefore replaced
only under a lock, which the operating system keeps while the process is suspended.
"""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rnnjax.errors import UserError


WAIT_SECONDS = 60.0
"""Locks are kept for milliseconds; after this time the holder must be suspended."""


@contextmanager
def locked(path: Path, flags: int = os.O_RDONLY) -> Iterator[int]:
    """Open a file or folder, locked against other threads and processes that lock it.

    A file system without locks locks nothing.

    Args:
        path: not a link.
        flags: with which it is opened, see `os.open`.

    Yields:
        The file descriptor.

    Raises:
        OSError: it cannot be opened.
        UserError: another process has kept the lock for `WAIT_SECONDS`.
    """
    end, pause = time.monotonic() + WAIT_SECONDS, 0.001
    while True:
        descriptor = os.open(path, flags | os.O_NOFOLLOW, 0o666)
        try:
            if _lock(descriptor) and _is(path, descriptor):
                yield descriptor
                return
        finally:
            os.close(descriptor)
        if time.monotonic() > end:
            raise UserError(
                f"another process keeps '{path}' locked and may be suspended; continue "
                "or end it, then start again"
            )
        time.sleep(pause)
        pause = min(2 * pause, 0.1)


def _lock(descriptor: int) -> bool:
    """Try to lock; False if another thread or process has the lock."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # the file system has no locks
        pass
    return True


def _is(path: Path, descriptor: int) -> bool:
    """Whether what was opened is still in its place: it may have been replaced."""
    try:
        return os.path.samestat(os.lstat(path), os.fstat(descriptor))
    except FileNotFoundError:
        return False
