"""Processes that a soak starts, watches, stops and kills.

They are forked from a server that has imported everything and started nothing: JAX can
be forked before its back end runs, and a launch costs a second or two instead of ten.
"""

import contextlib
import multiprocessing
import multiprocessing.forkserver
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any


ROOT = Path(__file__).parents[2]

PATIENCE = 300.0
"""Seconds after which a process that does not end counts as one that hangs."""

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["scripts.soak.preload"])
_LOCK = threading.Lock()
"""Of looking whether processes have ended: `start` looks at those of all threads."""


@dataclass(frozen=True)
class Ended:
    """How a process ended.

    Attributes:
        status: its exit status; of one that a signal ended, minus its number.
        text: what it printed.
        told: the messages that nobody had taken.
    """

    status: int
    text: str
    told: list[Any]


class Child:
    """A process that runs a function.

    Args:
        home: a folder of the soak; compiled programs are kept in it.
        do: a function of a module, called with `arguments` and, by keyword, `tell`,
            which sends this side a message. What it returns is the exit status.
        arguments: of `do`.
    """

    def __init__(self, home: Path, do: Callable[..., int | None], *arguments: Any):
        self._messages, messages = _CONTEXT.Pipe(duplex=False)
        self._output, output = _CONTEXT.Pipe(duplex=False)
        self._process = _CONTEXT.Process(
            target=_run, args=(str(home), output, messages, do, arguments)
        )
        with _LOCK, contextlib.chdir(ROOT):
            self._process.start()
        messages.close()
        output.close()

    def told(self, seconds: float = PATIENCE) -> Any:
        """The next message; None once there will be none, or after so many seconds."""
        try:
            return self._messages.recv() if self._messages.poll(seconds) else None
        except EOFError:
            return None

    def _exitcode(self) -> int | None:
        with _LOCK:
            return self._process.exitcode

    def send(self, number: int) -> None:
        """Send it a signal; nothing happens if it has ended."""
        if self._process.pid is not None and self._exitcode() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._process.pid, number)

    def end(self, seconds: float = PATIENCE) -> Ended:
        """Wait for its end.

        Raises:
            TimeoutError: it did not come; the process is killed.
        """
        told: list[Any] = []
        text, deadline = "", time.monotonic() + seconds
        # A full pipe would keep it from ending.
        while self._exitcode() is None and time.monotonic() < deadline:
            wait([self._output, self._process.sentinel], 0.2)
            self._take(told)
            text += _printed(self._output)
            wait([self._process.sentinel], 0.02)
        self._take(told)
        hangs = self._exitcode() is None
        if hangs:
            for number in (signal.SIGCONT, signal.SIGKILL):
                self.send(number)
            wait([self._process.sentinel])
        status = self._exitcode() or 0
        text += _printed(self._output)
        for one in (self._messages, self._output, self._process):
            one.close()
        if hangs:
            raise TimeoutError(f"it did not end within {seconds:.0f} s: {text}")
        return Ended(status, text, told)

    def _take(self, told: list[Any]) -> None:
        """All messages that are there."""
        with contextlib.suppress(EOFError):
            while self._messages.poll():
                told.append(self._messages.recv())


def ask(
    home: Path, do: Callable[..., Any], *arguments: Any, seconds: float = PATIENCE
) -> Any:
    """What a function returns, called in a process of its own.

    Raises:
        RuntimeError: it raised something, or the process died.
        TimeoutError: it did not return within so many seconds.
    """
    ended = Child(home, _answer, do, arguments).end(seconds)
    if ended.status or not ended.told:
        raise RuntimeError(f"status {ended.status}: {ended.text}")
    return ended.told[0]


def _answer(
    do: Callable[..., Any], arguments: tuple[Any, ...], tell: Callable[[Any], None]
) -> None:
    tell(do(*arguments))


def _run(
    home: str,
    output: Connection,
    messages: Connection,
    do: Callable[..., int | None],
    arguments: tuple[Any, ...],
) -> None:
    """The process: its output goes into a pipe, which no limit of a disk concerns."""
    for stream in (1, 2):
        os.dup2(output.fileno(), stream)
    output.close()
    os.environ["XDG_CACHE_HOME"] = home
    os.environ["JAX_NUM_CPU_DEVICES"] = "1"
    import jax

    jax.config.update("jax_compilation_cache_dir", None)
    try:
        sys.exit(do(*arguments, tell=messages.send))
    except Exception:
        traceback.print_exc()
        sys.exit(70)


def _printed(output: Connection) -> str:
    """All that is in the pipe; a grandchild may still hold its other end."""
    os.set_blocking(output.fileno(), False)
    found = b""
    while True:
        try:
            more = os.read(output.fileno(), 1 << 20)
        except BlockingIOError:
            break
        if not more:
            break
        found += more
    return found.decode(errors="replace")
