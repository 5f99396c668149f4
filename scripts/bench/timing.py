"""Time several functions in turns, so that a slow minute is slow for all of them."""

import dataclasses
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax


@dataclasses.dataclass(frozen=True)
class Timing:
    """Seconds of one call: median, and the quartiles as its spread."""

    median: float
    low: float
    high: float
    calls: int


def interleaved(
    functions: Mapping[str, Callable[[], Any]],
    seconds: float,
    most: int = 30,
    least: int = 5,
) -> dict[str, Timing]:
    """Call all functions in turns for about `seconds`, and `least` rounds at least.

    Each is called once before, to compile. Results are waited for.
    """
    rounds: dict[str, list[float]] = {name: [] for name in functions}
    began = None
    while (
        began is None
        or len(rounds[next(iter(rounds))]) < least
        or (
            time.perf_counter() - began < seconds
            and len(rounds[next(iter(rounds))]) < most
        )
    ):
        for name, function in functions.items():
            start = time.perf_counter()
            jax.block_until_ready(function())
            if began is not None:
                rounds[name].append(time.perf_counter() - start)
        began = began or time.perf_counter()
    return {name: _timing(values) for name, values in rounds.items()}


def _timing(values: list[float]) -> Timing:
    low, median, high = statistics.quantiles(values, n=4, method="inclusive")
    return Timing(median, low, high, len(values))
