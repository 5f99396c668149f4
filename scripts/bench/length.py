"""What long sequences cost: time against T, and memory with and without chunks.

Time: one training step (`scripts.bench.steps`), and the slope of log time over log T
from T = 1 000 on; 1 is linear. Memory: one update of training on the adding problem in
a process of its own, by XLA's account and by the peak of that process.
"""

import concurrent.futures
import math
import multiprocessing
import resource
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from scripts.bench.steps import ours
from scripts.bench.timing import interleaved


LENGTHS = (100, 300, 1000, 3000, 10_000)
CELLS = ("elman", "gru", "lstm")
BATCH, HIDDEN = 8, 64
MEMORY = {"length": 10_000, "hidden": 128, "batch": 32}


def rows(seconds: float, only: str = "") -> Iterator[dict[str, Any]]:
    """One row a cell, as `lstm`: µs a step of time at each T, and the slope."""
    for cell in CELLS:
        if only in cell:
            steps = {str(T): ours(cell, (BATCH, T, HIDDEN), 1) for T in LENGTHS}
            timed = interleaved(steps, seconds)
            whole = [timed[str(T)].median for T in LENGTHS]
            late = LENGTHS.index(1000)
            logs = np.log(LENGTHS[late:]), np.log(whole[late:])
            yield {
                "cell ": f"{cell:5}",
                **{
                    f"µs/step T={T}": 1e6 * t / T
                    for T, t in zip(LENGTHS, whole, strict=True)
                },
                "slope from T=1000": float(np.polyfit(*logs, 1)[0]),
            }


def draw(rows: list[dict[str, Any]], folder: Path) -> Path:
    """Seconds of a training step against T."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 3.6), layout="constrained")
    axes = figure.add_subplot()
    for row in rows:
        taken = [1e-3 * T * row[f"µs/step T={T}"] for T in LENGTHS]
        label = f"{row['cell '].strip()}, slope {row['slope from T=1000']:.2f}"
        axes.loglog(LENGTHS, taken, "o-", markersize=3, label=label)
    axes.set_xlabel("steps of time T")
    axes.set_ylabel("ms a training step")
    axes.set_title(f"batch {BATCH}, {HIDDEN} units", fontsize=10)
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    file = folder / "length.png"
    figure.savefig(file, dpi=150)
    return file


def memory_rows(seconds: float, only: str = "") -> Iterator[dict[str, Any]]:
    """One row for each cell and chunk, as `lstm-sqrt`."""
    del seconds
    for cell in CELLS:
        for chunk in ("null", "sqrt"):
            if only in f"{cell}-{chunk}":
                with concurrent.futures.ProcessPoolExecutor(
                    1, multiprocessing.get_context("spawn")
                ) as alone:
                    found = alone.submit(_memory, cell, chunk).result()
                yield {"cell ": f"{cell:5}", "chunk": chunk} | MEMORY | found


def _memory(cell: str, chunk: str) -> dict[str, float]:
    """Megabytes and seconds of one update; runs in a process of its own."""
    import jax
    import jax.numpy as jnp

    from rnnjax.sweeps.compose import compose
    from rnnjax.training.build import build_hyper, initial_params, signature
    from rnnjax.training.program import Program
    from rnnjax.training.state import Until
    from scripts.bench.probes import temporaries

    config = compose(
        f"cell={cell}",
        "task=adding",
        f"task.length={MEMORY['length']}",
        f"model.hidden={MEMORY['hidden']}",
        f"batch={MEMORY['batch']}",
        f"model.remat={chunk}",
        "probe=off",
    ).config
    program, hyper = Program(signature(config)), build_hyper(config)
    state = program.start(initial_params(config), hyper)

    def until(stop: int) -> Until:
        return Until(
            jnp.asarray(stop, jnp.int32), jnp.asarray(True), jnp.asarray(-1, jnp.int32)
        )

    began = _peak()
    chunked = jax.jit(program.chunk).lower(state, hyper, until(1), {}).compile()
    state = jax.block_until_ready(chunked(state, hyper, until(1), {}))
    start = time.perf_counter()
    state = jax.block_until_ready(chunked(state, hyper, until(2), {}))
    took = time.perf_counter() - start
    loss = float(state.meter.loss)
    if not (int(state.step) == 2 and math.isfinite(loss)):
        raise RuntimeError(f"the update of {cell} went wrong: loss {loss}")
    return {
        "XLA temporaries MB": temporaries(chunked) / 1e6,
        "peak of the process MB": _peak(),
        "of it before MB": began,
        "s an update": took,
    }


def _peak() -> float:
    """Largest resident size of this process so far, MB (Linux counts in KiB)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
