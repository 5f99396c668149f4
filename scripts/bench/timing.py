"""Time several functions in turns, so that a slow minute is slow for all of them."""

import dataclasses
import math
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax


SAMPLE, PAUSE = 0.03, 0.02
"""Seconds that a sample takes at least, and of quiet in front of it.

A short function is called several times in a row, so that all are timed as they run in
a loop of training, with warm caches. The pause is for the threads of another library,
which spin for a while before they sleep.
"""


@dataclasses.dataclass(frozen=True)
class Timing:
    """Seconds of one call: median over samples, and the quartiles as its spread."""

    median: float
    low: float
    high: float
    samples: int

    @property
    def spread(self) -> float:
        """Half the distance of the quartiles, as a share of the median."""
        return (self.high - self.low) / (2 * self.median)


def interleaved(
    functions: Mapping[str, Callable[[], Any]],
    seconds: float,
    most: int = 30,
    least: int = 5,
) -> dict[str, Timing]:
    """Call all functions in turns for about `seconds`, and `least` rounds at least.

    Each is called twice before, to compile and to see how long it takes. Results are
    waited for.
    """
    calls = {name: _calls(function) for name, function in functions.items()}
    rounds: dict[str, list[float]] = {name: [] for name in functions}
    began = time.perf_counter()
    for done in range(most):
        if done >= least and time.perf_counter() - began > seconds:
            break
        for name, function in functions.items():
            time.sleep(PAUSE)
            rounds[name].append(_sample(function, calls[name]))
    return {name: _timing(values) for name, values in rounds.items()}


def _calls(function: Callable[[], Any]) -> int:
    jax.block_until_ready(function())
    return max(1, min(50, math.ceil(SAMPLE / _sample(function, 1))))


def _sample(function: Callable[[], Any], calls: int) -> float:
    """Seconds of one call, of several in a row."""
    start = time.perf_counter()
    for _ in range(calls):
        jax.block_until_ready(function())
    return (time.perf_counter() - start) / calls


def _timing(values: list[float]) -> Timing:
    low, median, high = statistics.quantiles(values, n=4, method="inclusive")
    return Timing(median, low, high, len(values))
