"""How fast an adjoint decays with lag, and how far a memory reaches (on the host)."""

import dataclasses
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy import stats


HORIZON_RATIO = 1e-3


@dataclasses.dataclass(frozen=True)
class Decay:
    """The decay of one adjoint with lag.

    Attributes:
        slope: change of log10‖λ‖ per step of lag, by Theil and Sen's median of pairwise
            slopes; negative: vanishing, positive: exploding. NaN with fewer than two
            points.
        intercept: of that line, at lag 0.
        r2_exponential: R² of the least-squares line of log10‖λ‖ on lag.
        r2_power_law: R² of the one on log10 of lag (chrono LSTMs and HiPPO are nearer
            to it).
        horizon: memory horizon, the largest lag with at least 10⁻³ of the norm at the
            transient's lag; inf if that still holds at the largest lag measured
            ("> T"); NaN if no number was measured at the transient's lag.
        zeros: number of lags at which the adjoint is exactly zero; they are not fitted.
    """

    slope: float
    intercept: float
    r2_exponential: float
    r2_power_law: float
    horizon: float
    zeros: int


def decay(log10_norms: Float[np.ndarray, "lags"], transient: int = 5) -> Decay:
    """Fit the decay of log10 norms by lag, from lag `transient` on.

    Args:
        log10_norms: entry l is log10‖λ‖ at lag l; −inf for an exact zero, NaN where
            nothing was measured.
        transient: number of first lags m that are left out.

    >>> decay(-0.5 * np.arange(40.0)).slope
    -0.5
    >>> decay(-0.5 * np.arange(40.0)).horizon
    11.0
    """
    norms = np.asarray(log10_norms, np.float64)
    lags = np.arange(norms.size, dtype=np.float64)
    seen = ~np.isnan(norms) & (lags >= transient)
    zeros = int(np.sum(np.isneginf(norms)))
    fitted = seen & np.isfinite(norms)
    x, y = lags[fitted], norms[fitted]
    slope = intercept = float("nan")
    if x.size >= 2:
        line: Any = stats.theilslopes(y, x)
        slope, intercept = line.slope, line.intercept
    positive = x > 0
    return Decay(
        slope=float(slope),
        intercept=float(intercept),
        r2_exponential=_r2(x, y),
        r2_power_law=_r2(np.log10(x[positive]), y[positive]),
        horizon=_horizon(norms, lags, seen, transient),
        zeros=zeros,
    )


@dataclasses.dataclass(frozen=True)
class Interval:
    """A mean over seeds with its confidence interval.

    Attributes:
        mean: over the seeds.
        low, high: ends of the interval; NaN for a single seed.
        seeds: how many finite values there were.
    """

    mean: float
    low: float
    high: float
    seeds: int


def over_seeds(values: Float[np.ndarray, "seeds"], level: float = 0.95) -> Interval:
    """Student's t interval for a number that each seed gives once (a slope, a horizon).

    Seeds are the unit: examples and time steps of one run share its weights and are not
    independent. Average over them first. Values that are not finite are left out.

    >>> over_seeds(np.array([1.0, 2.0, 3.0])).low
    -0.484...
    """
    known = np.asarray(values, np.float64)
    known = known[np.isfinite(known)]
    if known.size < 2:
        mean = float(known[0]) if known.size else float("nan")
        return Interval(mean, float("nan"), float("nan"), known.size)
    mean, error = float(np.mean(known)), float(stats.sem(known))
    reach = float(stats.t.ppf(0.5 + level / 2, known.size - 1)) * error
    return Interval(mean, mean - reach, mean + reach, known.size)


def _r2(x: np.ndarray, y: np.ndarray) -> float:
    """R² of the least-squares line; NaN for fewer than three points or a flat y."""
    if x.size < 3 or np.ptp(y) == 0:
        return float("nan")
    return float(np.corrcoef(x, y)[0, 1] ** 2)


def _horizon(
    norms: np.ndarray, lags: np.ndarray, seen: np.ndarray, transient: int
) -> float:
    if transient >= norms.size or not norms[transient] < np.inf:
        return float("nan")
    if np.isneginf(norms[transient]):
        alive = lags[np.isfinite(norms)]
        return float(alive.max()) if alive.size else 0.0
    reached = lags[seen & (norms >= norms[transient] + np.log10(HORIZON_RATIO))].max()
    return float("inf") if reached == lags[seen].max() else float(reached)
