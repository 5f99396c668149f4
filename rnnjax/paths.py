"""Paths of this package, and paths from the user."""

import errno
import os
import stat
from pathlib import Path

from rnnjax.errors import UserError


PACKAGE_FOLDER = Path(__file__).parent

LONGEST_PART = 255
"""Largest number of bytes in the name of a file or folder on common file systems."""

MAX_PARTS = 500
"""Largest number of folders in a path."""

_NEVER = (errno.ELOOP, errno.ENAMETOOLONG, errno.ENOTDIR)
"""System errors for a path at which nothing exists and nothing can be created."""

_MAX_BYTES = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 4
"""Size limit of a file that is read whole; a sparse file may claim any size."""


def shipped_folder(name: str) -> Path:
    """A folder of files that come with the package.

    It lies inside the package, or beside it in a checkout.
    """
    inside, beside = PACKAGE_FOLDER / name, PACKAGE_FOLDER.parent / name
    return inside if inside.is_dir() else beside


def user_path(text: str | Path, said: str | None = None) -> Path:
    """The path that a user wrote, with ``~`` and ``~name`` expanded to a home folder.

    Nothing else in it is expanded, and a ``~`` that names no user is a plain character.

    Args:
        text: the path as the user wrote it.
        said: the beginning of the error message; None: ``cannot read`` and the path.

    Raises:
        UserError: no file can have that path: it has a loop of links, a name that is
            too long, a file in the place of a folder, or a NUL character; or it is not
            valid UTF-8, as records are.
    """
    try:
        path = Path(text).expanduser()
    except RuntimeError:
        path = Path(text)
    if reason := _reason(path):
        raise UserError(f"{said or f'cannot read {path}'}: {reason}")
    return path


def read_file(path: str | Path) -> bytes:
    """The content of a regular file; pipes and devices, which may block, are refused.

    Raises:
        OSError: it cannot be read, is not a regular file, or is too large for memory.
        ValueError: no file can have that path.
    """
    # Without O_NONBLOCK, opening a pipe that has no writer would block forever.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        mode = os.fstat(descriptor).st_mode
        if not stat.S_ISREG(mode):
            number = errno.EISDIR if stat.S_ISDIR(mode) else errno.EINVAL
            known = os.strerror(number) if stat.S_ISDIR(mode) else "Not a regular file"
            raise OSError(number, known, str(path))
        if os.fstat(descriptor).st_size > _MAX_BYTES:
            raise OSError(errno.EFBIG, "it is too large for memory", str(path))
        with open(descriptor, "rb", closefd=False) as file:
            return file.read()
    except MemoryError:
        raise OSError(errno.ENOMEM, "it is too large for memory", str(path)) from None
    finally:
        os.close(descriptor)


def _reason(path: Path) -> str | None:
    """Why no file can have a path; None if one exists or could be created."""
    try:
        if any(len(os.fsencode(part)) > LONGEST_PART for part in path.parts):
            return os.strerror(errno.ENAMETOOLONG)
        if len(path.parts) > MAX_PARTS:
            return f"it has more than {MAX_PARTS} parts"
        os.path.abspath(path).encode()
        os.stat(path)
    except UnicodeEncodeError:
        return "its name, or that of the current folder, is not valid UTF-8"
    except OSError as error:
        return error.strerror if error.errno in _NEVER else None
    except ValueError as error:  # a NUL character, or half of a surrogate pair
        return str(error)
    return None
