"""How much of the loss gradient flows back: adjoints, their decay and directions."""

import jax
import numpy as np
import xarray as xr

from rnnjax.analysis.variables import Variable, jit_unoptimised, record
from rnnjax.probes.adjoints.decay import decay
from rnnjax.probes.adjoints.norms import by_lag, lags_forward, log10_norms, state_names
from rnnjax.probes.adjoints.relative import (
    adjoint_rate,
    log_root_mean_square,
    mean_log,
    relative,
)
from rnnjax.probes.adjoints.state_scaled import log10_state_scaled
from rnnjax.probes.backward.walk import Walk
from rnnjax.probes.contributions.spread import effective_rank, scaled_by_lag


EACH = ("array", "example")

VARIABLES = {
    "log10_adjoint": Variable(
        ("array", "time", "example"),
        "log10 of the Euclidean norm of the lagged adjoint: gradient of the loss at "
        "the last loss step with respect to the state after this step; -inf: exactly "
        "zero, NaN: padding, or no number because the network exploded",
        "log10",
    ),
    "log10_total_adjoint": Variable(
        ("time", "example"),
        "log10 of the norm of the gradient of the whole loss with respect to the joint "
        "state after this step",
        "log10",
    ),
    "effective_rank": Variable(
        ("lag",),
        "participation ratio of the singular values of the batch of lagged adjoints at "
        "this lag, each of length 1: 1 if all examples send back one direction; NaN if "
        "the adjoint of an example is NaN",
        "directions",
    ),
    "log10_ratio": Variable(
        ("array", "lag"),
        "log10 of the lagged adjoint over the largest norm of the joint state's at "
        "lags 0 to 5, mean over the examples in which it is not exactly zero",
        "log10",
    ),
    "log10_ratio_rms": Variable(
        ("array", "lag"),
        "log10 of the root mean square over the examples of the norm of the lagged "
        "adjoint over the largest norm of the joint state's at lags 0 to 5: the few "
        "examples with the largest gradient decide it",
        "log10",
    ),
    "log10_state_scaled": Variable(
        ("time", "example"),
        "log10 of the lagged adjoint of the joint state in units of the state: "
        "|S^(1/2) lambda|, S the covariance of the state after this step over the "
        "examples of the batch. It does not depend on the coordinates of the state, "
        "and so compares cells; NaN: padding, or one example alone",
        "log10",
    ),
    "log10_ratio_scaled": Variable(
        ("lag",),
        "log10_state_scaled over its largest value at lags 0 to 5, mean over the "
        "examples in which it is not exactly zero",
        "log10",
    ),
    "adjoint_rate": Variable(
        ("array",),
        "ln of the norm of the lagged adjoint at the first step over the largest norm "
        "of the joint state's at lags 0 to 5, divided by the lags between the two, "
        "mean over the examples; negative: vanishing",
        "nats per step",
    ),
    "decay": Variable(
        EACH,
        "mean change of log10 of the lagged adjoint per step of lag, from lag 5 on (a "
        "third of a shorter curve); negative: vanishing, NaN: too few lags, or an "
        "adjoint that is NaN at some lag",
        "log10 per step",
        version=2,
    ),
    "decay_rate": Variable(
        ("array", "bound"),
        "a of d_l = a + b log10((l+1)/l), fitted to the steps d_l of log10_ratio from "
        "the lag of `decay` on, with its 95 % interval from their scatter: 0 for a "
        "power law",
        "log10 per step",
    ),
    "decay_power": Variable(
        ("array", "bound"), "b of that fit and its interval: 0 for an exponential"
    ),
    "memory_horizon": Variable(
        ("array",),
        "first lag, from the largest of lags 0 to 5 on, at which log10_ratio is below "
        "-3, a thousandth; inf: none that was measured, NaN: no adjoint is a number",
        "steps",
        version=2,
    ),
    "horizon_stays_below": Variable(
        ("array",),
        "first lag from which on it stays below; greater than memory_horizon where the "
        "gradient returns",
        "steps",
    ),
    "exact_zeros": Variable(
        EACH,
        "lags at which the adjoint is exactly 0; NaN: it is NaN at some lag",
        "lags",
    ),
}


def _measured(
    lagged: Walk, total: Walk, valid: jax.Array, last: jax.Array, turned: bool
) -> tuple:
    both = log10_norms(lagged, valid), log10_norms(total, valid)[0]
    seen = scaled_by_lag(*lags_forward(lagged.adjoint, last, turned))
    return *both, effective_rank(seen), log10_state_scaled(lagged, valid)


_norms = jit_unoptimised(_measured, static_argnames="turned")


def adjoints(
    lagged: Walk,
    total: Walk,
    valid: jax.Array,
    last: np.ndarray,
    turned: bool = False,
) -> xr.Dataset:
    """Adjoints of one recurrence.

    Args:
        lagged: its backward pass from the loss at the last loss step.
        total: its backward pass from the whole loss.
        valid: ``(T, B)``, False on padding.
        last: the last loss step, ``(B,)``.
        turned: whether lags count from step 0 (`adjoints.norms.lags_forward`).
    """
    norms, whole, rank, in_states = jax.device_get(
        _norms(lagged, total, valid, last, turned=turned)
    )
    lost = np.any(~(norms < np.inf) & np.asarray(valid), axis=1)
    curves = []
    for rows in norms:
        rows, zero = lags_forward(rows.astype(np.float64), last, turned)
        curves.append(by_lag(rows, np.asarray(zero)))
    fits = [[decay(curve) for curve in rows.T] for rows in curves]
    rows, zero = lags_forward(in_states.astype(np.float64), last, turned)
    scaled = by_lag(np.where(lost[0], np.nan, rows), np.asarray(zero))
    ratios = [
        relative(np.where(gone[None], np.nan, rows), curves[0])
        for rows, gone in zip(curves, lost, strict=True)
    ]
    means = [mean_log(rows) for rows in ratios]
    whole_fits = [decay(curve) for curve in means]

    def each(name: str) -> np.ndarray:
        found = [[getattr(fit, name) for fit in row] for row in fits]
        return np.where(lost, np.nan, np.array(found, float))

    def bounds(name: str) -> list[list[float]]:
        parts = [getattr(fit, name) for fit in whole_fits]
        return [[part.mean, part.low, part.high] for part in parts]

    values = {
        "log10_adjoint": norms,
        "log10_total_adjoint": whole,
        "effective_rank": rank,
        "log10_ratio": means,
        "log10_ratio_rms": [log_root_mean_square(rows) for rows in ratios],
        "log10_state_scaled": in_states,
        "log10_ratio_scaled": mean_log(relative(scaled)),
        "adjoint_rate": [adjoint_rate(rows) for rows in ratios],
        "decay": each("slope"),
        "decay_rate": bounds("rate"),
        "decay_power": bounds("power"),
        "memory_horizon": [fit.horizon for fit in whole_fits],
        "horizon_stays_below": [fit.stays_below for fit in whole_fits],
        "exact_zeros": each("zeros"),
    }
    names = {"array": state_names(lagged.states), "bound": ("estimate", "low", "high")}
    return record(values, VARIABLES, names)
