"""Norms of adjoints: how much of the loss gradient reaches each time step."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from rnnjax.probes.backward.walk import Adjoined
from rnnjax.recurrence import scaled
from rnnjax.recurrence.scaled import Scaled


JOINT = "joint"
"""The name of all state arrays taken together."""


def log10_norms(
    walk: Adjoined, valid: Bool[Array, "T B"]
) -> Float[Array, "arrays T B"]:
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

    A field of a NamedTuple is called by its name; a state that is a single array, `h`.

    >>> state_names(np.zeros(3))
    ('joint', 'h')
    >>> state_names({"h": np.zeros(3), "c": np.zeros(3)})
    ('joint', 'c', 'h')
    """
    paths = [path for path, _ in jax.tree_util.tree_flatten_with_path(state)[0]]
    simple = [jax.tree_util.keystr(p, simple=True, separator=".") for p in paths]
    return (JOINT, *(name or "h" for name in simple))


def lags_forward(x: Any, last: Any, turned: bool) -> tuple[Any, Any]:
    """Arrays ``(T, B, ·)`` and the step of lag 0 of each example, with s − t the lag.

    Normally s is the last loss step, and arrays and s are returned unchanged. A
    backward direction from whose final state the answer is read is read at step 0, so
    its lag is t itself. For such a direction (`turned`) the steps are reversed into
    walk order, and lag 0 is the last of them.

    Args:
        x: arrays in the order of the input.
        last: the last loss step of each example, −1 if there is none.
        turned: whether the lag is t.
    """
    if not turned:
        return x, last
    steps = jax.tree.leaves(x)[0].shape[0]
    x = jax.tree.map(lambda a: a[::-1], x)
    return x, jnp.where(jnp.asarray(last) >= 0, steps - 1, -1)


def by_lag(
    log10_norms: Float[np.ndarray, "T B"], last: np.ndarray
) -> Float[np.ndarray, "T B"]:
    """Reorder norms by lag s − t, where s is the last loss step of each example.

    Args:
        log10_norms: log10 of the norm of the lagged adjoint, by time step.
        last: s of each example ``(B,)``; −1 where there is none.

    Returns:
        Row l holds lag l; NaN for lags that reach back before the start of the example.

    >>> by_lag(np.array([[1.0, 1.0], [2.0, 2.0], [3.0, np.nan]]), np.array([2, 1])).T
    array([[ 3.,  2.,  1.],
           [ 2.,  1., nan]])
    """
    steps = np.asarray(last)[None, :] - np.arange(log10_norms.shape[0])[:, None]
    values = np.take_along_axis(np.asarray(log10_norms), np.maximum(steps, 0), axis=0)
    return np.where(steps >= 0, values, np.nan)
