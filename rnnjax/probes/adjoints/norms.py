"""Norms of adjoints: how much of the loss reaches each time step."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from rnnjax.probes.backward.walk import Walk
from rnnjax.recurrence import scaled
from rnnjax.recurrence.scaled import Scaled


JOINT = "joint"
"""The name of all state arrays taken together."""


def log10_norms(walk: Walk, valid: Bool[Array, "T B"]) -> Float[Array, "arrays T B"]:
    """log10 ‖∂L/∂h_t‖ (Euclidean) of the joint state, then of each state array.

    −inf for an adjoint that is exactly zero (a dead ReLU, an example without loss), NaN
    on padding and where the adjoint is NaN (an exploded network). Costs one pass over
    the adjoints.
    """
    mantissa, exponent = walk.adjoint.mantissa, walk.adjoint.exponent
    norms = [scaled.log10_norm(walk.adjoint)]
    norms += [scaled.log10_norm(Scaled(x, exponent)) for x in jax.tree.leaves(mantissa)]
    return jnp.where(valid[None], jnp.stack(norms), jnp.nan)


def state_names(state: Any) -> tuple[str, ...]:
    """Names of the rows of `log10_norms`: `joint`, then the state's arrays.

    A field of a NamedTuple goes by its name, a lone array by `h`.

    >>> state_names(np.zeros(3))
    ('joint', 'h')
    >>> state_names({"h": np.zeros(3), "c": np.zeros(3)})
    ('joint', 'c', 'h')
    """
    paths = [path for path, _ in jax.tree_util.tree_flatten_with_path(state)[0]]
    simple = [jax.tree_util.keystr(p, simple=True, separator=".") for p in paths]
    return (JOINT, *(name or "h" for name in simple))


def lags_forward(x: Any, last: Any, turned: bool) -> tuple[Any, Any]:
    """Arrays ``(T, B, ·)`` and the step of lag 0 of each example, lags going back.

    The lag of a step is s − t, s the last loss step. A walk from the end whose last
    state is the answer is read at step 0, and its lag is t: `turned`, its steps are
    given in the order of the walk, at whose end lag 0 lies.
    """
    if not turned:
        return x, last
    steps = jax.tree.leaves(x)[0].shape[0]
    x = jax.tree.map(lambda a: a[::-1], x)
    return x, jnp.where(jnp.asarray(last) >= 0, steps - 1, -1)


def by_lag(
    log10_norms: Float[np.ndarray, "T B"], last: np.ndarray
) -> Float[np.ndarray, "T B"]:
    """The same norms by lag s − t, where s is the last loss step of each example.

    Args:
        log10_norms: of the lagged adjoint, by time step.
        last: s of each example ``(B,)``, −1 where there is none.

    Returns:
        Row l holds lag l; NaN beyond the start of the example.

    >>> by_lag(np.array([[1.0, 1.0], [2.0, 2.0], [3.0, np.nan]]), np.array([2, 1])).T
    array([[ 3.,  2.,  1.],
           [ 2.,  1., nan]])
    """
    steps = np.asarray(last)[None, :] - np.arange(log10_norms.shape[0])[:, None]
    values = np.take_along_axis(np.asarray(log10_norms), np.maximum(steps, 0), axis=0)
    return np.where(steps >= 0, values, np.nan)
