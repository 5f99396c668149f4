"""Arrays with separate exponents: mantissa × 2^k, with one k per example.

Over 100 steps a sigmoid network passes on 10⁻⁶⁵ of the loss gradient, while the
smallest float32 is 10⁻⁴⁵. Multiplication by a power of two is exact, so a mantissa near
1 with an integer exponent is as accurate as ordinary arithmetic without underflow.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from rnnjax.types import wide_type


NO_EXPONENT = -(2**30)
"""The exponent of an exact zero: any other exponent is larger."""

LOG10_2 = float(np.log10(2.0))

WORDS = {16: jnp.int16, 32: jnp.int32, 64: jnp.int64}
"""The integer type with the same number of bits as a float."""


def wide(x: Any) -> Any:
    """The array, converted to float32 if it has 16 bits (`rnnjax.types.wide_type`)."""
    return x.astype(wide_type(x.dtype))


@struct.dataclass
class Scaled:
    """A pytree of arrays ``(*batch, …)`` times 2^`exponent`, exponent ``(*batch,)``."""

    mantissa: Any
    exponent: Int[Array, "*batch"]


def _expand(vector: Array, like: Array) -> Array:
    return jnp.reshape(vector, vector.shape + (1,) * (like.ndim - vector.ndim))


def power_of_two(exponent: Array, dtype: Any) -> Array:
    """2^exponent, exactly; 0 below the smallest normal number.

    Set directly in the bits of the number: `jnp.ldexp` compiles to far more code.
    """
    limit = jnp.finfo(dtype)
    biased = jnp.clip(exponent, limit.minexp - 1, limit.maxexp - 1) - (limit.minexp - 1)
    bits = biased.astype(WORDS[limit.bits]) << limit.nmant
    return lax.bitcast_convert_type(bits, limit.dtype)


def exponent_of(x: Array) -> Array:
    """The e with |x| in [½, 1) · 2^e; `minexp` for subnormal numbers."""
    limit = jnp.finfo(x.dtype)
    biased = lax.bitcast_convert_type(jnp.abs(x), WORDS[limit.bits]) >> limit.nmant
    return biased.astype(jnp.int32) + limit.minexp


def shift(tree: Any, exponent: Array) -> Any:
    """Every array of `tree` times 2^exponent, one exponent per leading index."""

    def one(x: Array) -> Array:
        return x * _expand(power_of_two(exponent, x.dtype), x)

    return jax.tree.map(one, tree)


def largest(tree: Any, batch_axes: int) -> Float[Array, "*batch"]:
    """Largest absolute entry over all arrays of `tree`, for each example."""

    def one(x: Array) -> Array:
        # no complex modulus: a scale does not need the square root
        parts = [jnp.abs(x.real), jnp.abs(x.imag)] if jnp.iscomplexobj(x) else [x]
        axes = tuple(range(batch_axes, x.ndim))
        tops = [jnp.max(jnp.abs(part), axis=axes) for part in parts]
        return jnp.maximum(*tops) if len(tops) == 2 else tops[0]

    tops = [one(x) for x in jax.tree.leaves(tree)]
    top = tops[0]
    for other in tops[1:]:
        top = jnp.maximum(top, other)
    return top


def holds_nan(tree: Any, batch_axes: int) -> Bool[Array, "*batch"]:
    """Whether any entry of `tree` is NaN, for each example."""
    return jnp.isnan(largest(tree, batch_axes))


def undefined(tree: Any, where: Bool[Array, "*batch"]) -> Any:
    """`tree` with NaN for the examples for which `where` holds."""
    return jax.tree.map(lambda x: jnp.where(_expand(where, x), jnp.nan, x), tree)


def normalise(value: Scaled) -> Scaled:
    """The same number with a mantissa whose largest entry lies in [½, 1).

    A mantissa that contains NaN or inf is not changed.
    """
    top = largest(value.mantissa, value.exponent.ndim)
    usable = jnp.isfinite(top) & (top > 0)
    limit = jnp.finfo(top.dtype)
    # 2^(−e) must itself be a normal number
    e = jnp.clip(exponent_of(top), limit.minexp, -limit.minexp)
    e = jnp.where(usable, e, jnp.zeros_like(e))
    exponent = jnp.where(top == 0, NO_EXPONENT, value.exponent + e)
    # NaN may come from a product with an exact zero, but is not a zero itself
    exponent = jnp.where(jnp.isnan(top), jnp.zeros_like(exponent), exponent)
    return Scaled(shift(value.mantissa, -e), exponent.astype(jnp.int32))


def add(a: Scaled, b: Scaled) -> Scaled:
    """The sum; the smaller one is shifted to the exponent of the larger."""
    top = jnp.maximum(a.exponent, b.exponent)
    left = shift(a.mantissa, a.exponent - top)
    right = shift(b.mantissa, b.exponent - top)
    return Scaled(jax.tree.map(jnp.add, left, right), top)


def lift(tree: Any, batch_axes: int) -> Scaled:
    """An ordinary pytree as a `Scaled` one with `batch_axes` leading batch axes."""
    shape = jax.tree.leaves(tree)[0].shape[:batch_axes]
    return normalise(Scaled(tree, jnp.zeros(shape, jnp.int32)))


def log10_norm(value: Scaled) -> Float[Array, "*batch"]:
    """log10 of the Euclidean norm over all arrays jointly.

    −inf only for exact zeros; NaN if any entry is NaN, inf if the mantissa itself is
    infinite.
    """
    axes = value.exponent.ndim
    scaled = normalise(value)
    squares = [
        jnp.sum(jnp.square(jnp.abs(wide(x))), axis=tuple(range(axes, x.ndim)))
        for x in jax.tree.leaves(scaled.mantissa)
    ]
    total = sum(squares[1:], squares[0])
    zero = total == 0
    log = 0.5 * jnp.log10(jnp.where(zero, jnp.ones_like(total), total))
    exponent = scaled.exponent.astype(log.dtype) * LOG10_2
    return jnp.where(zero, -jnp.inf, log + exponent)


def around(
    adjoint: Any, state: Any, valid: Bool[Array, "B"] | None, back: Any, met: Any
) -> tuple[Any, Any]:
    """Correct the cotangents of one step for zeros and NaN.

    The derivative at a state that is NaN is NaN, even if a slope of 0 or a `select` has
    removed the NaN: a ReLU passes 0 back at NaN, and an exploded network would look
    like a dead one. Conversely, an adjoint that is exactly zero gives zero cotangents,
    whatever the step.

    Args:
        adjoint: adjoint of the state after the step, ``(B, n)`` per array.
        state: that state.
        valid: False on padding; None: no padding.
        back: cotangents of the state before the step.
        met: cotangents of all other inputs of the step; zero on padding.
    """
    some = largest(adjoint, 1) != 0
    real = jnp.ones_like(some) if valid is None else valid
    lost = some & real & holds_nan(state, 1)

    def one(tree: Any, kept: Array) -> Any:
        return jax.tree.map(
            lambda x: jnp.where(_expand(kept, x), x, jnp.zeros_like(x)),
            undefined(tree, lost),
        )

    return one(back, some), one(met, some & real)


def common_exponent(value: Scaled) -> tuple[Any, Int[Array, "..."]]:
    """Mantissas shifted to the largest exponent along the last batch axis.

    Returns the shifted pytree and that exponent, without the last batch axis. Needed
    for a sum over the examples of one time step.
    """
    top = jnp.max(value.exponent, axis=-1)
    return shift(value.mantissa, value.exponent - top[..., None]), top
