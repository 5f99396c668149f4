"""A disk that fails: the n-th operation on a file of a folder, or files too large."""

import errno
import os
import resource
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from scripts.soak.phases import Tell, operation


FAILING = ("open", "os.rename", "os.mkdir", "os.link", "fsync", "write")
"""What a full or a failing disk refuses."""


class Disk:
    """Stands between this process and the files of a folder, for good.

    Args:
        below: the folder.
        fail_at: the operation that fails, from 1; 0: none does, each is told.
        code: the error, of `errno`.
        tell: takes the name of each operation, or of the one that fails.
    """

    def __init__(self, below: Path, fail_at: int, code: int, tell: Tell) -> None:
        self.below, self.fail_at, self.code, self.tell = str(below), fail_at, code, tell
        self.seen, self.inside = 0, False
        self.patch()
        sys.addaudithook(self.hook)

    def patch(self) -> None:
        """Replace the functions that audit hooks do not see."""
        fsync, write, write_bytes = os.fsync, os.write, Path.write_bytes

        def failing_fsync(descriptor: int) -> None:
            if self.is_ours(descriptor):
                self.meet("fsync")
            fsync(descriptor)

        def short_write(descriptor: int, content: bytes) -> int:
            if self.is_ours(descriptor) and self.is_next("write"):
                return write(descriptor, content[: len(content) // 2])
            return write(descriptor, content)

        def half(path: Path, content: bytes) -> int:
            if str(path).startswith(self.below) and self.is_next("write"):
                with self.unseen():
                    write_bytes(path, content[: len(content) // 2])
                raise self.error(path)
            return write_bytes(path, content)

        patched: dict[Any, dict[str, Callable[..., Any]]] = {
            os: {"fsync": failing_fsync, "write": short_write},
            Path: {"write_bytes": half},
        }
        for owner, functions in patched.items():
            for name, function in functions.items():
                setattr(owner, name, function)

    def hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Called by Python before it does something."""
        name = None if self.inside else operation(event, arguments, self.below)
        if name in FAILING:
            self.meet(name, arguments[0])

    def meet(self, name: str, path: Any = None) -> None:
        """Count an operation; raise if it is the one that fails."""
        if self.is_next(name):
            raise self.error(path)

    def is_next(self, name: str) -> bool:
        """Whether an operation is the one that fails."""
        self.seen += 1
        fails = self.seen == self.fail_at
        if fails or not self.fail_at:
            self.tell(name)
        return fails

    def error(self, path: Any = None) -> OSError:
        """What the operating system raises."""
        return OSError(self.code, os.strerror(self.code), path and str(path))

    @contextmanager
    def unseen(self) -> Iterator[None]:
        """Operations inside are our own."""
        self.inside = True
        try:
            yield
        finally:
            self.inside = False

    def is_ours(self, descriptor: int) -> bool:
        """Whether an open file lies in the folder; without /proc every one does."""
        try:
            return os.readlink(f"/proc/self/fd/{descriptor}").startswith(self.below)
        except OSError:
            return not Path("/proc/self/fd").exists()


def watch(below: Path, tell: Tell) -> None:
    """Tell all operations on the files of a folder."""
    Disk(below, 0, 0, tell)


def fail(below: Path, number: int, code: int, tell: Tell) -> None:
    """Let one operation fail."""
    Disk(below, number, code, tell)


def keep_small(size: int, tell: Tell) -> None:
    """No file of this process may grow beyond so many bytes."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
    tell(f"files of {size} bytes")


CODES = (errno.ENOSPC, errno.EIO)
