"""A whole job: 12 runs by `rnnjax train -m`, over a plain PyTorch loop on every core.

3 cells × 4 seeds on the adding problem, T = 100, 3 000 updates each, from the start of
the process to its end: imports, compilation (nothing is in a cache), evaluations, run
directories and report are in our time. PyTorch runs one process a core, one thread
each, with `scripts.bench.torch_loop`; its loops are measured over fewer updates and
scaled to all of them, the start of its processes is not scaled.
"""

import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any


CELLS, SEEDS, UPDATES, MEASURED = ("elman", "gru", "lstm"), (0, 1, 2, 3), 3000, 250
JOB = {"length": 100, "batch": 32, "every": 250, "held_out": 1000}
HIDDEN = 32, 64


def rows(
    seconds: float, only: str = "", sizes: Sequence[int] = HIDDEN
) -> Iterator[dict[str, Any]]:
    """One row for each size of the networks, as `32`."""
    del seconds
    for hidden in sizes:
        if only in str(hidden):
            torch = _torch(hidden)
            whole = _ours(hidden)
            yield {
                "runs": len(CELLS) * len(SEEDS),
                "hidden": hidden,
                "rnnjax s": whole,
                "PyTorch s (scaled)": torch,
                "measured updates": MEASURED,
                "/ PyTorch": whole / torch,
            }


def _ours(hidden: int) -> float:
    """Wall seconds of the command, with an empty cache of compiled programs."""
    with tempfile.TemporaryDirectory() as folder:
        words = [
            *("train", "-m", f"cell={','.join(CELLS)}", "task=adding", "probe=off"),
            f"seed={','.join(map(str, SEEDS))}",
            *(f"task.length={JOB['length']}", f"batch={JOB['batch']}"),
            *(f"eval.every={JOB['every']}", f"eval.size={JOB['held_out']}"),
            *(f"model.hidden={hidden}", f"steps={UPDATES}", f"out={folder}/runs"),
        ]
        apart = os.environ | {"XDG_CACHE_HOME": f"{folder}/cache"}
        began = time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "rnnjax", *words],
            check=True,
            env=apart,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        return time.perf_counter() - began


def _torch(hidden: int) -> float:
    """Wall seconds of PyTorch, its loops scaled to all updates."""
    runs = list(itertools.product(CELLS, SEEDS))
    processes = os.cpu_count() or 1
    shares = [runs[i::processes] for i in range(processes)]
    began = time.perf_counter()
    workers = [_worker(share, hidden) for share in shares if share]
    walls = []
    for worker in workers:
        out, _ = worker.communicate()
        if worker.returncode:
            raise RuntimeError("the PyTorch loop failed")
        loops = sum(json.loads(out))
        rest = time.perf_counter() - began - loops
        walls.append(rest + loops * UPDATES / MEASURED)
    return max(walls)


def _worker(share: list[tuple[str, int]], hidden: int) -> subprocess.Popen[str]:
    job = JOB | {"hidden": hidden, "updates": MEASURED, "runs": share}
    script = Path(__file__).with_name("torch_loop.py")
    return subprocess.Popen(
        [sys.executable, str(script), json.dumps(job)],
        stdout=subprocess.PIPE,
        text=True,
    )
