"""Write files atomically: a file is there completely or not at all."""

import os
import re
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rnnjax.errors import UserError


TEMPORARY = re.compile(r"\.(?P<name>.+)\.(?P<pid>\d+)\.[0-9a-f]{8}\.tmp", re.DOTALL)
"""Names of the temporary files of `write_atomically`, and of nothing else."""


def write_atomically(
    path: Path, write: Callable[[Path], object], durable: bool = True
) -> None:
    """Let `write` fill a temporary file next to `path`, then rename it into place.

    If the process is killed in between, the older file, if any, is still there.

    Args:
        path: the file.
        write: fills the file whose path it is given.
        durable: whether to sync the content to disk before the rename, and the folder
            after it, so that this also holds for a power failure; otherwise the caller
            has to call `sync`.

    Raises:
        UserError: the file cannot be written.
    """
    # Absolute, as some writers read a relative name as a URL or expand "~" in it.
    own = f"{os.getpid()}.{secrets.token_hex(4)}"
    temporary = path.absolute().with_name(f".{path.name}.{own}.tmp")
    with writable(path):
        try:
            # Nothing was there before: a link of that name would be followed.
            flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW
            os.close(os.open(temporary, flags, 0o666))
            write(temporary)
            if durable:
                sync(temporary)
            os.replace(temporary, path)
            if durable:
                sync(path.parent)
        finally:
            temporary.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes, durable: bool = True) -> None:
    """`write_atomically` for bytes, which exist in memory before a file is opened.

    Libraries that write files themselves handle a full disk badly: HDF5 ends the
    process, and polars raises errors that are not an `OSError`.
    """
    write_atomically(path, lambda file: file.write_bytes(content), durable)


def write_text(path: Path, text: str, durable: bool = True) -> None:
    """`write_atomically` for text, in UTF-8."""
    write_bytes(path, text.encode(), durable)


def make_folder(path: Path, inside: Path | None = None) -> None:
    """Make a folder and its parents; an existing folder is fine.

    Args:
        path: the folder.
        inside: a folder above it; no link is allowed below that one, see `no_link`.

    Raises:
        UserError: it cannot be made, or there is a link on the way to it.
    """
    if inside is not None:
        no_link(path, inside)
    with writable(path):
        path.mkdir(parents=True, exist_ok=True)


def no_link(path: Path, inside: Path) -> Path:
    """Return `path` after checking that no part of it below `inside` is a link.

    A pool that somebody passed on may contain links. Writing, moving or removing
    something through a link would affect files outside the pool.

    Args:
        path: a file or a folder, which need not exist.
        inside: a folder above `path`, which may itself be a link.

    Raises:
        UserError: there is a link.
    """
    step = inside
    for part in path.relative_to(inside).parts:
        step = step / part
        if step.is_symlink():
            raise UserError(f"'{step}' is a link; rnnjax does not write through links")
    return path


@contextmanager
def writable(path: Path) -> Iterator[None]:
    """Turn a failed write to `path` into an error of one sentence for the user."""
    try:
        yield
    except OSError as error:
        raise UserError(f"cannot write '{path}': {error.strerror or error}") from error


def sync(path: Path) -> None:
    """Wait until the content of a file, or the entries of a folder, are on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
