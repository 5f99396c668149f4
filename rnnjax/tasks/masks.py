"""Masks for the valid steps, and for the step at which an example's loss is taken."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from rnnjax.types import Lengths


def valid_steps(lengths: Lengths, steps: int) -> Bool[Array, "T B"]:
    """True where ``t < lengths``.

    >>> valid_steps(jnp.array([1, 3]), 3).T.tolist()
    [[True, False, False], [True, True, True]]
    """
    return jnp.arange(steps)[:, None] < lengths[None, :]


def last_step(lengths: Lengths, steps: int) -> Float[Array, "T B"]:
    """1 at step ``lengths − 1`` of each example, 0 elsewhere.

    >>> last_step(jnp.array([1, 3]), 3).T.tolist()
    [[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]
    """
    return (jnp.arange(steps)[:, None] == lengths[None, :] - 1).astype(jnp.float32)
