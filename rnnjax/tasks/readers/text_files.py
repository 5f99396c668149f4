"""Read a user's files, with errors that name the file and the line."""

import os
from pathlib import Path

from rnnjax.devices import free_host_memory
from rnnjax.errors import UserError
from rnnjax.paths import read_file, user_path


DATA_VARIABLE = "RNNJAX_DATA"
COPIES = 4
"""Copies of a file's content in memory while it is checked and converted."""

Stamp = tuple[str, int, int]
"""Path, modification time and size of a file: the key to cache its content."""


def data_folder(part: str) -> Path | None:
    """The folder of one data set in the data folder, or None if it does not exist.

    Raises:
        UserError: the environment variable is not a valid path.
    """
    root = os.environ.get(DATA_VARIABLE)
    said = f"{DATA_VARIABLE}={root}"
    folder = user_path(root, said) / part if root else None
    return folder if folder is not None and folder.is_dir() else None


def read_bytes(path: Path) -> bytes:
    """The content of a file.

    Raises:
        UserError: it is missing, not a regular file, not readable, or empty.
    """
    try:
        content = read_file(path)
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from None
    if not content.strip():
        raise UserError(f"{path} is empty")
    return content


def read_text(path: Path) -> str:
    """The content of a UTF-8 text file, without a byte-order mark.

    Line ends are not changed. (`str.splitlines` would also split at characters such as
    NEL, U+0085, which occur in real sentences.)

    Raises:
        UserError: as in `read_bytes`, or for bytes that are not UTF-8; the message
            names the line.
    """
    content = read_bytes(path)
    try:
        return content.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UserError(
            f"{path}, line {line}: byte 0x{content[error.start]:02x} is not UTF-8 text"
        ) from None


def check_room(path: Path, size: int) -> None:
    """Reject a file that declares more data than fits in memory before unpacking it.

    Args:
        path: path of the file.
        size: unpacked size in bytes, as declared in its header; tasks need about four
            times as much.

    Raises:
        UserError: see above.
    """
    if COPIES * size > free_host_memory():
        raise UserError(
            f"{path} declares {size / 2**30:.3g} GiB of data, too much for the memory"
        )


def stamp(path: Path) -> Stamp:
    """The stamp of a file, which changes when the file is changed."""
    try:
        status = path.stat()
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from None
    return str(path.resolve()), status.st_mtime_ns, status.st_size


def _unreadable(path: Path, error: OSError | ValueError) -> UserError:
    """The error for an unreadable file; a ValueError means a NUL in its name."""
    return UserError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}")
