"""The matrix product of a seam, and the two products of its backward pass.

A complex product is computed as one product of real matrices, which takes half the time
on a CPU.
"""

from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_derivatives import SymbolicZero
from jaxtyping import Array


Form = Literal["dense", "block", "diagonal"]


def apply_kernel(value: Array, kernel: Array, form: Form) -> Array:
    """The product of a seam over the last axis of `value`.

    ``dense``: ``v (…, m) @ K (m, n)``; ``block``: K is ``(g, m/g, n/g)``, with one
    product per block; ``diagonal``: K is ``(n,)`` and the product is elementwise.
    """
    if form == "diagonal":
        return value * jnp.reshape(kernel, (1,) * (value.ndim - 1) + kernel.shape)
    if form == "block":
        blocks = jnp.reshape(value, value.shape[:-1] + kernel.shape[:2])
        out = jnp.einsum("...gi,gij->...gj", blocks, kernel)
        return jnp.reshape(out, (*value.shape[:-1], -1))
    # flattened to a matrix: the kernel's gradient is then one product, no transposition
    rows = jnp.reshape(value, (-1, value.shape[-1]))
    if jnp.iscomplexobj(kernel):
        out = from_reals(as_reals(rows) @ real_form(kernel))
    else:
        out = rows @ kernel
    return jnp.reshape(out, (*value.shape[:-1], kernel.shape[-1]))


def as_reals(x: Array) -> Array:
    """[Re x, Im x] along the last axis, ``(…, 2n)``."""
    return jnp.concatenate([x.real, x.imag], axis=-1)


def from_reals(x: Array) -> Array:
    """The inverse of `as_reals`."""
    return lax.complex(*jnp.split(x, 2, axis=-1))


def real_form(kernel: Array) -> Array:
    """The real matrix ``(2m, 2n)`` that acts on `as_reals` as the kernel does on `v`.

    XLA hoists it out of a loop, so it is formed only once.
    """
    re, im = kernel.real, kernel.imag
    return jnp.block([[re, im], [-im, re]])


@partial(jax.custom_jvp, nondiff_argnums=(4,))
def recall(
    value: Array, kernel: Array, output: Array, transposed: Array | None, form: Form
) -> Array:
    """`apply_kernel` with a known result, for its derivatives without the product.

    With the `transposed` kernel of a dense seam, the backward pass needs no change of
    memory layout; with the kernel itself, XLA would rearrange it again at each step.
    """
    return output


def _recall_jvp(form: Form, primals: Any, tangents: Any) -> tuple[Array, Array]:
    value, kernel, output, transposed = primals
    d_value, d_kernel, *_ = tangents  # the other arguments depend on these two
    parts = []
    if not isinstance(d_value, SymbolicZero):
        if transposed is None:
            parts.append(apply_kernel(d_value, kernel, form))
        else:
            parts.append(_apply_transposed(d_value, transposed))
    if not isinstance(d_kernel, SymbolicZero):
        parts.append(apply_kernel(value, d_kernel, form))
    return output, sum(parts[1:], parts[0]) if parts else jnp.zeros_like(output)


def _apply_transposed(value: Array, transposed: Array) -> Array:
    along = (((value.ndim - 1,), (1,)), ((), ()))
    if not jnp.iscomplexobj(transposed):
        return lax.dot_general(value, transposed, along)
    # the transposed real form of K is the real form of K's adjoint
    adjoint = real_form(transposed.conj())
    return from_reals(lax.dot_general(as_reals(value), adjoint, along))


recall.defjvp(_recall_jvp, symbolic_zeros=True)


def kernel_gradient(value: Array, delta: Array, kernel: Array, form: Form) -> Array:
    """Σ_t v_tᵀ δ_t over all leading axes: the kernel gradient of a seam.

    Computed once, after the loop. `kernel` only determines shape and dtype; for a real
    kernel applied to complex data the result is the real part.
    """
    axes = tuple(range(delta.ndim - 1))
    if form == "diagonal":
        gradient = jnp.sum(value * delta, axis=axes)
    elif form == "block":
        groups = kernel.shape[0]
        v = jnp.reshape(value, (*value.shape[:-1], groups, -1))
        d = jnp.reshape(delta, (*delta.shape[:-1], groups, -1))
        gradient = jnp.einsum("...gi,...gj->gij", v, d)
    elif jnp.iscomplexobj(delta):
        parts = lax.dot_general(
            as_reals(value), as_reals(delta), ((axes, axes), ((), ()))
        )
        (rr, ri), (ir, ii) = (jnp.split(p, 2, -1) for p in jnp.split(parts, 2))
        gradient = lax.complex(rr - ii, ri + ir)
    else:
        gradient = lax.dot_general(value, delta, ((axes, axes), ((), ())))
    return gradient if jnp.iscomplexobj(kernel) else gradient.real
