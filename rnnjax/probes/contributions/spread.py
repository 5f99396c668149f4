"""How the gradient of a kernel is spread over time, and how noisy it is."""

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
    """k₉₀: the smallest number of last steps whose ‖G_t‖ sum to 90 % of the total.

    NaN where the shares are NaN.

    >>> int(held_by_last(jnp.array([0.02, 0.03, 0.05, 0.4, 0.5])))
    2
    """
    held = jnp.cumsum(jnp.flip(norm_share))
    # padding contributes nothing, but would be counted among the last steps
    padding = jnp.argmax(jnp.flip(norm_share) > 0)
    steps = jnp.argmax(held >= fraction - 1e-6) + 1 - padding
    return jnp.where(jnp.isnan(held[-1]), jnp.nan, steps.astype(held.dtype))


def cancellation(kernel: Uses) -> Float[Array, ""]:
    """‖Σ_t G_t‖ / Σ_t ‖G_t‖: 1 if the G_t all point the same way, 0 if they cancel."""
    log10 = step_norms(kernel)
    top = jnp.max(log10)
    known = jnp.isfinite(top)
    top = jnp.where(known, top, jnp.zeros_like(top))
    sizes = jnp.sum(10.0 ** (log10 - top))
    whole = 10.0 ** (scaled.log10_norm(gradient(kernel)) - top)
    return jnp.where(known, whole / sizes, jnp.nan)


def signal_to_noise(kernel: Uses) -> Float[Array, "T"]:
    """‖Ḡ_t‖² / tr Cov_b(G_{t,b}): do the examples agree about what a step contributes?

    G_{t,b} is the contribution of example b at step t, Ḡ_t its mean over the batch, and
    tr Cov its variance summed over the entries, Σ_b ‖G_{t,b} − Ḡ_t‖² / (B − 1). If the
    contributions of the examples are unrelated, the expected value is about 1/B. Rows
    are steps, not lags: align examples of different length with `by_lag` first. NaN
    where no example contributes anything, and for B = 1.

    Costs about as much as two gradients of the kernel. The deviations are formed one at
    a time, in memory of the size of one kernel: the cheaper Gram form would cancel in
    float32.
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
    """The same uses indexed by lag: row l is step s − l of each example.

    s is the last loss step of the example; lags before its start are exactly zero.
    """

    def one(use: Use) -> Use:
        value, _ = at_lags(use.value, last)
        delta = scaled_by_lag(use.delta, last)
        return dataclasses.replace(use, value=value, delta=delta)

    return dataclasses.replace(kernel, uses=tuple(map(one, kernel.uses)))


def scaled_by_lag(x: Scaled, last: Int[Array, "B"]) -> Scaled:
    """Scaled arrays ``(T, B, ·)`` indexed by lag, exactly zero before the start."""
    exponent, real = at_lags(x.exponent, last)

    def one(mantissa: Array) -> Array:
        taken = at_lags(mantissa, last)[0]
        return jnp.where(real[..., None], taken, jnp.zeros_like(taken))

    mantissa = jax.tree.map(one, x.mantissa)
    return Scaled(mantissa, jnp.where(real, exponent, scaled.NO_EXPONENT))


def at_lags(x: Array, last: Int[Array, "B"]) -> tuple[Array, Bool[Array, "T B"]]:
    """``(T, B, …)`` by lag (row l is step s − l), and where that step exists."""
    steps = last[None, :] - jnp.arange(x.shape[0])[:, None]
    taken = x[jnp.maximum(steps, 0), jnp.arange(last.shape[0])[None, :]]
    return taken, steps >= 0


def effective_rank(adjoint: Scaled) -> Float[Array, "T"]:
    """The effective number of directions in a batch of adjoints, for each row.

    Participation ratio (Σσ²)² / Σσ⁴ of the singular values of the batch of adjoints,
    each normalised to length 1: between 1 (all examples send back the same direction)
    and min(B, n). Norms do not enter, so it shows whether the directions have been lost
    or only the size. No decomposition is needed, since Σσ⁴ = ‖Λ Λᴴ‖². The exponential
    of the entropy of the spectrum (Roy & Vetterli 2007) is the other common definition
    and is at least as large. NaN where every adjoint is exactly zero. Costs B² n per
    row.

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


def coherence(adjoint: Scaled) -> Float[Array, "T"]:
    """‖E_b λ_t‖² / E_b ‖λ_t‖²: do the examples send back the same adjoint?

    ‖E_b λ_t‖² is estimated from pairs of different examples, (‖Σ λ‖² − Σ ‖λ‖²) /
    (B (B − 1)): 1 if all are equal, about 0 (not 1/B) if they are unrelated, and then
    possibly negative. Norms and signs count, unlike in `effective_rank`: the adjoints
    of a loss cancel for labels of both kinds, those of an answer of the model do not.
    NaN where every adjoint is exactly zero.

    Args:
        adjoint: ``(T, B, n)`` per state array, B ≥ 2; rows are steps, or lags after
            `scaled_by_lag`.
    """
    mantissa, _ = scaled.common_exponent(scaled.normalise(adjoint))
    joint = jnp.concatenate(jax.tree.leaves(mantissa), axis=-1)
    batch = joint.shape[1]
    own = jnp.sum(jnp.square(jnp.abs(joint)), axis=(1, 2))
    whole = jnp.sum(jnp.square(jnp.abs(jnp.sum(joint, axis=1))), axis=-1)
    known = own > 0
    pairs = (whole - own) / (batch - 1)
    return jnp.where(known, pairs / jnp.where(known, own, 1.0), jnp.nan)
