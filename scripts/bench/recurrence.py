"""One training step of one recurrent layer: ours over that of others, and the floor.

A step is forward, backward and Adam (`scripts.bench.steps`). *ours* makes many updates
in one compiled call, as training does, with the batch on one core or parted over two
(`shards`), whichever is better, as PyTorch runs with one and with two threads and the
better counts. *parted* is two cores over one, *call* one update a call over many.
flax is the better of linen and nnx, with many updates a call as well. *floor* is the
step's matrix products alone. Ratios below 1: ours is faster.
"""

from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np

from scripts.bench.steps import LINEN, Size, floor, linen, of_nnx, ours, torch_own
from scripts.bench.timing import interleaved


SIZES = [(20, 100, 50), (64, 200, 128), (32, 784, 100), (128, 50, 256), (1, 1000, 64)]
UPDATES = 8


def rows(seconds: float, only: str = "") -> Iterator[dict[str, Any]]:
    """One row for each cell and size, then the geometric means of each cell.

    Of those whose name, as `lstm-20,100,50`, contains `only`.
    """
    for cell in LINEN:
        found = []
        for size in SIZES:
            if only in f"{cell}-{','.join(map(str, size))}":
                found.append(_row(cell, size, seconds))
                yield found[-1]
        if found:
            yield geometric_means(found)


def geometric_means(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """A row with the geometric means of all ratios (columns with a slash)."""
    means = {
        key: geometric_mean([row[key] for row in rows]) if "/" in key else None
        for key in rows[0]
    }
    return means | {"cell": rows[0]["cell"], "B,T,n": "geometric mean"}


def geometric_mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.exp(np.mean(np.log(known)))) if known else None


def _row(cell: str, size: Size, seconds: float) -> dict[str, Any]:
    functions: dict[str, Callable[[], Any]] = {
        "one": ours(cell, size, UPDATES),
        "call": ours(cell, size, 1),
        "linen": linen(cell, size, UPDATES),
        "nnx": of_nnx(cell, size, UPDATES),
        "floor": floor(cell, size, UPDATES),
        **torch_own(cell, size),
    }
    if devices(size) > 1:
        functions["parted"] = ours(cell, size, UPDATES, devices(size))
    timed = interleaved(functions, seconds)

    def least(*names: str) -> float | None:
        found = [timed[name].median for name in names if name in timed]
        return min(found) if found else None

    def ratio(a: float | None, b: float | None) -> float | None:
        return None if a is None or b is None else a / b

    many = {k: timed[k].median / UPDATES for k in ("one", "linen", "nnx", "floor")}
    parted = timed["parted"].median / UPDATES if "parted" in timed else None
    best = min(many["one"], parted or many["one"])
    which = "parted" if best == parted else "one"
    return {
        "cell": cell,
        "B,T,n": ",".join(map(str, size)),
        "ours ms": 1e3 * best,
        "± %": 100 * timed[which].spread,
        "parted / one": ratio(parted, many["one"]),
        "call / many": timed["call"].median / many["one"],
        "/ torch": ratio(best, least("torch1", "torch2")),
        "/ flax": best / min(many["linen"], many["nnx"]),
        "/ floor": best / many["floor"],
        "torch ms": 1e3 * (least("torch1", "torch2") or 0.0) or None,
        "flax ms": 1e3 * min(many["linen"], many["nnx"]),
    }


def devices(size: Size) -> int:
    """Devices that a batch can be parted over."""
    found = jax.local_device_count()
    return found if size[0] % found == 0 else 1
