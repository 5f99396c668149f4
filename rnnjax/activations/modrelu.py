"""The one activation that is not pointwise in real and imaginary parts."""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Inexact

from rnnjax.activations.functions import relu


def modrelu(z: Inexact[Array, "..."], b: Float[Array, "..."]) -> Inexact[Array, "..."]:
    """ReLU(|z| + b) · z / |z|: the modulus is shifted and cut, the phase stays.

    Value and gradients are 0 at z = 0. A complex z whose |z|² underflows (a modulus
    below about 1e-19 in float32) counts as 0 too; where |z|² overflows, b is nothing
    beside it and z comes back. Recorded as the ReLU of |z| + b.

    Args:
        z: real or complex, ``(…, n)``.
        b: real, of a shape that broadcasts to that of `z`, usually ``(n,)``.

    Source: Arjovsky, Shah, Bengio 2016, Unitary Evolution Recurrent Neural Networks.

    >>> print(modrelu(jnp.array([3 + 4j, 0.3 + 0.4j]), jnp.array(-1.0)))
    [2.4+3.2j 0. +0.j ]
    """
    b = jnp.broadcast_to(b, z.shape)
    if not jnp.iscomplexobj(z):
        return jnp.sign(z) * relu(jnp.abs(z) + b, "modulus")
    # from the square: the complex modulus of XLA takes several times as long
    square = jnp.square(z.real) + jnp.square(z.imag)
    usual = (square > jnp.finfo(z.dtype).tiny) & (square < jnp.inf)
    # The root has no derivative at 0, and 0 · nan is nan: replaced before and after.
    modulus = jnp.sqrt(jnp.where(usual, square, 1.0))
    scale = relu(modulus + b, "modulus") * (1.0 / modulus)
    scale = jnp.where(usual, scale, (square > 1.0).astype(square.dtype))
    return lax.complex(z.real * scale, z.imag * scale)
