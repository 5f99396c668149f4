"""Adjoints relative to those near the loss: how much gradient is left at each lag.

As the loss decreases in training, the adjoints shrink by the same factor at all lags.
To compare networks, tasks and stages of training, what matters is the effect of the
recurrence: for each example, the norm at each lag is divided by the largest norm at
lags 0 to 5, and the logarithm is then averaged over examples. The maximum over a few
lags is needed because some state arrays receive their first gradient one step before
the loss (the c of an LSTM, whose output is h).
"""

import numpy as np
import scipy
from jaxtyping import Float


REFERENCE_LAGS = 6
"""Number of lags, from 0 on, whose largest norm is the reference."""


def relative(
    log10_norms: Float[np.ndarray, "lags B"],
    joint: Float[np.ndarray, "lags B"] | None = None,
) -> Float[np.ndarray, "lags B"]:
    """log10 of each norm divided by the largest norm near the loss of the same example.

    NaN for an example that is exactly zero, or not finite, near the loss.

    Args:
        log10_norms: log10 of the norms, by lag.
        joint: those of the joint state, from which the reference is taken; None:
            `log10_norms` itself.

    >>> relative(np.array([[-4.0], [-3.0], [-5.0]])).ravel().tolist()
    [-1.0, 0.0, -2.0]
    """
    norms = np.asarray(log10_norms, np.float64)
    near = (norms if joint is None else joint)[:REFERENCE_LAGS]
    top = np.max(np.where(np.isnan(near), -np.inf, near), axis=0, initial=-np.inf)
    return norms - np.where(np.isfinite(top), top, np.nan)


def reference_lag(curve: Float[np.ndarray, "lags"]) -> int:
    """The lag near the loss at which a curve has its maximum.

    >>> reference_lag(np.array([-np.inf, -1.0, -2.0]))
    1
    """
    near = curve[:REFERENCE_LAGS]
    return int(np.argmax(np.where(np.isnan(near), -np.inf, near)))


def mean_log(log10_norms: Float[np.ndarray, "lags B"]) -> Float[np.ndarray, "lags"]:
    """Mean over the examples that are not exactly zero at this lag.

    −inf where all measured examples are zero, NaN where none was measured.

    >>> mean_log(np.array([[-1.0, -3.0, -np.inf]])).tolist()
    [-2.0]
    """
    counted = np.isfinite(log10_norms)
    number = np.sum(counted, axis=1)
    total = np.sum(np.where(counted, log10_norms, 0.0), axis=1)
    zero = np.any(np.isneginf(log10_norms), axis=1)
    empty = np.where(zero, -np.inf, np.nan)
    return np.where(number > 0, total / np.maximum(number, 1), empty)


def log_root_mean_square(
    log10_norms: Float[np.ndarray, "lags B"],
) -> Float[np.ndarray, "lags"]:
    """log10 of the root mean square over examples, zeros included.

    Larger than `mean_log`, by σ² ln 10 if the norms are log-normal with a spread of σ
    powers of ten: it is dominated by the few examples with the largest gradient.

    >>> log_root_mean_square(np.array([[0.0, -np.inf]])).round(4).tolist()
    [-0.1505]
    """
    norms = np.asarray(log10_norms, np.float64)
    measured = ~np.isnan(norms)
    squares = np.where(measured, 2 * np.log(10.0) * norms, -np.inf)
    number = np.sum(measured, axis=1)
    mean = scipy.special.logsumexp(squares, axis=1)
    mean = mean - np.log(np.maximum(number, 1))
    return np.where(number > 0, 0.5 * mean / np.log(10.0), np.nan)


def adjoint_rate(log10_ratio: Float[np.ndarray, "lags B"]) -> float:
    """Mean over examples of 1/(l − r) ln(‖λ_{s−l}‖ / ‖λ_{s−r}‖), l the largest lag.

    In nats per step; r is the lag of the reference, where `relative` is 0. −inf if the
    adjoint of an example is exactly zero at lag l, NaN if no example can be used.

    >>> adjoint_rate(np.array([[0.0, 0.0], [-1.0, -0.5], [-2.0, np.nan]])).__round__(4)
    -1.7269
    """
    rates = []
    for curve in np.asarray(log10_ratio, np.float64).T:
        known = np.flatnonzero(~np.isnan(curve))
        if not known.size:
            continue
        first = reference_lag(curve)
        if known[-1] > first:
            rates.append(curve[known[-1]] * np.log(10.0) / (known[-1] - first))
    return float(np.mean(rates)) if rates else float("nan")
