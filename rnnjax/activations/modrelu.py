"""modReLU, the only activation that acts on complex numbers as a whole."""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Inexact

from rnnjax.activations.functions import relu


def modrelu(z: Inexact[Array, "..."], b: Float[Array, "..."]) -> Inexact[Array, "..."]:
    """ReLU(|z| + b) · z / |z|: shifts and rectifies the modulus, keeps the phase.

    Value and gradients are 0 at z = 0. A complex z whose |z|² underflows (a modulus
    below about 1e-19 in float32) is also treated as 0; where |z|² overflows, b is
    negligible and z itself is returned. Recorded as the ReLU of |z| + b.

    Args:
        z: real or complex, ``(…, n)``.
        b: real, broadcastable to the shape of `z`, usually ``(n,)``.

    Source: Arjovsky, Shah, Bengio 2016, Unitary Evolution Recurrent Neural Networks.

    >>> print(modrelu(jnp.array([3 + 4j, 0.3 + 0.4j]), jnp.array(-1.0)))
    [2.4+3.2j 0. +0.j ]
    """
    b = jnp.broadcast_to(b, z.shape)
    if not jnp.iscomplexobj(z):
        return jnp.sign(z) * relu(jnp.abs(z) + b, "modulus")
    # from the square, because XLA's complex modulus is several times slower
    square = jnp.square(z.real) + jnp.square(z.imag)
    usual = (square > jnp.finfo(z.dtype).tiny) & (square < jnp.inf)
    # The root is not differentiable at 0, and 0 · nan is nan: hence a `where` before
    # and one after.
    modulus = jnp.sqrt(jnp.where(usual, square, 1.0))
    scale = relu(modulus + b, "modulus") * (1.0 / modulus)
    scale = jnp.where(usual, scale, (square > 1.0).astype(square.dtype))
    return lax.complex(z.real * scale, z.imag * scale)
