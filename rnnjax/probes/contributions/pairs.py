"""Inner products between what different examples contribute to one gradient.

G_{t,b} is the contribution of step t of example b to the gradient of a parameter, and
G_b = Σ_t G_{t,b}. Whether examples agree is decided by ⟨G_{t,b}, G_{t,b'}⟩ and
⟨G_{t,b}, G_{b'}⟩ over pairs of different examples: the sums over all pairs, less those
of an example with itself. No array (T, B, parameters) is formed, since for a kernel
G_{t,b} = v δᵀ and ‖v δᵀ‖² = ‖v‖² ‖δ‖². Examples are dealt into groups and all sums are
kept by group, because `signal` estimates errors by leaving out one group after another.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jax import lax
from jaxtyping import Array, Float, Int

from rnnjax.probes.contributions.first_update import FirstUpdate
from rnnjax.probes.contributions.to_kernels import (
    Product,
    Uses,
    kernel_products,
    sum_products,
    through,
)
from rnnjax.recurrence import scaled
from rnnjax.recurrence.scaled import NO_EXPONENT


GROUPS = 16
"""Number of groups of examples."""


@struct.dataclass
class PairSums:
    """Inner products of sums over groups of examples, for one parameter.

    S_t^k is the sum of G_{t,b} over the examples b of group k, and S^k = Σ_t S_t^k.
    Entries are mantissas, with e_t = `step_exponent` and e = `exponent`.

    Attributes:
        at_step: ⟨S_t^k, S_t^l⟩ / 4^e_t.
        with_whole: ⟨S_t^k, S^l⟩ / 2^(e_t + e).
        own_at_step: Σ_b ‖G_{t,b}‖² / 4^e_t over the examples of group k.
        own_with_whole: Σ_b ⟨G_{t,b}, G_b⟩ / 2^(e_t + e) over the same examples.
        step_exponent, exponent: these exponents, `NO_EXPONENT` where all is zero.
    """

    at_step: Float[Array, "T K K"]
    with_whole: Float[Array, "T K K"]
    own_at_step: Float[Array, "T K"]
    own_with_whole: Float[Array, "T K"]
    step_exponent: Int[Array, "T"]
    exponent: Int[Array, ""]


def group_sizes(batch: int, groups: int = GROUPS) -> list[int]:
    """Number of examples in each group; example b belongs to group b mod K.

    >>> group_sizes(10, 4)
    [3, 3, 2, 2]
    """
    groups = min(groups, batch)
    return [len(range(k, batch, groups)) for k in range(groups)]


@struct.dataclass
class Metric:
    """A scale for each entry of a parameter: `scale` times 2^`exponent`."""

    scale: Array
    exponent: Int[Array, ""]


def metric_of(
    mean: Array, square: Array, exponent: Array, batch: int, rule: FirstUpdate
) -> Metric:
    """P of a rule, with E g² of the gradient g of a batch in the place of |G|².

    E g² = (E G_b)² + Var G_b / batch is what Adam and RMSprop average over updates. 0
    for entries that are always zero, if the rule adds nothing to the root.

    Args:
        mean, square: means over examples of the entries of G_b, and of their squares,
            in units of 2^exponent and 4^exponent.
        batch: the number of examples in g.
    """
    moment = jnp.square(mean) + jnp.maximum(square - jnp.square(mean), 0) / batch
    size = jnp.sqrt(moment)
    if rule.root or rule.beside:
        # scale all terms by the power of two with which none overflows
        size = size * scaled.power_of_two(jnp.minimum(exponent, 0), size.dtype)
        exponent = jnp.maximum(exponent, 0)
        unit = scaled.power_of_two(-exponent, size.dtype)
        size = jnp.hypot(size, jnp.full_like(size, rule.root) * unit)
        size = size + rule.beside * unit
    known = size > 0
    scale = jnp.where(known, 1 / jnp.where(known, size, 1.0), 0.0)
    return Metric(scale, -exponent)


def adaptive_metric(kernel: Uses, batch: int, rule: FirstUpdate) -> Metric:
    """`metric_of` a real kernel, from the gradients of its examples."""
    each = jax.tree.map(lambda x: jnp.swapaxes(x, 0, 1), kernel_products(kernel))
    top = jnp.max(jnp.stack([p.exponent for p in each]))

    def add(sums: Any, one: list[Product]) -> tuple[Any, None]:
        total = sum_products(one, kernel.weight)
        g = scaled.shift(total.mantissa, _above(total.exponent, top))
        return (sums[0] + g, sums[1] + jnp.square(g)), None

    zero = jnp.zeros_like(kernel.weight)
    (first, second), _ = lax.scan(add, (zero, zero), each)
    count = each[0].exponent.shape[0]
    return metric_of(first / count, second / count, top, batch, rule)


def pair_sums(
    kernel: Uses, groups: int = GROUPS, metric: Metric | None = None
) -> PairSums:
    """The inner products for a kernel, from all its uses.

    With a `metric`, of contributions times its scale, entry by entry. Costs about as
    much as five gradients of the kernel, and temporary memory of the size of twice
    `groups` kernels.
    """
    products = kernel_products(kernel)
    groups = len(group_sizes(products[0].exponent.shape[1], groups))
    dealt = [_dealt(product, groups) for product in products]

    # largest exponents of single contributions: a sum can be zero, these cannot
    step = jnp.max(jnp.stack([p.exponent for p in products]), axis=(0, 2))
    top = jnp.max(step)

    def sums(of: list[Product], exponent: Array) -> Array:
        each = jax.vmap(lambda own: sum_products(own, kernel.weight))(of)
        sums = scaled.shift(each.mantissa, _above(each.exponent, exponent))
        return sums if metric is None else sums * metric.scale[None]

    whole = sums(jax.tree.map(lambda x: jnp.swapaxes(x, 0, 1), dealt), top)

    def at(now: tuple[list[Product], Array]) -> tuple[Array, Array]:
        here = sums(*now)
        return _inner(here, here), _inner(here, whole)

    at_step, with_whole = lax.map(at, (dealt, step))
    own_at_step, own_with_whole = (
        jnp.sum(_groups_of(x, groups), axis=-1)
        for x in _own(products, kernel.weight, step, top, metric)
    )
    moved = 0 if metric is None else metric.exponent
    exponents = (jnp.maximum(x + moved, NO_EXPONENT) for x in (step, top))
    return PairSums(at_step, with_whole, own_at_step, own_with_whole, *exponents)


def _own(
    products: Sequence[Product],
    weight: Array,
    step: Array,
    top: Array,
    metric: Metric | None,
) -> tuple[Float[Array, "T B"], Float[Array, "T B"]]:
    """‖G_{t,b}‖² / 4^step and ⟨G_{t,b}, G_b⟩ / 2^(step + top)."""

    square = None if metric is None else jnp.square(metric.scale)

    def one(alone: list[Product]) -> tuple[Array, Array]:
        total = sum_products(alone, weight)
        along = total.mantissa if square is None else total.mantissa * square
        norms, dots = [], []
        for p in alone:
            here = _above(p.exponent, step)
            for q in alone:
                gram = _gram(p, q, weight, square)
                norms.append(scaled.shift(gram, here + _above(q.exponent, step)))
            dot = jnp.sum(through(p, along) * p.delta, axis=-1).real
            dots.append(scaled.shift(dot, here + _above(total.exponent, top)))
        return sum(norms[1:], norms[0]), sum(dots[1:], dots[0])

    each = jax.tree.map(lambda x: jnp.swapaxes(x, 0, 1), list(products))
    norms, dots = lax.map(one, each)
    return norms.T, dots.T


def _above(exponent: Array, base: Array) -> Array:
    """exponent − base, for sums of two of which int32 suffices."""
    return jnp.maximum(exponent - base, -(2**20))


def _gram(
    p: Product, q: Product, weight: Array, square: Array | None
) -> Float[Array, "T"]:
    """⟨v δᵀ, w εᵀ⟩ for two uses of a kernel at the same step of one example.

    With `square`, the squared scale of a metric: Σ_ij v_i w_i δ_j ε_j square_ij.
    """
    if square is not None:
        value = p.value if p.form == "rows" else p.value * q.value
        both = dataclasses.replace(p, value=value, delta=p.delta * q.delta)
        found = jnp.sum(through(both, square) * both.delta, axis=-1)
        same = p.value == q.value if p.form == "rows" else True
        return jnp.where(same, found, jnp.zeros_like(found))
    with jax.default_matmul_precision("highest"):
        if p.form == "rows":
            same = jnp.sum(p.delta * q.delta, axis=-1)
            return jnp.where(p.value == q.value, same, jnp.zeros_like(same))
        if p.form == "diagonal":
            one, other = p.value * p.delta, q.value * q.delta
            if not jnp.iscomplexobj(weight):
                one, other = one.real, other.real
            return jnp.sum(one * jnp.conj(other), axis=-1).real
        blocks = weight.shape[0] if p.form == "block" else 1
        v, w, d, e = (
            jnp.reshape(x, (x.shape[0], blocks, -1))
            for x in (p.value, q.value, p.delta, q.delta)
        )
        products = _dot(v, jnp.conj(w)) * _dot(d, jnp.conj(e))
        if jnp.iscomplexobj(products) and not jnp.iscomplexobj(weight):
            # the gradient is the real part of v δᵀ
            products = (products + _dot(v, w) * _dot(d, e)) / 2
        return jnp.sum(products.real, axis=-1)


def _dot(a: Array, b: Array) -> Array:
    return jnp.sum(a * b, axis=-1)


def _inner(a: Array, b: Array) -> Float[Array, "K K"]:
    """Inner products of arrays ``(K, …)``, as real vectors."""
    a, b = (jnp.reshape(x, (x.shape[0], -1)) for x in (a, b))
    with jax.default_matmul_precision("highest"):
        return (a @ jnp.conj(b).T).real


def _groups_of(x: Array, groups: int, fill: float = 0) -> Array:
    """``(T, B, …)`` as ``(T, K, B/K, …)``; missing examples are filled up."""
    missing = -x.shape[1] % groups
    widths = [(0, 0), (0, missing)] + [(0, 0)] * (x.ndim - 2)
    padded = jnp.pad(x, widths, constant_values=fill)
    rows = jnp.reshape(padded, (x.shape[0], -1, groups, *x.shape[2:]))
    return jnp.swapaxes(rows, 1, 2)


def _dealt(product: Product, groups: int) -> Product:
    return Product(
        _groups_of(product.value, groups),
        _groups_of(product.delta, groups),
        _groups_of(product.exponent, groups, NO_EXPONENT),
        product.form,
    )
