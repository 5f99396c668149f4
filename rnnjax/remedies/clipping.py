"""Clipping of the parameter gradient, the oldest remedy against explosion."""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float


def clip(name: str, threshold: Float[Array, ""], gradient: Any) -> Any:
    """The gradient after a remedy.

    Args:
        name: `none`; `clip_norm`, g·min(1, threshold/‖g‖) over all parameters jointly
            (Pascanu, Mikolov & Bengio 2013, algorithm 1); `clip_value`, each entry
            clipped to ±threshold.
        threshold: may be traced.
        gradient: pytree of arrays.
    """
    if name == "none":
        return gradient
    if name == "clip_value":
        return jax.tree.map(lambda g: jnp.clip(g, -threshold, threshold), gradient)
    norm = optax.tree.norm(gradient)
    safe = jnp.where(norm > threshold, norm, jnp.ones_like(norm))
    factor = jnp.where(norm > threshold, threshold / safe, jnp.ones_like(norm))
    return jax.tree.map(lambda g: g * factor.astype(g.dtype), gradient)
