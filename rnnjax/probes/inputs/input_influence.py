"""How much the output at one step depends on the input at another, for any model.

The influence of input t on output s is the Frobenius norm ‖∂m_s/∂x_t‖_F. It needs
nothing but a function from inputs to outputs, so that it compares recurrent networks,
convolutions and attention with each other.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from rnnjax.recurrence import scaled


Model = Callable[[Array], Array]


def log10_influence(
    model: Model, inputs: Float[Array, "T B ..."], draws: int, key: Array
) -> Float[Array, "draws S T B"]:
    """log10 ‖vᵀ ∂m_s/∂x_t‖ for several v, of each example.

    If the output of an example at one step has at most `draws` entries, v runs through
    the unit vectors, and the squares sum to ‖∂m_s/∂x_t‖²_F; else v is drawn from a
    standard normal distribution, and the mean of the squares estimates it without bias
    (Hutchinson). Costs one gradient of the model for each output step and each v.

    Args:
        model: maps inputs ``(T, B, …)`` to outputs ``(S, B, …)``.
        inputs: of floats.
        draws: number of v.
        key: for the draws.

    Returns:
        the logarithms, −inf where a gradient is zero or below the range of floats.
    """
    outputs, pull = jax.vjp(model, inputs)
    steps, size = outputs.shape[:2]
    entries = int(outputs[0, 0].size)
    if entries <= draws:
        shape = (entries, steps, size, entries)
        basis = jnp.broadcast_to(jnp.eye(entries)[:, None, None], shape)
        directions = basis.astype(outputs.dtype)
    else:
        shape = (draws, steps, size, entries)
        directions = jax.random.normal(key, shape, outputs.dtype)

    def at(step: Array) -> Array:
        def along(v: Array) -> Array:
            here = jnp.zeros((steps, size, entries), outputs.dtype).at[step].set(v)
            (gradient,) = pull(here.reshape(outputs.shape))
            return scaled.log10_norm(scaled.lift(gradient, 2))

        return jax.vmap(along)(directions[:, step])

    return jnp.moveaxis(lax.map(at, jnp.arange(steps)), 1, 0)
