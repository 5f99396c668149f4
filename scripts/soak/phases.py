"""Where a launch is: it tells each time that it begins something, or stops itself."""

import functools
import importlib
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any


PLACES = {
    "composing": "rnnjax.sweeps.compose:plan",
    "compiling": "rnnjax.training.loop:PackTraining.warm",
    "beginning": "rnnjax.sweeps.pack_run:begin_run",
    "updates": "rnnjax.training.compiled:Compiled.chunk",
    "probing": "rnnjax.training.compiled:Compiled.probe",
    "saving": "rnnjax.store.checkpoint:PackCheckpoint.save",
    "closing": "rnnjax.sweeps.sealing:finish_run",
    "settling": "rnnjax.store.writing:_settle",
    "indexing": "rnnjax.store.pool:append_row",
    "clearing": "rnnjax.store.checkpoint:PackCheckpoint.clear",
    "reporting": "rnnjax.report:build",
}
"""The function that each phase begins with."""

Tell = Callable[[Any], None]


def announce(tell: Tell) -> None:
    """Tell the name of each phase whenever it begins."""
    for phase, place in PLACES.items():
        module, _, path = place.partition(":")
        *outer, name = path.split(".")
        owner: Any = importlib.import_module(module)
        for one in outer:
            owner = getattr(owner, one)
        setattr(owner, name, _announced(getattr(owner, name), phase, tell))


def dies_in(phase: str, count: int, tell: Tell) -> None:
    """Let this process kill itself when it begins a phase for the n-th time.

    A signal sent by another process may arrive in a later phase.
    """
    left = count

    def counted(begun: Any) -> None:
        nonlocal left
        left -= begun == phase
        tell(begun)
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    announce(counted)


def _announced(
    function: Callable[..., Any], phase: str, tell: Tell
) -> Callable[..., Any]:
    @functools.wraps(function)
    def announced(*arguments: Any, **options: Any) -> Any:
        tell(phase)
        return function(*arguments, **options)

    return announced


WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT

EVENTS = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.utime")
"""Audit events of file operations, whose first argument is a path."""


def operation(event: str, arguments: tuple[Any, ...], below: str) -> str | None:
    """The name of an operation that changes files below a folder; None: it is none."""
    if event == "open":
        path, mode, flags = arguments
        writes = (flags or 0) & WRITES or any(c in str(mode or "") for c in "wax+")
        name = "open" if writes else ""
    elif event in EVENTS:
        path, name = arguments[0], event
    else:
        return None
    if isinstance(path, bytes):
        path = os.fsdecode(path)
    inside = isinstance(path, str | Path) and str(path).startswith(below)
    return name if inside and name else None


def dies_at(number: int, below: Path, tell: Tell) -> None:
    """Let this process kill itself before its n-th operation on files of a folder."""
    seen = 0

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal seen
        if operation(event, arguments, str(below)):
            seen += 1
            if seen == number:
                tell("files")
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)
    tell("armed")
