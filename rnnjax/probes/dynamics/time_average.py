"""The mean of an autocorrelated series and its standard error (on the host)."""

import dataclasses

import numpy as np
from jaxtyping import Float


TIMES = 5
"""Least number of autocorrelation times in a block."""

FEWEST = 8
"""Least number of blocks for which a standard error is given."""


@dataclasses.dataclass(frozen=True)
class TimeAverage:
    """The mean over several chains of a stationary series.

    Attributes:
        mean: mean over all steps of all chains.
        error: its standard error, from the means of blocks of steps; NaN with fewer
            than `FEWEST` blocks.
        block: length of a block in steps, at least `TIMES` autocorrelation times.
        correlation: integrated autocorrelation time, in steps; 1 for white noise.
    """

    mean: float
    error: float
    block: int
    correlation: float


def time_average(series: Float[np.ndarray, "T chains"]) -> TimeAverage:
    """Mean and error of a stationary series, by batch means.

    Blocks of at least five autocorrelation times are nearly independent, so the scatter
    of their means gives the error of the overall mean. Source: Geyer (1992), "Practical
    Markov chain Monte Carlo", Statistical Science 7, for both the autocorrelation time
    (his initial positive sequence) and the batch means.

    >>> time_average(np.tile([[1.0], [-1.0]], (50, 1))).mean
    0.0
    """
    values = np.asarray(series, np.float64)
    length, chains = values.shape
    if not np.all(np.isfinite(values)):
        lost = np.any(np.isneginf(values)) and not np.any(np.isnan(values))
        mean = float("-inf") if lost else float("nan")
        return TimeAverage(mean, 0.0 if lost else float("nan"), 0, float("nan"))
    correlation = autocorrelation_time(values)
    block = max(1, int(np.ceil(TIMES * correlation)))
    number = length // block
    mean = float(np.mean(values))
    if number * chains < FEWEST:
        return TimeAverage(mean, float("nan"), block, correlation)
    # make the blocks as long as possible while keeping a few dozen of them
    number = min(number, max(1, -(-48 // chains)))
    block = length // number
    means = values[: number * block].reshape(number, block, chains).mean(axis=1)
    error = float(np.std(means, ddof=1) / np.sqrt(means.size))
    return TimeAverage(mean, error, block, correlation)


def autocorrelation_time(series: Float[np.ndarray, "T chains"]) -> float:
    """1 + 2 Σ ρ_k, truncated where the sum of two neighbours is no longer positive.

    At least 1: an alternating (negatively correlated) series is treated as white noise.
    """
    values = np.asarray(series, np.float64)
    length = len(values)
    centred = values - values.mean()
    power = np.abs(np.fft.rfft(centred, 2 * length, axis=0)) ** 2
    covariance = np.fft.irfft(power, axis=0)[:length].mean(axis=1)
    if not covariance[0] > 0:
        return 1.0
    rho = covariance / covariance[0]
    pairs = rho[: length // 2 * 2].reshape(-1, 2).sum(axis=1)
    ends = np.flatnonzero(pairs <= 0)
    last = int(ends[0]) if ends.size else len(pairs)
    return max(1.0, float(2 * np.sum(pairs[:last]) - 1))
