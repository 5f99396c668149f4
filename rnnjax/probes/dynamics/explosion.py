"""Where states leave the finite numbers: an exploded forward pass."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from rnnjax.probes.backward.walk import Walked
from rnnjax.probes.factors.slopes import valid_steps


def first_nonfinite(walked: Walked) -> Float[Array, "arrays B"]:
    """The first step, in the order of the walk, whose new state holds inf or NaN.

    Counted as steps of the input; NaN where the state is finite at every valid step.
    Rows as those of `log10_norms`: the joint state, then each state array. Pure, works
    under `jit`; costs one pass over the states.
    """
    parts = [~jnp.all(jnp.isfinite(x), -1) for x in jax.tree.leaves(walked.states)]
    broken = jnp.stack(parts) & valid_steps(walked)[None]
    broken = jnp.concatenate([jnp.any(broken, axis=0, keepdims=True), broken])
    first = jnp.argmax(broken, axis=1)
    if walked.backwards:
        first = broken.shape[1] - 1 - first
    return jnp.where(jnp.any(broken, axis=1), first, jnp.nan)
