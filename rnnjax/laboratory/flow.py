"""How much of the loss comes back: adjoints, their decay and their directions."""

import jax
import numpy as np
import xarray as xr

from rnnjax.laboratory.record import Variable, quick, record
from rnnjax.probes.adjoint import (
    by_lag,
    lags_forward,
    log10_norms,
    state_names,
)
from rnnjax.probes.decay import decay
from rnnjax.probes.spread import effective_rank, scaled_by_lag
from rnnjax.probes.walk import Walk


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
    "decay": Variable(
        EACH,
        "slope of log10 of the lagged adjoint by lag, by Theil and Sen, after a "
        "transient of 5 lags; negative: vanishing, NaN: too few lags, or an adjoint "
        "that is NaN at some lag",
        "log10 per step",
    ),
    "r2_exponential": Variable(EACH, "R^2 of an exponential in the lag"),
    "r2_power_law": Variable(EACH, "R^2 of a power law in the lag"),
    "memory_horizon": Variable(
        EACH,
        "largest lag with at least 1/1000 of the norm at lag 5; inf: not reached, NaN: "
        "too few lags, or an adjoint that is NaN at some lag",
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
    return *both, effective_rank(seen)


_norms = quick(_measured, static_argnames="turned")


def flow(
    lagged: Walk,
    total: Walk,
    valid: jax.Array,
    last: np.ndarray,
    turned: bool = False,
) -> xr.Dataset:
    """Adjoints of one recurrence.

    Args:
        lagged: walked back from the loss at the last loss step.
        total: walked back from all of the loss.
        valid: ``(T, B)``.
        last: that step, ``(B,)``.
        turned: whether lags count from step 0 (`rnnjax.probes.adjoint.lags_forward`).
    """
    norms, whole, rank = jax.device_get(
        _norms(lagged, total, valid, last, turned=turned)
    )
    lost = np.any(~(norms < np.inf) & np.asarray(valid), axis=1)
    curves = []
    for rows in norms:
        rows, zero = lags_forward(rows.astype(np.float64), last, turned)
        curves.append(by_lag(rows, np.asarray(zero)))
    fits = [[decay(curve) for curve in rows.T] for rows in curves]

    def each(name: str) -> np.ndarray:
        found = [[getattr(fit, name) for fit in row] for row in fits]
        return np.where(lost, np.nan, np.array(found, float))

    values = {
        "log10_adjoint": norms,
        "log10_total_adjoint": whole,
        "effective_rank": rank,
        "decay": each("slope"),
        "r2_exponential": each("r2_exponential"),
        "r2_power_law": each("r2_power_law"),
        "memory_horizon": each("horizon"),
        "exact_zeros": each("zeros"),
    }
    return record(values, VARIABLES, {"array": state_names(lagged.states)})
