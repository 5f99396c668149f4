"""Engines that work on all steps at once, over the scan: one training step each.

`associative` on the LRU, `newton` on an Elman network small enough for it; with the
iterations that Newton needs. Above 1 the loop is the better way on this machine.
"""

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp

from rnnjax.cells import CELLS
from rnnjax.recurrence.functional import make_weights
from rnnjax.recurrence.masking import make_drive
from rnnjax.recurrence.newton import Newton
from scripts.bench.steps import Size, example, ours
from scripts.bench.timing import interleaved


CASES: list[tuple[str, str, Size]] = [
    *[("associative", "lru", (32, T, 64)) for T in (100, 1000, 10_000)],
    *[("associative", "lru", (1, T, 4)) for T in (100, 1000, 10_000, 100_000)],
    *[("newton", "elman", (1, T, 4)) for T in (100, 1000, 10_000)],
    *[("newton", "elman", (8, T, 16)) for T in (100, 1000)],
]


def rows(seconds: float, only: str = "") -> Iterator[dict[str, Any]]:
    """One row a case whose name, as `newton-1,100,4`, contains `only`."""
    for engine, cell, size in CASES:
        title = ",".join(map(str, size))
        if only not in f"{engine}-{title}":
            continue
        steps = {name: ours(cell, size, 1, engine=name) for name in ("scan", engine)}
        timed = interleaved(steps, seconds / 2)
        scan, other = (timed[name] for name in ("scan", engine))
        told = newton_iterations(cell, size) if engine == "newton" else None
        yield {
            f"{'engine':11}": f"{engine:11}",
            "cell ": f"{cell:5}",
            f"{'B,T,n':11}": f"{title:11}",
            "scan ms": 1e3 * scan.median,
            "/ scan": other.median / scan.median,
            "± %": 100 * other.spread,
            "iterations": told,
        }


def newton_iterations(cell: str, size: Size) -> str:
    """How many corrections the first forward pass needs, and whether it converges."""
    n, (x, _) = size[-1], example(size)
    module = CELLS[cell](inputs=n, features=n)
    state = module.initial_state((size[0],))
    params = module.init(jax.random.key(0), state, jnp.asarray(x[0]))["params"]
    static, weights = make_weights(module, params)
    drive = make_drive(static, weights, jnp.asarray(x))
    solve = jax.jit(lambda: Newton().iterate(static, weights, state, drive)[1])
    report = solve()
    return f"{int(report.iterations)}" + ("" if report.converged else " (no)")
