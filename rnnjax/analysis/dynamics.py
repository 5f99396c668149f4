"""The linearised dynamics along the probed examples: Jacobians and propagators."""

from typing import Any

import jax
import numpy as np
import xarray as xr

from rnnjax.analysis.stationary import stationary
from rnnjax.analysis.variables import Variable, jit_unoptimised, record
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
EXAMPLES = 4

AT = ("step", "probed_example")

VARIABLES = {
    "singular_value": Variable(
        (*AT, "mode"), "singular values of the Jacobian of this step, largest first"
    ),
    "eigenvalue_real": Variable((*AT, "mode"), "real parts of its eigenvalues"),
    "eigenvalue_imag": Variable((*AT, "mode"), "imaginary parts of its eigenvalues"),
    "spectral_norm": Variable(AT, "largest singular value of the Jacobian"),
    "spectral_radius": Variable(AT, "largest modulus of its eigenvalues"),
    "non_normality": Variable(
        AT,
        "Henrici's departure from normality, sqrt(|J|_F^2 - sum |eigenvalue|^2), over "
        "|J|_F",
    ),
    "log_sigma": Variable(
        ("lag_probed", "mode"),
        "natural logarithm of the singular values of the propagator from this many "
        "steps back to the last step, of the first example; by graded QR; -inf: lost, "
        "NaN: a Jacobian on the way is not finite",
        "nats",
    ),
    "log10_condition": Variable(
        ("probed_example",),
        "log10 of the condition number of the propagator over the whole example",
        "log10",
    ),
    "mean_log_sigma": Variable(
        ("probed_example",), "mean of log sigma of that propagator, finite ones", "nats"
    ),
    "variance_log_sigma": Variable(
        ("probed_example",),
        "variance of log sigma of that propagator; 0 with mean 0: dynamical isometry",
        "nats^2",
    ),
    "worst_case_rate": Variable(
        ("probed_example",),
        "ln of the largest singular value of that propagator over its steps: how much "
        "a disturbance of the first state can grow at most. Exact for this example; no "
        "estimate of a Lyapunov exponent, above which it usually lies",
        "nats per step",
    ),
    "typical_rate": Variable(
        ("probed_example",),
        "ln(|P|_F / sqrt N) of that propagator over its steps: the growth of a "
        "disturbance in a random direction, root mean square",
        "nats per step",
    ),
}

_jacobians = jit_unoptimised(jacobians)


def dynamics(walked: Walked) -> xr.Dataset:
    """Spectra along the first examples of one recurrence; steps in walk order.

    Full spectra for a joint state of up to `WHOLE_SPECTRUM` numbers; for larger ones
    only the leading singular values, without eigenvalues and propagators. The Lyapunov
    exponents are those on stationary input (`stationary`).
    """
    size = joint_size(walked.initial)
    length, batch = jax.tree.leaves(walked.states)[0].shape[:2]
    chosen = list(range(min(batch, EXAMPLES)))
    some = select(walked, chosen)
    steps = np.unique(np.linspace(0, length - 1, STEPS).astype(int))
    whole = size <= WHOLE_SPECTRUM
    modes = size if whole else min(LEADING, size - 1)
    values: dict[str, Any] = {}
    lags = np.zeros(0, int)
    if whole:
        one = spectrum(_jacobians(some, steps))
        products = [factors(some, example) for example in chosen]
        ends = [propagator_spectrum(product) for product in products]
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
            "worst_case_rate": [
                end.log_singular_values[0] / max(len(product), 1)
                for end, product in zip(ends, products, strict=True)
            ],
            "typical_rate": [
                end.log_typical_gain / max(len(product), 1)
                for end, product in zip(ends, products, strict=True)
            ],
        }
    else:
        top = leading_singular_values(some, modes, steps)
        values |= {"singular_value": top, "spectral_norm": top[..., 0]}
    names = {
        "step": steps.tolist(),
        "probed_example": chosen,
        "mode": list(range(modes)),
        "lag_probed": lags.tolist(),
    }
    return xr.merge([record(values, VARIABLES, names), stationary(walked)])
