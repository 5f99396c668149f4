"""The linearised dynamics: Jacobians and propagators along the probed examples.

The Lyapunov exponents are not those along a sentence, but on stationary input.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float, Int

from rnnjax.analysis.datasets import record
from rnnjax.executables.functions import jit_unoptimised
from rnnjax.probes.backward.walk import Walked, walk_forward
from rnnjax.probes.dynamics.jacobian import jacobians, leading_singular_values, spectrum
from rnnjax.probes.dynamics.joint_state import joint_size, select
from rnnjax.probes.dynamics.lyapunov import Lyapunov, kaplan_yorke, lyapunov
from rnnjax.probes.dynamics.propagator import (
    factors,
    propagator_spectrum,
    spectrum_over_lag,
)
from rnnjax.probes.dynamics.time_average import time_average
from rnnjax.quantities.dynamics import CHAINS, DROPPED, STEPS


WHOLE_SPECTRUM = 256
"""Largest joint state for which full spectra are computed; above, `LEADING` values."""

LEADING = 8
"""Number of singular values of a larger state, and of Lyapunov exponents."""

PLACES = 12
"""Number of steps at which the Jacobian is measured."""

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
    steps = np.unique(np.linspace(0, length - 1, PLACES).astype(int))
    whole = size <= WHOLE_SPECTRUM
    modes = size if whole else min(LEADING, size - 1)
    values: dict[str, Any] = {}
    lags = np.zeros(0, int)
    if whole:
        products = [factors(some, example) for example in chosen]
        values, lags = spectra(_jacobians(some, steps), products)
    else:
        top = leading_singular_values(some, modes, steps)
        values |= {"singular_value": top, "spectral_norm": top[..., 0]}
    names = {"step": steps, "lag_probed": lags}
    return xr.merge([record(values, names), stationary(walked)])


def spectra(
    jacobians: Any, products: Sequence[np.ndarray]
) -> tuple[dict[str, Any], Int[np.ndarray, "lags"]]:
    """Spectra of Jacobians, and of their products along each example.

    Args:
        jacobians: of some steps, ``(steps, examples, N, N)``.
        products: for each example, the Jacobians of all steps ``(T, N, N)``, in the
            order in which they act.

    Returns:
        the quantities by name, and the lags of `log_sigma`.
    """
    one = spectrum(jacobians)
    ends = [propagator_spectrum(product) for product in products]
    pairs = [(e, max(len(p), 1)) for e, p in zip(ends, products, strict=True)]
    lags = np.unique(np.linspace(0, len(products[0]), PLACES + 1).astype(int))
    values = {
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
    return values, lags


@jit_unoptimised
def _exponents(
    walked: Walked, x: Float[Array, "T B m"], chosen: Int[Array, "B"]
) -> Lyapunov:
    start = jax.tree.map(
        lambda h: jnp.reshape(h, (-1, *h.shape[2:]))[chosen], walked.states
    )
    walk = walk_forward(walked.cell, walked.weights, walked.name, x, start)[0]
    some = min(LEADING, joint_size(start))
    return lyapunov(walk, k=some, transient=DROPPED)


def stationary(walked: Walked) -> xr.Dataset:
    """Leading Lyapunov exponents of one recurrence on stationary input.

    A sentence of a few dozen steps is all transient: the state is still moving away
    from its initial value and the tangents have not aligned with the directions of
    growth, so an average over it is not a Lyapunov exponent. Here the recurrence is run
    by itself on inputs drawn at random from those it received, which is a stationary
    process, for as long as averages need: `DROPPED` + `STEPS` steps with `LEADING`
    tangents. If its inputs are correlated in time, as in every layer except the first,
    this is a different process from that in the model.
    """
    x = jnp.asarray(random_steps(walked, DROPPED + STEPS, CHAINS))
    # with a single initial state, all walks would be the same if the input is constant
    some = np.random.default_rng([0, 1]).choice(_valid(walked), CHAINS)
    found = _exponents(walked, x, jnp.asarray(some))
    growth = np.asarray(jax.device_get(found.growth), np.float64)[DROPPED:]
    averages = [time_average(series) for series in np.moveaxis(growth, -1, 0)]
    means = np.array([one.mean for one in averages])
    order = np.argsort(-means)
    values = {
        "lyapunov": means[order],
        "lyapunov_error": np.array([one.error for one in averages])[order],
        "kaplan_yorke": kaplan_yorke(means, joint_size(walked.initial)),
    }
    return record(values)


def random_steps(
    walked: Walked, steps: int, chains: int
) -> Float[np.ndarray, "steps chains m"]:
    """Inputs of the recurrence at valid steps, each drawn at random."""
    inputs = np.asarray(walked.inputs)
    some = inputs.reshape(-1, inputs.shape[-1])[_valid(walked)]
    random = np.random.default_rng(0)
    return some[random.integers(0, len(some), (steps, chains))]


def _valid(walked: Walked) -> Int[np.ndarray, "k"]:
    """Flat indices of the steps that are not padding; examples vary fastest."""
    shape = np.shape(walked.inputs)[:2]
    valid = walked.drive.valid
    return np.flatnonzero(np.ones(shape) if valid is None else np.asarray(valid))
