"""Clipping of the parameter gradient, the oldest remedy for exploding gradients."""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from rnnjax.recurrence.scaled import exponent_of, power_of_two, wide


def global_norm(gradient: Any) -> Float[Array, ""]:
    """‖g‖ over all arrays jointly, finite whenever the true norm is representable.

    The squares of an exploding gradient overflow long before its norm does, and the
    clipped step would then have length 0, as if training had stalled. Therefore all
    entries are first divided by a power of two, which does not affect the mantissas.
    """
    small, e = _near_one(jax.tree.map(wide, gradient))
    return optax.tree.norm(small) * power_of_two(e, jax.tree.leaves(small)[0].dtype)


def _near_one(gradient: Any) -> tuple[Any, Int[Array, ""]]:
    """g · 2^(−e) with the largest entry in [1, 2), and e."""
    tops = [jnp.max(jnp.abs(g)) for g in jax.tree.leaves(gradient)]
    top = jnp.max(jnp.stack(tops))
    limit = jnp.finfo(top.dtype)
    e = jnp.clip(exponent_of(top) - 1, limit.minexp, limit.maxexp - 1)
    e = jnp.where(jnp.isfinite(top) & (top > 0), e, jnp.zeros_like(e))
    return jax.tree.map(lambda g: g * power_of_two(-e, g.dtype), gradient), e


def clip(name: str, threshold: Float[Array, ""], gradient: Any) -> Any:
    """The gradient after clipping.

    Args:
        name: `none`; `norm`: g·min(1, threshold/‖g‖) over all parameters jointly
            (Pascanu, Mikolov & Bengio 2013, algorithm 1); `value`: each entry is
            clipped to ±threshold.
        threshold: may be traced.
        gradient: pytree of arrays.
    """
    if name == "none":
        return gradient
    if name == "value":
        return jax.tree.map(lambda g: jnp.clip(g, -threshold, threshold), gradient)
    small, e = _near_one(gradient)
    small_norm = optax.tree.norm(small)
    norm = small_norm * power_of_two(e, small_norm.dtype)
    over = ~(norm <= threshold)  # also true if the norm is NaN
    factor = threshold / jnp.where(over, small_norm, jnp.ones_like(norm))

    def one(g: Array, near_one: Array) -> Array:
        return jnp.where(over, near_one * factor.astype(g.dtype), g)

    return jax.tree.map(one, gradient, small)
