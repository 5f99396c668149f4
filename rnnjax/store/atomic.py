"""Files that are there whole or not at all."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rnnjax.errors import UserError


def write_atomically(
    path: Path, write: Callable[[Path], object], durable: bool = True
) -> None:
    """Let `write` fill a temporary file beside `path`, then rename it into place.

    Whoever is killed in between leaves the older file, or none.

    Args:
        path: the file.
        write: fills the file that it is given.
        durable: bytes are on the disk before the name is, so that this holds for a
            power failure too; otherwise `sync` has to follow.

    Raises:
        UserError: the file cannot be written.
    """
    # Absolute: a writer that knows URLs and "~" takes a relative name for one of them.
    temporary = path.absolute().with_name(f".{path.name}.{os.getpid()}.tmp")
    with writable(path):
        try:
            write(temporary)
            if durable:
                sync(temporary)
            os.replace(temporary, path)
            if durable:
                sync(path.parent)
        finally:
            temporary.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes, durable: bool = True) -> None:
    """`write_atomically` for bytes, which are made in memory before anything is opened.

    A library that writes to a file by itself meets a full disk in ways of its own: HDF5
    ends the process, polars raises errors that are no `OSError`.
    """
    write_atomically(path, lambda file: file.write_bytes(content), durable)


def write_text(path: Path, text: str, durable: bool = True) -> None:
    """`write_atomically` for a text, in UTF-8."""
    write_bytes(path, text.encode(), durable)


def make_folder(path: Path, inside: Path | None = None) -> None:
    """Make a folder and its parents; an existing one is fine.

    Args:
        path: the folder.
        inside: a folder above it, from which on there may be no link, see `no_link`.

    Raises:
        UserError: it cannot be made, or a link is in the way.
    """
    if inside is not None:
        no_link(path, inside)
    with writable(path):
        path.mkdir(parents=True, exist_ok=True)


def no_link(path: Path, inside: Path) -> Path:
    """A path below a folder that is ours; no link leads from there to it.

    Whoever hands on a pool may have put a link into it: what is written, moved or
    removed through that would be somebody else's.

    Args:
        path: of a file or a folder, which may be missing.
        inside: the folder, which may itself be a link; it begins `path`.

    Raises:
        UserError: there is a link.
    """
    step = inside
    for part in path.relative_to(inside).parts:
        step = step / part
        if step.is_symlink():
            raise UserError(f"'{step}' is a link, and nothing is written through it")
    return path


@contextmanager
def writable(path: Path) -> Iterator[None]:
    """Turn a failing write to `path` into one sentence for the user."""
    try:
        yield
    except OSError as error:
        raise UserError(f"cannot write '{path}': {error.strerror or error}") from error


def sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
