"""Where states become infinite or NaN: an exploded forward pass."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from rnnjax.probes.backward.walk import Walked
from rnnjax.probes.factors.slopes import valid_steps


def first_nonfinite(walked: Walked) -> Float[Array, "arrays B"]:
    """The first step, in walk order, after which the state contains inf or NaN.

    Given as a step number of the input; NaN if the state is finite at every valid step.
    Rows as in `log10_norms`: the joint state, then each state array. Pure, works under
    `jit`; costs one pass over the states.
    """
    return first_broken(walked.states, valid_steps(walked), walked.backwards)


def first_broken(
    states: Any, valid: Bool[Array, "T B"], backwards: bool
) -> Float[Array, "arrays B"]:
    """`first_nonfinite` of states in walk order.

    Args:
        states: arrays ``(T, B, n)``.
        valid: False on padding.
        backwards: whether the walk is in the reverse of the input's order.
    """
    parts = [~jnp.all(jnp.isfinite(x), -1) for x in jax.tree.leaves(states)]
    broken = jnp.stack(parts) & valid[None]
    broken = jnp.concatenate([jnp.any(broken, axis=0, keepdims=True), broken])
    first = jnp.argmax(broken, axis=1)
    if backwards:
        first = broken.shape[1] - 1 - first
    return jnp.where(jnp.any(broken, axis=1), first, jnp.nan)
