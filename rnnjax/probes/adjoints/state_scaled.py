"""Adjoints in units of the state's own variation, which makes cells comparable.

‖∂ℓ/∂h_t‖ depends on the coordinates of the state: rescale the c of an LSTM, or the
state of a GRU, and it changes although the network computes the same function. With Σ_t
the covariance of the state over examples,

    ‖Σ_t^{1/2} λ_t‖² = λ_tᵀ Σ_t λ_t = Var_b(λ_tᵀ h_{t,b})

is the variance of the first-order change of the loss when the state of one example is
replaced by that of another. Under h → A h, Σ becomes A Σ Aᵀ and λ becomes A⁻ᵀ λ, so the
value is unchanged.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from rnnjax.probes.backward.walk import Adjoined
from rnnjax.recurrence import scaled


def log10_state_scaled(
    walk: Adjoined, valid: Bool[Array, "T B"]
) -> Float[Array, "T B"]:
    """log10 ‖Σ_t^{1/2} λ_t‖ of the joint state after each step.

    Σ_t is the covariance (normalised by n − 1) over the examples that are not padding
    at step t and whose state is finite there; NaN for the others, and where fewer than
    two are left. −inf where the adjoint is exactly zero, or all states are equal.
    """
    adjoint = scaled.normalise(walk.adjoint)
    # in the order of the input, like the adjoints (`walk.forward` is in walk order)
    states = walk.states
    largest = scaled.largest(states, 2)
    valid = valid & jnp.isfinite(largest)
    count = jnp.sum(valid, axis=1)[:, None]
    known = valid[..., None]
    # rescaled, since products of the states of an exploding network would overflow
    unit = scaled.exponent_of(jnp.max(jnp.where(valid, largest, 0.0), axis=1))
    unit = jnp.clip(unit, -120, 120)
    states = scaled.shift(states, -unit)
    one = jnp.argmax(valid, axis=1)[:, None, None]

    def along(cotangent: Array, state: Array) -> Array:
        """λ_bᵀ (h_c − h̄) of every pair of examples, ``(T, B, B)``."""
        cotangent, state = (
            jnp.reshape(x, (*x.shape[:2], -1)) for x in (cotangent, state)
        )
        zero = jnp.zeros_like(state)
        # relative to one example: the rounded mean of equal numbers may differ from
        # them, which would turn a variance of 0 into noise
        away = jnp.where(known, state - jnp.take_along_axis(state, one, axis=1), zero)
        mean = jnp.sum(away, axis=1) / jnp.maximum(count, 1)
        apart = jnp.where(known, away - mean[:, None], zero)
        with jax.default_matmul_precision("highest"):
            return jnp.einsum("tbn,tcn->tbc", cotangent, apart).real

    parts = jax.tree.map(along, adjoint.mantissa, states)
    total = sum(jax.tree.leaves(parts))
    # squares of small numbers underflow
    top = jnp.max(jnp.abs(total), axis=-1)
    scale = jnp.where(top > 0, top, jnp.ones_like(top))
    squares = jnp.sum(jnp.square(total / scale[..., None]), axis=-1)
    variance = squares / jnp.maximum(count - 1, 1)
    size = jnp.log10(scale) + 0.5 * jnp.log10(variance)
    size = size + (adjoint.exponent + unit[:, None]) * scaled.LOG10_2
    return jnp.where(valid & (count > 1), size, jnp.nan)
