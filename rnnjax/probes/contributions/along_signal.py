"""The noise of a gradient along the direction of a signal.

S_{t,b} is what the label of example b adds to the contribution of step t (`labels`),
E S_t its mean over examples, u = E S_t / ‖E S_t‖ and G_b the gradient of example b.
Most of the noise of an update is orthogonal to what is to be learned. What lies along
it is decided by the projections ⟨G_b, u⟩:

    N*_projected = Var_b ⟨G_b, u⟩ / ‖E S_t‖²

examples are needed for the signal to exceed the noise along its own direction, at most
as many as tr Cov(G) / ‖E S_t‖² (`signal`).

The two parts are estimated from different examples: u from one half of them and the
variance over the other half, then with the halves exchanged, and the two variances are
averaged. Otherwise u would also point to where its own examples happen to lie. For a u
from other examples, the estimate of uᵀ Cov(G) u has no bias.
"""

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from rnnjax.probes.contributions.pairs import PairSums
from rnnjax.probes.contributions.to_kernels import (
    Uses,
    gradient,
    kernel_products,
    through,
)
from rnnjax.recurrence import scaled
from rnnjax.recurrence.scaled import Scaled


def direction(kernels: Sequence[Uses]) -> list[Array]:
    """u, the sum over steps and examples of some kernels divided by its joint norm.

    One array of the shape of each kernel; zeros where all of them are exactly zero.
    """
    totals = [gradient(kernel) for kernel in kernels]
    top = jnp.max(jnp.stack([total.exponent for total in totals]))
    parts = [scaled.shift(x.mantissa, x.exponent - top) for x in totals]
    size = jnp.sqrt(sum(jnp.sum(jnp.square(jnp.abs(part))) for part in parts))
    return [part / jnp.where(size > 0, size, 1.0) for part in parts]


def projections(kernels: Sequence[Uses], along: Sequence[Array]) -> Scaled:
    """⟨G_b, u⟩ over several kernels taken as one, of every example ``(B,)``.

    Args:
        kernels: kernels with their uses at all steps.
        along: u, one array for each kernel.

    Returns:
        ``(B,)``, with one exponent for all examples.
    """
    dots, exponents = [], []
    for kernel, own in zip(kernels, along, strict=True):
        for product in kernel_products(kernel):
            dots.append(jnp.sum(through(product, own) * product.delta, axis=-1).real)
            exponents.append(product.exponent)
    top = jnp.max(jnp.stack(exponents))
    parts = [
        jnp.sum(scaled.shift(dot, exponent - top), axis=0)
        for dot, exponent in zip(dots, exponents, strict=True)
    ]
    return Scaled(sum(parts[1:], parts[0]), top)


def log10_noise_along(
    whole: Sequence[Uses], signal: Sequence[Uses]
) -> Float[Array, ""]:
    """log10 of Var_b ⟨G_b, u⟩, with u from the signal of other examples.

    Args:
        whole: all contributions to some kernels, which are taken as one parameter.
        signal: what the labels add at the steps in question (`parted_losses`), to the
            same kernels and for the same examples, of which there are at least four.

    Returns:
        −inf if every projection is the same.
    """
    found = []
    for here, there in ((0, 1), (1, 0)):
        along = direction([_half(kernel, here) for kernel in signal])
        dots = projections([_half(kernel, there) for kernel in whole], along)
        variance = jnp.var(dots.mantissa, ddof=1)
        log10 = jnp.log10(jnp.where(variance > 0, variance, 1.0))
        log10 = log10 + 2 * scaled.LOG10_2 * dots.exponent
        found.append(jnp.where(variance > 0, log10, -jnp.inf))
    both = jnp.stack(found)
    top = jnp.max(both)
    top = jnp.where(jnp.isfinite(top), top, 0.0)
    return top + jnp.log10(jnp.mean(10.0 ** (both - top)))


def log10_projected_examples(
    log10_noise: float, signal: PairSums, examples: int
) -> Float[np.ndarray, "T"]:
    """log10 of N*_projected = Var_b ⟨G_b, u⟩ / ‖E S_t‖²; inf: no signal was seen.

    Args:
        log10_noise: see `log10_noise_along`.
        signal: inner products of S_t, whose pairs of different examples give ‖E S_t‖².
        examples: number of examples.
    """
    pairs = np.sum(signal.at_step, axis=(1, 2), dtype=float)
    pairs = pairs - np.sum(signal.own_at_step, axis=1, dtype=float)
    seen = pairs > 0
    square = np.log10(np.where(seen, pairs, 1.0) / (examples * (examples - 1)))
    square = square + 2 * scaled.LOG10_2 * np.asarray(signal.step_exponent, float)
    return np.where(seen, log10_noise - square, np.inf)


def _half(kernel: Uses, which: int) -> Uses:
    """The uses of every second example."""
    some = jax.tree.map(lambda x: x[:, which::2], kernel.uses)
    return dataclasses.replace(kernel, uses=some)
