"""How much of the loss gradient flows back: adjoints, their decay and directions."""

import jax
import numpy as np
import xarray as xr

from rnnjax.analysis.datasets import record
from rnnjax.executables.functions import jit_unoptimised
from rnnjax.probes.adjoints.decay import decay
from rnnjax.probes.adjoints.norms import by_lag, lags_forward, log10_norms, state_names
from rnnjax.probes.adjoints.relative import (
    adjoint_rate,
    log_root_mean_square,
    mean_log,
    relative,
)
from rnnjax.probes.adjoints.state_scaled import log10_state_scaled
from rnnjax.probes.backward.walk import Adjoined
from rnnjax.probes.contributions.spread import effective_rank, scaled_by_lag


def _measured(
    lagged: Adjoined, total: Adjoined, valid: jax.Array, last: jax.Array, turned: bool
) -> tuple:
    both = log10_norms(lagged, valid), log10_norms(total, valid)[0]
    seen = scaled_by_lag(*lags_forward(lagged.adjoint, last, turned))
    return *both, effective_rank(seen), log10_state_scaled(lagged, valid)


_norms = jit_unoptimised(_measured, static_argnames=("turned",))


def adjoints(
    lagged: Adjoined,
    total: Adjoined,
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
    wide = norms.astype(np.float64)

    def along_lags(rows: np.ndarray) -> np.ndarray:
        rows, zero = lags_forward(rows, last, turned)
        return by_lag(rows, np.asarray(zero))

    curves = [along_lags(rows) for rows in wide]
    fits = [[decay(curve) for curve in rows.T] for rows in curves]
    scaled = along_lags(np.where(lost[0], np.nan, in_states.astype(np.float64)))
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
        "horizon": [fit.horizon for fit in whole_fits],
        "horizon_stays_below": [fit.stays_below for fit in whole_fits],
        "exact_zeros": each("zeros"),
    }
    names = {"array": state_names(lagged.states), "bound": ("estimate", "low", "high")}
    return record(values, names)
