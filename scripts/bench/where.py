"""Where the seconds of one command go: `python -m scripts.bench.where FILE WORD …`.

A thread looks every few milliseconds at what the main thread does, or, while that one
waits for another thread, at what the first busy thread does. Each look counts for the
part of the innermost call that belongs to one (see `LIBRARIES`). The result is JSON:
seconds by part.
"""

import json
import os
import sys
import threading
import time
from collections import defaultdict
from pathlib import Path
from types import FrameType
from typing import NoReturn


EVERY = 0.005
"""Seconds between looks."""

LIBRARIES = {
    "importlib._bootstrap": "imports",
    "jax._src.compiler": "compile",
    "jax._src.interpreters.mlir": "lower",
    "jax._src.stages": "lower",
    "jax._src.interpreters.partial_eval": "trace",
    "matplotlib": "figures",
}
OURS = {
    "rnnjax.executables": "load",
    "rnnjax.analysis": "analysis",
    "rnnjax.report": "report",
    "rnnjax.store": "store",
    "rnnjax.sweeps.sealing": "store",
    "rnnjax.sweeps.compose": "compose",
    "rnnjax.sweeps.hydra_session": "compose",
    "rnnjax.training": "train",
}
"""What a function is part of, by its module or the package around that. A library that
works for us counts first: our functions are called while JAX traces them. ``load``
finds and loads kept programs; ``train`` are data, parameters and updates."""

REST = "rest"

ORDER = (*dict.fromkeys([*LIBRARIES.values(), *OURS.values()]), REST)


class Watch(threading.Thread):
    """Looks at the other threads until it is told to end."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.main = threading.main_thread().ident
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.ended = threading.Event()

    def run(self) -> None:
        """Look, and count the time since the last look."""
        last = time.perf_counter()
        while not self.ended.wait(EVERY):
            part = self._part()
            now = time.perf_counter()
            self.seconds[part] += now - last
            last = now

    def _part(self) -> str:
        frames = sys._current_frames()
        here = frames.pop(self.main or 0, None)
        frames.pop(self.ident or 0, None)
        if here is None or not _waits(here):
            return _part_of(here)
        busy = [frame for frame in frames.values() if not _waits(frame)]
        found = [part for part in map(_part_of, busy) if part != REST]
        return found[0] if found else _part_of(here)


def _waits(frame: FrameType) -> bool:
    """Whether a thread waits for another one, or for work."""
    module = frame.f_globals.get("__name__", "")
    named = frame.f_code.co_name in ("wait", "_worker", "result", "accept", "select")
    return module in ("threading", "concurrent.futures.thread") or named


def _part_of(frame: FrameType | None) -> str:
    ours = REST
    while frame is not None:
        name = str(frame.f_globals.get("__name__", ""))
        while name:
            if name in LIBRARIES:
                return LIBRARIES[name]
            if ours == REST:
                ours = OURS.get(name, REST)
            name = name.rpartition(".")[0]
        frame = frame.f_back
    return ours


def main() -> NoReturn:
    """Run the command under the watch, and write what was seen."""
    file, words = Path(sys.argv[1]), sys.argv[2:]
    watch = Watch()
    watch.start()
    sys.argv = ["rnnjax", *words]
    from rnnjax.cli.main import program

    status = program()
    watch.ended.set()
    watch.join()
    file.write_text(json.dumps(watch.seconds))
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(status)  # as the command does


if __name__ == "__main__":
    main()
