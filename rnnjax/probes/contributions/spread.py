"""How the gradient of a kernel is spread over time, and how sure it is."""

import dataclasses

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from rnnjax.probes.backward.walk import Use
from rnnjax.probes.contributions.to_kernels import (
    Product,
    Uses,
    gradient,
    kernel_products,
    step_norms,
    sum_products,
)
from rnnjax.recurrence import scaled
from rnnjax.recurrence.scaled import Scaled


def held_by_last(
    norm_share: Float[Array, "T"], fraction: float = 0.9
) -> Float[Array, ""]:
    """k₉₀: the least number of last steps that hold 90 % of Σ‖G_t‖; NaN without shares.

    >>> int(held_by_last(jnp.array([0.02, 0.03, 0.05, 0.4, 0.5])))
    2
    """
    held = jnp.cumsum(jnp.flip(norm_share))
    # steps of padding give nothing and would count as last
    padding = jnp.argmax(jnp.flip(norm_share) > 0)
    steps = jnp.argmax(held >= fraction - 1e-6) + 1 - padding
    return jnp.where(jnp.isnan(held[-1]), jnp.nan, steps.astype(held.dtype))


def cancellation(kernel: Uses) -> Float[Array, ""]:
    """‖Σ_t G_t‖ / Σ_t ‖G_t‖: 1 where all steps pull one way, 0 where they cancel."""
    log10 = step_norms(kernel)
    top = jnp.max(log10)
    known = jnp.isfinite(top)
    top = jnp.where(known, top, jnp.zeros_like(top))
    sizes = jnp.sum(10.0 ** (log10 - top))
    whole = 10.0 ** (scaled.log10_norm(gradient(kernel)) - top)
    return jnp.where(known, whole / sizes, jnp.nan)


def signal_to_noise(kernel: Uses) -> Float[Array, "T"]:
    """‖Ḡ_t‖² / tr Cov_b(G_{t,b}): is what a step gives common to all examples?

    G_{t,b} is what example b gives at step t, Ḡ_t its mean over the batch, and tr Cov
    its variance summed over the entries, Σ_b ‖G_{t,b} − Ḡ_t‖² / (B − 1). Where nothing
    is common the expected value is about 1/B. Steps, not lags: bring ragged examples to
    one lag with `by_lag` first. NaN where no example gives anything, and for B = 1.

    Costs about two gradients of the kernel. Deviations are formed one by one in the
    scratch of a kernel: the shorter Gram form cancels in float32.
    """
    products = kernel_products(kernel)
    batch = products[0].exponent.shape[-1]

    def one(now: list[Product]) -> Array:
        top = jnp.max(jnp.stack([p.exponent for p in now]))

        def summed(some: list[Product]) -> Array:
            g = sum_products(some, kernel.weight)
            return scaled.shift(g.mantissa, g.exponent - top)

        mean = summed(now) / batch

        def deviation(b: Array) -> Array:
            alone = jax.tree.map(lambda x: jnp.take(x, b[None], axis=0), now)
            return jnp.sum(jnp.square(jnp.abs(summed(alone) - mean)))

        noise = jnp.sum(lax.map(deviation, jnp.arange(batch))) / (batch - 1)
        signal = jnp.sum(jnp.square(jnp.abs(mean)))
        return jnp.where(noise > 0, signal / noise, jnp.nan)

    return lax.map(one, products)


def by_lag(kernel: Uses, last: Int[Array, "B"]) -> Uses:
    """The same uses, row l holding lag l, which is step s − l of an example.

    s is its last loss step; lags beyond its start give exactly zero.
    """

    def one(use: Use) -> Use:
        value, _ = at_lags(use.value, last)
        delta = scaled_by_lag(use.delta, last)
        return dataclasses.replace(use, value=value, delta=delta)

    return dataclasses.replace(kernel, uses=tuple(map(one, kernel.uses)))


def scaled_by_lag(x: Scaled, last: Int[Array, "B"]) -> Scaled:
    """Scaled arrays ``(T, B, ·)`` by lag, exactly zero beyond the start."""
    exponent, real = at_lags(x.exponent, last)

    def one(mantissa: Array) -> Array:
        taken = at_lags(mantissa, last)[0]
        return jnp.where(real[..., None], taken, jnp.zeros_like(taken))

    mantissa = jax.tree.map(one, x.mantissa)
    return Scaled(mantissa, jnp.where(real, exponent, scaled.NO_EXPONENT))


def at_lags(x: Array, last: Int[Array, "B"]) -> tuple[Array, Bool[Array, "T B"]]:
    """Row l of ``(T, B, …)`` from step s − l of each example, and where it is real."""
    steps = last[None, :] - jnp.arange(x.shape[0])[:, None]
    taken = x[jnp.maximum(steps, 0), jnp.arange(last.shape[0])[None, :]]
    return taken, steps >= 0


def effective_rank(adjoint: Scaled) -> Float[Array, "T"]:
    """How many directions the adjoints of a batch still point in, row by row.

    Participation ratio (Σσ²)² / Σσ⁴ of the singular values of the batch of adjoints,
    each brought to length 1: between 1 (all examples send back one direction) and
    min(B, n). Sizes play no part, so that it tells whether the direction was lost or
    only the size. It needs no decomposition, Σσ⁴ being ‖Λ Λᴴ‖²; the exponential of the
    spectrum's entropy (Roy & Vetterli 2007) is the other usual definition and is at
    least as large. NaN where every adjoint is exactly zero. Costs B² n a row.

    Args:
        adjoint: ``(T, B, n)`` per state array; rows are steps, or lags after
            `scaled_by_lag`.
    """
    mantissa = scaled.normalise(adjoint).mantissa
    joint = jnp.concatenate(jax.tree.leaves(mantissa), axis=-1)
    size = jnp.sqrt(jnp.sum(jnp.square(jnp.abs(joint)), axis=-1, keepdims=True))
    unit = joint / jnp.where(size > 0, size, jnp.ones_like(size))
    with jax.default_matmul_precision("highest"):
        gram = jnp.einsum("tbn,tcn->tbc", unit, unit.conj())
    count = jnp.sum(size[..., 0] > 0, axis=-1)
    fourth = jnp.sum(jnp.square(jnp.abs(gram)), axis=(1, 2))
    return jnp.where(count > 0, count**2 / jnp.maximum(fourth, 1e-30), jnp.nan)
