"""The linearised dynamics along the probed examples: Jacobians and propagators."""

from typing import Any

import jax
import numpy as np
import xarray as xr

from rnnjax.analysis.datasets import record
from rnnjax.analysis.stationary import stationary
from rnnjax.executables.functions import jit_unoptimised
from rnnjax.probes.backward.walk import Walked
from rnnjax.probes.dynamics.jacobian import jacobians, leading_singular_values, spectrum
from rnnjax.probes.dynamics.joint_state import joint_size, select
from rnnjax.probes.dynamics.propagator import (
    factors,
    propagator_spectrum,
    spectrum_over_lag,
)


WHOLE_SPECTRUM = 256
"""Largest joint state for which full spectra are computed; above, `LEADING` values."""

LEADING = 8
STEPS = 12
SENTENCES = 4
"""Largest number of examples that are measured."""

_jacobians = jit_unoptimised(jacobians)
_select = jit_unoptimised(select)


def dynamics(walked: Walked, sentences: int = SENTENCES) -> xr.Dataset:
    """Spectra along the first examples of one recurrence; steps in walk order.

    Full spectra for a joint state of up to `WHOLE_SPECTRUM` numbers; for larger ones
    only the leading singular values, without eigenvalues and propagators. The Lyapunov
    exponents are those on stationary input (`stationary`).
    """
    size = joint_size(walked.initial)
    length, batch = jax.tree.leaves(walked.states)[0].shape[:2]
    chosen = list(range(min(batch, SENTENCES, sentences)))
    some = _select(walked, np.asarray(chosen))
    steps = np.unique(np.linspace(0, length - 1, STEPS).astype(int))
    whole = size <= WHOLE_SPECTRUM
    modes = size if whole else min(LEADING, size - 1)
    values: dict[str, Any] = {}
    lags = np.zeros(0, int)
    if whole:
        one = spectrum(_jacobians(some, steps))
        products = [factors(some, example) for example in chosen]
        ends = [propagator_spectrum(product) for product in products]
        pairs = [(e, max(len(p), 1)) for e, p in zip(ends, products, strict=True)]
        lags = np.unique(np.linspace(0, len(products[0]), STEPS + 1).astype(int))
        values |= {
            "singular_value": one.singular_values,
            "eigenvalue_real": np.real(one.eigenvalues),
            "eigenvalue_imag": np.imag(one.eigenvalues),
            "spectral_norm": one.norm,
            "spectral_radius": np.abs(one.eigenvalues[..., 0]),
            "non_normality": one.relative_departure,
            "log_sigma": spectrum_over_lag(products[0], lags.tolist()),
            "log10_condition": [end.log10_condition for end in ends],
            "mean_log_sigma": [end.mean_log for end in ends],
            "variance_log_sigma": [end.variance_log for end in ends],
            "worst_case_rate": [end.log_singular_values[0] / n for end, n in pairs],
            "typical_rate": [end.log_typical_gain / n for end, n in pairs],
        }
    else:
        top = leading_singular_values(some, modes, steps)
        values |= {"singular_value": top, "spectral_norm": top[..., 0]}
    names = {"step": steps, "lag_probed": lags}
    return xr.merge([record(values, names), stationary(walked)])
