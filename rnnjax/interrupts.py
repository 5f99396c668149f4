"""SIGINT and SIGTERM: a clean end where there is time for one, an end all the same.

Python runs its handlers in the main thread, and not while that one waits for XLA, which
cannot be cancelled. So a second thread learns of a signal at once, gives the program a
few seconds to save and to close what is open, and ends the process if it does not.
"""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from types import FrameType


GRACE_SECONDS = 4.0
"""Between a signal and the end of a program that does not end by itself."""

LAST_SECONDS = 0.5
"""For closing and a last line, when the process is ended."""

SIGNALS = (signal.SIGINT, signal.SIGTERM)

_noted: list[int] = []
_closers: list[Callable[[], object]] = []
_deferring = 0


def noted() -> bool:
    """Whether the program was asked to end."""
    return bool(_noted)


def status() -> int | None:
    """Exit status of a program that was asked to end, 128 and the signal; else None."""
    return 128 + _noted[0] if _noted else None


@contextmanager
def deferred() -> Iterator[None]:
    """Let signals interrupt nothing inside; who works there looks at `noted`.

    Without `watched` around it, as in a program of the user's, nothing is deferred.
    """
    global _deferring
    _deferring += 1
    try:
        yield
    finally:
        _deferring -= 1


@contextmanager
def closing(close: Callable[[], object]) -> Iterator[None]:
    """Call `close` if the process has to be ended inside. It may run in any thread."""
    _closers.append(close)
    try:
        yield
    finally:
        _closers.remove(close)


@contextmanager
def watched(signals: Sequence[signal.Signals] = SIGNALS) -> Iterator[None]:
    """Handle signals inside, for a program that owns its process.

    The first raises KeyboardInterrupt, unless it is `deferred`; a second one, or
    `GRACE_SECONDS` without an end, ends the process.
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
    """A handler of signals that interrupts nothing: from now on `noted` says so."""
    _noted.append(number)


def _handle(number: int, frame: FrameType | None) -> None:
    first = not _noted
    note(number, frame)
    if first and not _deferring:
        raise KeyboardInterrupt


def _watch(reader: int, over: threading.Event) -> None:
    """Wait for a signal, then for the end."""
    number = _next(reader)
    if number is None:
        return
    ender = threading.Timer(GRACE_SECONDS, _end, (number, over))
    ender.daemon = True
    ender.start()
    if _next(reader) is not None:
        _end(number, over)


def _next(reader: int) -> int | None:
    """The next of `SIGNALS` that arrives; None: nobody writes any more."""
    while content := os.read(reader, 1):
        if content[0] in SIGNALS:
            return content[0]
    return None


def _end(number: int, over: threading.Event) -> None:
    if over.is_set():
        return
    # A disk that hangs, or a pipe that nobody reads, must not keep the process.
    last = threading.Thread(target=_last_words, daemon=True)
    last.start()
    last.join(LAST_SECONDS)
    os._exit(128 + number)


def _last_words() -> None:
    for close in reversed(_closers):
        with suppress(Exception):  # the process ends whatever happens
            close()
    text = "rnnjax: ended; what was sealed or saved is kept\n"
    os.write(sys.__stderr__.fileno() if sys.__stderr__ else 2, text.encode())
