"""Lyapunov exponents on stationary input: of the recurrence, not of a sentence.

A sentence of a few dozen steps is all transient: the state is still moving away from
its initial value and the tangents have not aligned with the directions of growth, so an
average over it is not a Lyapunov exponent. Here the recurrence is run by itself on
inputs drawn at random from those it received, which is a stationary process, for as
long as averages need. If its inputs are correlated in time, as in every layer except
the first, this is a different process from that in the model.
"""

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float, Int

from rnnjax.analysis.datasets import record
from rnnjax.executables.functions import jit_unoptimised
from rnnjax.probes.backward.walk import Walked, walk_forward
from rnnjax.probes.dynamics.joint_state import joint_size
from rnnjax.probes.dynamics.lyapunov import Lyapunov, kaplan_yorke, lyapunov
from rnnjax.probes.dynamics.time_average import time_average
from rnnjax.quantities.dynamics import CHAINS, DROPPED, STEPS


LEADING = 8
"""Number of exponents."""


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


def stationary(walked: Walked, seed: int = 0) -> xr.Dataset:
    """Leading exponents of one recurrence; see `rnnjax.quantities`.

    Costs a walk of `DROPPED` + `STEPS` steps with `LEADING` tangents.

    Args:
        walked: the recurrence, and the inputs to draw from.
        seed: seed of the random draws.
    """
    x = jnp.asarray(random_steps(walked, DROPPED + STEPS, CHAINS, seed))
    # with a single initial state, all walks would be the same if the input is constant
    some = np.random.default_rng([seed, 1]).choice(_valid(walked), CHAINS)
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
    walked: Walked, steps: int, chains: int, seed: int
) -> Float[np.ndarray, "steps chains m"]:
    """Inputs of the recurrence at valid steps, each drawn at random."""
    inputs = np.asarray(walked.inputs)
    some = inputs.reshape(-1, inputs.shape[-1])[_valid(walked)]
    random = np.random.default_rng(seed)
    return some[random.integers(0, len(some), (steps, chains))]


def _valid(walked: Walked) -> Int[np.ndarray, "k"]:
    """Flat indices of the steps that are not padding; examples vary fastest."""
    shape = np.shape(walked.inputs)[:2]
    valid = walked.drive.valid
    return np.flatnonzero(np.ones(shape) if valid is None else np.asarray(valid))
