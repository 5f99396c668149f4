"""What each time step contributes to the gradient of each kernel.

The gradient of a kernel is a sum over time, G = Σ_t G_t with G_t = Σ_b v_{t,b} δ_{t,b}ᵀ
in the layout ``(in, out)`` in which kernels are stored, summed over all uses of the
kernel. For a kernel that is computed from free parameters (exp(A − Aᵀ), U − Uᵀ, a
weight norm) this is the gradient of the *effective* kernel; the gradients of free
parameters, of biases and of everything else that is not a kernel are in
`to_other_parameters`. For a real kernel applied to complex data it is the real part.
"""

from collections.abc import Sequence
from typing import Literal

import jax
import jax.numpy as jnp
from flax import struct
from jax import lax
from jaxtyping import Array, Float

from rnnjax.cells.products import Form, kernel_gradient
from rnnjax.probes.backward.trace import Trace
from rnnjax.probes.backward.walk import Use
from rnnjax.probes.contributions.first_update import SIGN, FirstUpdate
from rnnjax.recurrence import scaled
from rnnjax.recurrence.scaled import NO_EXPONENT, Scaled


@struct.dataclass
class Uses:
    """A kernel and all of its uses.

    Attributes:
        weight: the effective kernel.
        uses: its uses, ``(T, B, ·)``.
        name: such as `layer0/U`.
    """

    weight: Array
    uses: tuple[Use, ...]
    name: str = struct.field(pytree_node=False)


@struct.dataclass
class Contribution:
    """The contributions of all time steps to one kernel, each ``(T,)``.

    Attributes:
        log10_norm: log10 ‖G_t‖ (Frobenius); −inf where a step contributes nothing.
        norm_share: ‖G_t‖ / Σ_s ‖G_s‖.
        signed_share: ⟨G_t, G⟩ / ‖G‖², which sums to 1; negative for a step that works
            against the others. NaN where G is exactly zero.
        log10_gradient: log10 ‖G‖, scalar.
    """

    log10_norm: Float[Array, "T"]
    norm_share: Float[Array, "T"]
    signed_share: Float[Array, "T"]
    log10_gradient: Float[Array, ""]


@struct.dataclass
class Product:
    """A use with `value` and `delta` scaled below 1, and an exponent ``(T, B)``."""

    value: Array
    delta: Array
    exponent: Array
    form: Form | Literal["rows"] = struct.field(pytree_node=False)


def kernels(trace: Trace) -> tuple[Uses, ...]:
    """Every kernel of a model with its uses: the embedding, then layer by layer."""
    found: list[Uses] = []
    for lookup in trace.lookups:
        found.append(Uses(lookup.table, (lookup.use,), lookup.name))
    for walk in trace.walks:
        for name, weight in walk.kernels.items():
            uses = tuple(use for use in walk.uses if use.kernel == name)
            found.append(Uses(weight, uses, f"{walk.name}/{name}"))
    return tuple(found)


def contribution(kernel: Uses) -> Contribution:
    """Norms and shares of every step, for the gradient summed over the batch.

    Costs about as much as two gradients of the kernel, with temporary memory of the
    size of one kernel: G_t is formed step by step and never stacked.
    """
    log10 = step_norms(kernel)
    whole = scaled.log10_norm(gradient(kernel))
    return Contribution(log10, norm_share(log10), signed_share(kernel), whole)


def norm_share(log10_norms: Float[Array, "T"]) -> Float[Array, "T"]:
    """‖G_t‖ / Σ_s ‖G_s‖ from log10 ‖G_t‖; NaN where all are exactly zero."""
    top = jnp.max(log10_norms)
    known = jnp.isfinite(top)
    ratio = 10.0 ** (log10_norms - jnp.where(known, top, jnp.zeros_like(top)))
    return jnp.where(known, ratio / jnp.sum(ratio), jnp.nan)


def sentence_shares(kernel: Uses, sentences: int) -> Float[Array, "T sentences"]:
    """Signed shares within the individual gradient of each of the first examples.

    Equals Σ_s (δ_t·δ_s)(v_t·v_s) divided by its sum over t (the Gram form), evaluated
    as v_t G δ_tᵀ so that the cost is linear in T. Zero on padding; NaN where the
    gradient of the example is zero.
    """
    some = jax.tree.map(lambda x: x[:, :sentences], kernel.uses)

    def alone(uses: tuple[Use, ...]) -> Array:
        one = jax.tree.map(lambda x: x[:, None], uses)
        return signed_share(Uses(kernel.weight, one, kernel.name))

    return jax.vmap(alone, in_axes=1, out_axes=1)(some)


def gradient(kernel: Uses) -> Scaled:
    """G, the gradient of the kernel summed over steps and examples."""
    return sum_products(kernel_products(kernel), kernel.weight)


def step_norms(kernel: Uses) -> Float[Array, "T"]:
    """log10 ‖G_t‖ of every step."""

    def one(products: list[Product]) -> Array:
        return scaled.log10_norm(sum_products(products, kernel.weight))

    return lax.map(one, kernel_products(kernel))


def signed_share(kernel: Uses, scale: Array | None = None) -> Float[Array, "T"]:
    """⟨G_t, P G⟩ / Σ_s ⟨G_s, P G⟩, whose denominator is ‖G‖² where P = 1.

    Args:
        kernel: the kernel.
        scale: the diagonal of P, of the shape of the kernel. With Adam's 1 / (√v̂ + ε)
            the result is the *preconditioned share*: the part of the update that a step
            accounts for if the moments of the optimizer are held fixed.
    """
    products = kernel_products(kernel)
    total = sum_products(products, kernel.weight)
    if scale is not None:
        total = scaled.normalise(Scaled(total.mantissa * scale, total.exponent))
    return _share_along(products, total)


def first_update_share(kernel: Uses, rule: FirstUpdate = SIGN) -> Float[Array, "T"]:
    """⟨G_t, P G⟩ / ⟨G, P G⟩: the preconditioned share of an optimizer's first update.

    Args:
        kernel: the kernel.
        rule: P; by default 1 / |G|, so that P G is the sign of G.
    """
    products = kernel_products(kernel)
    total = sum_products(products, kernel.weight)
    return _share_along(products, rule.direction(total))


def _share_along(products: Sequence[Product], direction: Scaled) -> Float[Array, "T"]:
    """⟨G_t, D⟩ / Σ_s ⟨G_s, D⟩; NaN where D is exactly zero."""
    aligned = [_align(product, direction) for product in products]
    parts = jnp.sum(jnp.stack(aligned), axis=(0, 2))
    empty = direction.exponent == NO_EXPONENT
    return parts / jnp.where(empty, jnp.nan, jnp.sum(parts))


def kernel_products(kernel: Uses) -> list[Product]:
    return [_product(use) for use in kernel.uses]


def _product(use: Use) -> Product:
    delta = scaled.normalise(use.delta)
    if use.form == "rows":
        return Product(use.value, delta.mantissa, delta.exponent, use.form)
    value = scaled.lift(use.value, 2)
    exponent = jnp.maximum(value.exponent + delta.exponent, NO_EXPONENT)
    return Product(value.mantissa, delta.mantissa, exponent, use.form)


def sum_products(products: Sequence[Product], weight: Array) -> Scaled:
    """Σ v δᵀ over all leading axes of all products, at their largest exponent."""
    top = jnp.max(jnp.stack([product.exponent for product in products]))
    parts = []
    for p in products:
        delta = scaled.shift(p.delta, p.exponent - top)
        if p.form == "rows":
            parts.append(jnp.zeros_like(weight).at[p.value].add(delta))
        else:
            with jax.default_matmul_precision("highest"):
                parts.append(kernel_gradient(p.value, delta, weight, p.form))
    return scaled.normalise(Scaled(sum(parts[1:], parts[0]), top))


def through(product: Product, direction: Array) -> Array:
    """v D̄ for a direction D of the shape of the kernel: ⟨v δᵀ, D⟩ = Re v D̄ · δ."""
    value, d = product.value, jnp.conj(direction)
    with jax.default_matmul_precision("highest"):
        if product.form == "rows":
            return d[value]
        if product.form == "diagonal":
            return value * jnp.reshape(d, (1,) * (value.ndim - 1) + d.shape)
        if product.form == "block":
            blocks = jnp.reshape(value, value.shape[:-1] + d.shape[:2])
            found = jnp.einsum("...gi,gij->...gj", blocks, d)
            return jnp.reshape(found, product.delta.shape)
        return value @ d


def _align(product: Product, total: Scaled) -> Float[Array, "T B"]:
    """⟨v δᵀ, G⟩ of each step and example, in units of 4^(exponent of G)."""
    dots = jnp.sum(through(product, total.mantissa) * product.delta, axis=-1).real
    return scaled.shift(dots, product.exponent - total.exponent)
