"""The linearised dynamics: Jacobians, propagators, Lyapunov exponents."""

import jax
import numpy as np
import xarray as xr

from rnnjax.laboratory.record import Variable, quick, record
from rnnjax.probes.jacobian import jacobians, leading_singular_values, spectrum
from rnnjax.probes.joint import joint_size, select
from rnnjax.probes.lyapunov import kaplan_yorke, lyapunov
from rnnjax.probes.propagator import factors, propagator_spectrum, spectrum_over_lag
from rnnjax.probes.walk import Walked


WHOLE_SPECTRUM = 256
"""Largest joint state whose whole spectra are taken; else the leading `LEADING`."""

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
    "lyapunov": Variable(
        ("probed_example", "mode"),
        "conditional Lyapunov exponents along the example, by Benettin's QR, largest "
        "first; -inf: a direction is lost, NaN: the state is no number at some step",
        "nats per step",
    ),
    "lyapunov_error": Variable(
        ("probed_example", "mode"), "their standard error, block means", "nats per step"
    ),
    "lyapunov_drift": Variable(
        ("probed_example", "mode"),
        "exponent over all steps less that over the first half: far from 0, the "
        "example is too short",
        "nats per step",
    ),
    "kaplan_yorke": Variable(
        ("probed_example",), "Kaplan and Yorke's dimension", "dimensions"
    ),
}

_jacobians = quick(jacobians)
_lyapunov = quick(lyapunov, static_argnames=("k", "transient", "every"))


def dynamics(walked: Walked) -> xr.Dataset:
    """Spectra along the first examples of one recurrence; steps in walk order.

    Takes the whole spectra for a joint state of up to `WHOLE_SPECTRUM` numbers, the
    leading ones beyond it (no eigenvalues and no propagators then).
    """
    size = joint_size(walked.initial)
    length, batch = jax.tree.leaves(walked.states)[0].shape[:2]
    chosen = list(range(min(batch, EXAMPLES)))
    some = select(walked, chosen)
    steps = np.unique(np.linspace(0, length - 1, STEPS).astype(int))
    whole = size <= WHOLE_SPECTRUM
    modes = size if whole else min(LEADING, size - 1)
    grown = jax.device_get(_lyapunov(some, k=modes))
    # tangents of a short walk have not aligned, and are not in order of size
    order = np.argsort(-grown.exponents, axis=1)
    values = {
        "lyapunov": np.take_along_axis(grown.exponents, order, axis=1),
        "lyapunov_error": np.take_along_axis(grown.error, order, axis=1),
        "lyapunov_drift": np.take_along_axis(grown.drift, order, axis=1),
        "kaplan_yorke": [kaplan_yorke(row, size) for row in grown.exponents],
    }
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
    return record(values, VARIABLES, names)
