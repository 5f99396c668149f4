"""How fast an adjoint decays with lag, by which law, and how far the memory reaches.

Computed on the host for one curve over lag: that of one example, or the mean over
examples of the norm relative to its value near the loss
(`rnnjax.probes.adjoints.relative`).

The logarithm y_l of the norm at lag l is close to a random walk around its trend,
because each step multiplies the norm by a factor of its own. Its values are therefore
far from independent, and a straight line through them has a high R² whatever the law.
The fit is to the steps of the curve instead:

    d_l = y_{l+1} − y_l = a + b log10((l+1)/l),      that is  ‖λ_l‖ ∝ l^b 10^{al}.

An exponential has b = 0, a power law a = 0.
"""

import dataclasses
from typing import Literal

import numpy as np
import scipy
from jaxtyping import Float

from rnnjax.probes.adjoints.relative import reference_lag


HORIZON_RATIO = 1e-3
"""The fraction of an adjoint that is left at the memory horizon."""

LEVEL = 0.95
"""Confidence of the intervals that decide a law."""

NO_CHANGE = 0.1
"""A curve that changes by fewer powers of ten over all its lags does not decay."""

ROUNDING = 1e-6
"""A change of this many powers of ten over all lags may be a rounding error."""

LAGS_OF_A_POWER = 9.0
"""Smallest ratio of last to first fitted lag at which a power of the lag is reported.

Over less than about a decade of lags a power law and a mixture look alike, whatever the
intervals say: with 16 lags half of the mixtures would be classified as power laws."""

Law = Literal["exponential", "power law", "mixture", "none", "undecided"]


@dataclasses.dataclass(frozen=True)
class Interval:
    """A number with its confidence interval.

    Attributes:
        mean: the estimate; over several seeds, their mean.
        low, high: ends of the interval; NaN where there is none.
        seeds: number of finite values it is based on.
    """

    mean: float
    low: float
    high: float
    seeds: int

    def holds(self, value: float) -> bool:
        """Whether it contains a value; True where there is no interval."""
        return not (value < self.low or value > self.high)


@dataclasses.dataclass(frozen=True)
class Decay:
    """The decay of one curve with lag.

    Attributes:
        slope: mean step after the transient, in powers of ten per step of lag;
            negative: vanishing, positive: exploding. NaN if no two neighbouring lags
            were measured.
        rate, power: intervals of a and b, from the scatter of the steps and the
            correlation of neighbouring ones; NaN with fewer than four steps.
        law: see `law_of`.
        horizon: memory horizon, see `horizon`; inf: longer than was measured.
        stays_below: first lag after which the curve stays below the threshold of the
            horizon; greater than `horizon` where the curve rises above it again.
        zeros: number of lags at which the adjoint is exactly zero; these are not
            fitted.
        span: first and last lag of the fit.
    """

    slope: float
    rate: Interval
    power: Interval
    law: Law
    horizon: float
    stays_below: float
    zeros: int
    span: tuple[int, int]


def transient_of(lags: int) -> int:
    """Number of first lags that a fit leaves out: 5, or a third of a shorter curve.

    >>> transient_of(100), transient_of(4), transient_of(2)
    (5, 1, 0)
    """
    return min(5, max(0, (lags - 1) // 3))


def decay(
    log10_ratio: Float[np.ndarray, "lags"], transient: int | None = None
) -> Decay:
    """Fit the steps of a curve from lag `transient` on, and find its horizon.

    Args:
        log10_ratio: entry l is log10 of the norm at lag l; it has to be relative to the
            norm near the loss for the horizon to be meaningful. −inf for an exact zero,
            NaN where nothing was measured.
        transient: number of first lags left out of the fit; None: chosen by
            `transient_of` from the number of measured lags.

    >>> fit = decay(-0.5 * np.arange(40.0))
    >>> fit.slope, fit.law, fit.horizon
    (-0.5, 'exponential', 7.0)
    >>> decay(-2 * np.log10(np.maximum(np.arange(60.0), 1))).law
    'power law'
    """
    curve = np.asarray(log10_ratio, np.float64)
    with np.errstate(invalid="ignore"):  # from one exact zero to the next
        steps = curve[1:] - curve[:-1]
    lags = np.arange(steps.size)
    if transient is None:
        measured = np.flatnonzero(~np.isnan(curve))
        transient = transient_of(int(measured[-1]) + 1 if measured.size else 0)
    used = np.isfinite(steps) & (lags >= transient)
    lags, steps = lags[used], steps[used]
    rate, power = _fit(lags, steps)
    span = (int(lags[0]), int(lags[-1]) + 1) if lags.size else (0, 0)
    return Decay(
        slope=float(np.mean(steps)) if steps.size else float("nan"),
        rate=rate,
        power=power,
        law=law_of(rate, power, span),
        horizon=horizon(curve),
        stays_below=_stays_below(curve),
        zeros=int(np.sum(np.isneginf(curve))),
        span=span,
    )


def law_of(rate: Interval, power: Interval, span: tuple[int, int]) -> Law:
    """The decay law that is compatible with the intervals of a and b.

    - `exponential`: the interval of b contains 0, that of a does not;
    - `power law`: the reverse; in addition a must be known to be small, its effect over
      the lags less than half of that of b;
    - `mixture`: neither interval contains 0;
    - `none`: the intervals exclude a change by `NO_CHANGE` or more over the span;
    - `undecided`: anything else, including all curves that are too short.

    A power law or a mixture also needs lags that span a factor of `LAGS_OF_A_POWER`.

    A Gaussian recurrent matrix gives a mixture: its eigenvalues fill a disc, which
    results in a factor l^(−1/2) in front of the exponential.
    """
    if not np.isfinite([rate.low, rate.high, power.low, power.high]).all():
        return "undecided"
    first, last = max(span[0], 1), span[1]
    reach = last - first, np.log10(last / first)
    ends = [
        max(abs(part.low), abs(part.high)) * length
        for part, length in zip((rate, power), reach, strict=True)
    ]
    if sum(ends) < NO_CHANGE:
        return "none"
    acts = [
        not part.holds(0.0) and abs(part.mean) * length > ROUNDING
        for part, length in zip((rate, power), reach, strict=True)
    ]
    laws: dict[tuple[bool, ...], Law] = {
        (True, False): "exponential",
        (False, True): "power law",
        (True, True): "mixture",
    }
    if acts[1] and last / first < LAGS_OF_A_POWER:
        return "undecided"
    # an interval of a that contains 0 does not prove that a is 0
    if acts == [False, True] and ends[0] > 0.5 * abs(power.mean) * reach[1]:
        return "undecided"
    return laws.get(tuple(acts), "undecided")


def law_over_seeds(
    rates: Float[np.ndarray, "seeds"],
    powers: Float[np.ndarray, "seeds"],
    span: tuple[int, int],
) -> Law:
    """The law of several networks from their a and b, with errors taken over seeds."""
    return law_of(over_seeds(rates), over_seeds(powers), span)


def horizon(log10_ratio: Float[np.ndarray, "lags"]) -> float:
    """The first lag at which less than 10⁻³ of the adjoint is left.

    inf if no measured lag is below that, NaN if none was measured. Lags before the
    largest entry near the loss are skipped, because some state arrays receive their
    first gradient one step away from the loss.

    >>> horizon(np.array([0.0, -2.0, -4.0, -1.0])), horizon(np.array([0.0, -1.0]))
    (2.0, inf)
    """
    measured = ~np.isnan(log10_ratio)
    if not measured.any() or np.isposinf(log10_ratio).any():
        return float("nan")
    start = reference_lag(log10_ratio)
    below = start + np.flatnonzero(log10_ratio[start:] < np.log10(HORIZON_RATIO))
    return float(below[0]) if below.size else float("inf")


def over_seeds(values: Float[np.ndarray, "seeds"], level: float = LEVEL) -> Interval:
    """Student's t interval of a quantity with one value per seed (a slope, a rate).

    The seed is the statistical unit: examples and time steps of one run share its
    weights and are not independent, so average over them first. Values that are not
    finite are left out.

    >>> over_seeds(np.array([1.0, 2.0, 3.0])).low
    -0.484...
    """
    known = np.asarray(values, np.float64)
    known = known[np.isfinite(known)]
    if known.size < 2:
        mean = float(known[0]) if known.size else float("nan")
        return Interval(mean, float("nan"), float("nan"), known.size)
    return _around(
        float(np.mean(known)),
        float(np.std(known, ddof=1) / np.sqrt(known.size)),
        known.size - 1,
        known.size,
        level,
    )


def _around(
    mean: float, error: float, freedom: int, seeds: int, level: float = LEVEL
) -> Interval:
    reach = float(scipy.special.stdtrit(freedom, 0.5 + level / 2)) * error
    return Interval(mean, mean - reach, mean + reach, seeds)


def _fit(lags: np.ndarray, steps: np.ndarray) -> tuple[Interval, Interval]:
    """Least squares of the steps on 1 and log10((l+1)/l), with their intervals."""
    later = lags > 0
    lags, steps = lags[later], steps[later]
    unknown = Interval(float("nan"), float("nan"), float("nan"), 0)
    if lags.size < 4:
        return unknown, unknown
    # scipy.stats.linregress computes errors from 1 − r², which cancels for an exact law
    table = np.stack([np.ones(lags.size), np.log10((lags + 1) / lags)], axis=1)
    found = np.linalg.lstsq(table, steps, rcond=None)[0]
    freedom = lags.size - 2
    scatter = float(np.sum((steps - table @ found) ** 2)) / freedom
    spread = _correlation(steps - table @ found)
    inflated = scatter * (1 + spread) / (1 - spread)
    errors = np.sqrt(inflated * np.diag(np.linalg.inv(table.T @ table)))
    rate, power = (
        _around(float(value), float(error), freedom, 1)
        for value, error in zip(found, errors, strict=True)
    )
    return rate, power


def _correlation(residuals: np.ndarray) -> float:
    """Correlation of neighbouring steps, clipped to [0, .95].

    It is corrected for its bias in short curves. Neighbouring factors of a network
    share its state; treating them as independent would report a law three times too
    often.
    """
    size = float(np.sum(residuals**2))
    if size <= ROUNDING**2:
        return 0.0
    found = float(np.sum(residuals[1:] * residuals[:-1])) / size
    found += (1 + 4 * found) / len(residuals)
    return min(max(found, 0.0), 0.95)


def _stays_below(curve: np.ndarray) -> float:
    first = horizon(curve)
    if not np.isfinite(first):
        return first
    above = np.flatnonzero(curve >= np.log10(HORIZON_RATIO))
    known = np.flatnonzero(~np.isnan(curve))
    if above.size and above[-1] == known[-1]:
        return float("inf")
    later = known[known > (above[-1] if above.size else -1)]
    return max(float(later[0]), first)
