"""SIGINT and SIGTERM: exit cleanly if there is time, but always exit.

Python runs signal handlers in the main thread, which cannot run them while it waits for
XLA, and XLA cannot be cancelled. Therefore a second thread learns of a signal at once.
It gives the program a few seconds to save its state and exit, then ends the process.
"""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from types import FrameType


GRACE_SECONDS = 4.0
"""Time from a signal until a program that has not exited by itself is ended."""

LAST_SECONDS = 0.5
"""Time for cleanup and a last message when the process is ended."""

SIGNALS = (signal.SIGINT, signal.SIGTERM)

_noted: list[int] = []
_closers: list[Callable[[], object]] = []
_deferring = 0


def noted() -> bool:
    """Whether a signal has asked the program to exit."""
    return bool(_noted)


def status() -> int | None:
    """Exit status after a signal, 128 plus its number; None if there was no signal."""
    return 128 + _noted[0] if _noted else None


@contextmanager
def deferred() -> Iterator[None]:
    """Raise no KeyboardInterrupt inside; code in this context must poll `noted`.

    Outside of `watched`, for instance in a user's own program, this has no effect.
    """
    global _deferring
    _deferring += 1
    try:
        yield
    finally:
        _deferring -= 1


@contextmanager
def closing(close: Callable[[], object]) -> Iterator[None]:
    """Call `close` if the process is ended inside. It may run in any thread."""
    _closers.append(close)
    try:
        yield
    finally:
        _closers.remove(close)


@contextmanager
def watched(signals: Sequence[signal.Signals] = SIGNALS) -> Iterator[None]:
    """Handle signals inside, for a program that owns its process.

    The first signal raises KeyboardInterrupt unless it is `deferred`. The process is
    ended at a second signal, or if it has not exited after `GRACE_SECONDS`.
    """
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    over = threading.Event()
    older = {number: signal.signal(number, _handle) for number in signals}
    wakeup = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    watcher = threading.Thread(target=_watch, args=(reader, over), daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        signal.set_wakeup_fd(wakeup)
        for number, handler in older.items():
            signal.signal(number, handler)
        os.close(writer)
        watcher.join()
        os.close(reader)


def note(number: int, frame: FrameType | None) -> None:
    """A signal handler that interrupts nothing; it only makes `noted` return True."""
    _noted.append(number)


def _handle(number: int, frame: FrameType | None) -> None:
    first = not _noted
    note(number, frame)
    if first and not _deferring:
        raise KeyboardInterrupt


def _watch(reader: int, over: threading.Event) -> None:
    """Wait for a signal, then end the process if it does not exit in time."""
    number = _next(reader)
    if number is None:
        return
    ender = threading.Timer(GRACE_SECONDS, _end, (number, over))
    ender.daemon = True
    ender.start()
    if _next(reader) is not None:
        _end(number, over)


def _next(reader: int) -> int | None:
    """The next of `SIGNALS` that arrives; None if the pipe was closed."""
    while content := os.read(reader, 1):
        if content[0] in SIGNALS:
            return content[0]
    return None


def _end(number: int, over: threading.Event) -> None:
    if over.is_set():
        return
    # A hanging disk, or a pipe without a reader, must not keep the process alive.
    last = threading.Thread(target=_last_words, daemon=True)
    last.start()
    last.join(LAST_SECONDS)
    os._exit(128 + number)


def _last_words() -> None:
    for close in reversed(_closers):
        with suppress(Exception):  # the process ends in any case
            close()
    text = "rnnjax: ended; all sealed runs and saved checkpoints are kept\n"
    os.write(sys.__stderr__.fileno() if sys.__stderr__ else 2, text.encode())
