"""Linear recurrences h_t = A_t h_{t−1} + b_t, all steps at once.

Two successive steps compose to one of the same form, (A_2 A_1, A_2 b_1 + b_2), and this
composition is associative, so `lax.associative_scan` needs ⌈log₂ T⌉ rounds instead of T
steps (Blelloch 1990, "Prefix sums and their applications"). A_t is a diagonal
``(T, B, n)`` or a matrix ``(T, B, n, n)``.

Logarithms are not needed for diagonals. If a product of them underflows to 0, the true
term is below the rounding of the sum anyway, and no term grows as long as |A| ≤ 1.
Heinsen's scan in log space (2023) has no better error bound and needs b > 0 or complex
numbers.
"""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Inexact


Factors = Inexact[Array, "T B n"] | Inexact[Array, "T B n n"]


def linear_scan(
    factors: Factors, inputs: Inexact[Array, "T B n"]
) -> Inexact[Array, "T B n"]:
    """All h_t of h_t = A_t h_{t−1} + b_t from h_{−1} = 0; A_0 is not used.

    >>> factors = jnp.full((3, 1, 1), 0.5)
    >>> linear_scan(factors, jnp.ones((3, 1, 1))).ravel().tolist()
    [1.0, 1.5, 1.75]
    """
    return lax.associative_scan(_after, (factors, inputs))[1]


def linear_adjoint(
    factors: Factors, cotangent: Inexact[Array, "T B n"]
) -> Inexact[Array, "T B n"]:
    """The transpose of `linear_scan` in its inputs: λ_t = g_t + A_{t+1}ᵀ λ_{t+1}.

    λ_t is the total derivative with respect to h_t, along all paths, if `cotangent` g_t
    is that along the direct path only. A is transposed but not conjugated, in
    accordance with JAX's cotangents.
    """
    if factors.ndim > cotangent.ndim:
        factors = jnp.swapaxes(factors, -1, -2)
    later = jnp.concatenate([factors[1:], jnp.zeros_like(factors[:1])])
    return lax.associative_scan(_after, (later, cotangent), reverse=True)[1]


def _after(
    first: tuple[Array, Array], second: tuple[Array, Array]
) -> tuple[Array, Array]:
    """`second` after `first`, each an affine map (A, b)."""
    (A, b), (C, d) = first, second
    if A.ndim == b.ndim:
        return C * A, C * b + d
    product = jnp.matmul(C, A, precision="highest")
    return product, jnp.matmul(C, b[..., None], precision="highest")[..., 0] + d
