"""Numbers with confidence intervals from few runs, for the claims of figures.

The statistical unit of every interval is the run (or the trial, or the network), never
the example.
"""

import dataclasses
import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from rnnjax.store.aggregate import student


LEVEL = 0.95
"""Confidence level of every interval here."""


@dataclasses.dataclass(frozen=True)
class Estimate:
    """A number with its 95 % interval.

    Attributes:
        value: the number.
        low, high: ends of its interval; infinite if there are too few runs for one.
        runs: number of runs it is based on; 0: not based on runs.
    """

    value: float
    low: float
    high: float
    runs: int = 0

    def contradicts(self, low: float, high: float) -> str:
        """The smallest deviation that would have contradicted the bounds, in words.

        This is the value at which an interval as wide as this one would lie entirely
        beyond a bound. "nothing": there are too few runs to contradict anything.
        """
        parts = []
        if math.isfinite(low) and math.isfinite(edge := low - (self.high - self.value)):
            parts.append(f"< {_short(edge)}")
        if math.isfinite(high) and math.isfinite(edge := high + self.value - self.low):
            parts.append(f"> {_short(edge)}")
        return " or ".join(parts) or "nothing"


@dataclasses.dataclass(frozen=True)
class Share(Estimate):
    """A share of runs, with Wilson's interval."""

    def contradicts(self, low: float, high: float) -> str:
        """See `Estimate.contradicts`; considers all possible numbers of hits."""
        if not self.runs:
            return "nothing"
        ends = [_wilson(hits, self.runs) for hits in range(self.runs + 1)]
        below = [hits for hits, (_, top) in enumerate(ends) if top < low]
        above = [hits for hits, (bottom, _) in enumerate(ends) if bottom > high]
        parts = [f"at most {below[-1]} of {self.runs}"] if below else []
        parts += [f"at least {above[0]} of {self.runs}"] if above else []
        return " or ".join(parts) or "nothing"


@dataclasses.dataclass(frozen=True)
class Median(Estimate):
    """A median, with two order statistics as its interval.

    Attributes:
        needed: how many of the runs have to lie beyond a bound for the whole interval
            to lie beyond it; 0: not even all of them are enough.
    """

    needed: int = 0

    def contradicts(self, low: float, high: float) -> str:
        """See `Estimate.contradicts`; it depends on how many runs, not on how far."""
        if not self.needed:
            return "nothing"
        ends = [f"below {_short(low)}"] if math.isfinite(low) else []
        ends += [f"above {_short(high)}"] if math.isfinite(high) else []
        return f"{self.needed} of {self.runs} {' or '.join(ends)}"


def share(hits: ArrayLike) -> Share:
    """Share of true entries, with Wilson's interval.

    >>> three = share([True, True, True])
    >>> three.value, round(three.low, 2), three.contradicts(0.6, 1.0)
    (1.0, 0.44, 'at most 0 of 3')
    """
    found = np.asarray(hits, bool).ravel()
    if not found.size:
        return Share(math.nan, math.nan, math.nan)
    count = int(found.sum())
    return Share(count / found.size, *_wilson(count, found.size), found.size)


def difference(first: ArrayLike, second: ArrayLike) -> Estimate:
    """Difference of two shares with Newcombe's (1998) interval, based on Wilson's.

    >>> more = difference([True] * 5 + [False], [False] * 6)
    >>> round(more.value, 2), more.low > 0
    (0.83, True)
    """
    a, b = share(first), share(second)
    value = a.value - b.value
    low = value - math.hypot(a.value - a.low, b.high - b.value)
    high = value + math.hypot(a.high - a.value, b.value - b.low)
    return Estimate(value, low, high, a.runs + b.runs)


def median(values: ArrayLike) -> Median:
    """Median with a distribution-free interval between two order statistics.

    An interval of 95 % needs at least six values, for which it is the range from the
    smallest to the largest, with a coverage of 1 − 2·2⁻⁶ = 97 %. With fewer values it
    is infinite.

    >>> six = median([1, 2, 3, 4, 5, 60])
    >>> six.high, six.contradicts(low=-1, high=math.inf), median([1, 2, 3]).high
    (60.0, '6 of 6 below −1', inf)
    """
    found = np.sort(np.asarray(values, np.float64).ravel())
    n = found.size
    if not n or np.isnan(found).any():
        return Median(math.nan, math.nan, math.nan, n)
    beyond = np.arange(n // 2)
    outside: Any = stats.binom.cdf(beyond, n, 0.5)
    cut = int((2 * outside <= 1 - LEVEL).sum())
    low, high = (found[cut - 1], found[n - cut]) if cut else (-math.inf, math.inf)
    needed = n - cut + 1 if cut else 0
    return Median(float(np.median(found)), float(low), float(high), n, needed)


def mean(values: ArrayLike) -> Estimate:
    """Mean with Student's t interval; infinite for a single value."""
    found = np.asarray(values, np.float64).ravel()
    n = found.size
    if not n or np.isnan(found).any():
        return Estimate(math.nan, math.nan, math.nan, n)
    centre = float(found.mean())
    if n < 2:
        return Estimate(centre, -math.inf, math.inf, n)
    spread = np.array([found.std(ddof=1)])
    low, high = student(np.array([centre]), spread, np.array([n]), LEVEL)
    return Estimate(centre, float(low[0]), float(high[0]), n)


def _wilson(hits: int, runs: int) -> tuple[float, float]:
    found = stats.binomtest(hits, runs).proportion_ci(LEVEL, method="wilson")
    return float(found.low), float(found.high)


def _short(number: float) -> str:
    return f"{number:.4g}".replace("-", "−")
