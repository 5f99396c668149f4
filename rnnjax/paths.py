"""Paths that a user wrote: on the command line, in a configuration, in a variable."""

import errno
import os
import stat
from pathlib import Path

from rnnjax.errors import UserError


LONGEST_PART = 255
"""Bytes of the name of a file or folder, on every common file system."""

_NEVER = (errno.ELOOP, errno.ENAMETOOLONG, errno.ENOTDIR)
"""What the system says of a path at which nothing is and nothing can be made."""

_MOST_BYTES = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 4
"""Of a file that is read whole; a file with holes may claim any size."""


def user_path(text: str | Path, said: str | None = None) -> Path:
    """The path that a user wrote, with ``~`` and ``~name`` for a home folder.

    Nothing else is special in it, and a ``~`` that names no user is a plain character.

    Args:
        text: as it was written.
        said: how an error begins; None: ``cannot read`` and the path.

    Raises:
        UserError: nothing can have that path: a loop of links, a name that is too long,
            a file in the place of a folder, a NUL character.
    """
    try:
        path = Path(text).expanduser()
    except RuntimeError:
        path = Path(text)
    if reason := _reason(path):
        raise UserError(f"{said or f'cannot read {path}'}: {reason}")
    return path


def read_file(path: str | Path) -> bytes:
    """The content of a file that ends: a pipe or a device is not waited for.

    Raises:
        OSError: it cannot be read, is no regular file, or is too large for memory.
        ValueError: nothing can have that path.
    """
    # Without O_NONBLOCK, to open a pipe that nobody writes to takes for ever.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        mode = os.fstat(descriptor).st_mode
        if not stat.S_ISREG(mode):
            number = errno.EISDIR if stat.S_ISDIR(mode) else errno.EINVAL
            known = os.strerror(number) if stat.S_ISDIR(mode) else "Not a regular file"
            raise OSError(number, known, str(path))
        if os.fstat(descriptor).st_size > _MOST_BYTES:
            raise OSError(errno.EFBIG, "it is too large for memory", str(path))
        with open(descriptor, "rb", closefd=False) as file:
            return file.read()
    except MemoryError:
        raise OSError(errno.ENOMEM, "it is too large for memory", str(path)) from None
    finally:
        os.close(descriptor)


def _reason(path: Path) -> str | None:
    """Why nothing can be at a path; None if something is or could be."""
    try:
        if any(len(os.fsencode(part)) > LONGEST_PART for part in path.parts):
            return os.strerror(errno.ENAMETOOLONG)
        os.stat(path)
    except OSError as error:
        return error.strerror if error.errno in _NEVER else None
    except ValueError as error:  # a NUL character, or half of a surrogate pair
        return str(error)
    return None
