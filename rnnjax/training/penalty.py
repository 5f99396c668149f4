"""What a penalty adds to the gradient of the loss; its numbers are arrays."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jax import lax
from jaxtyping import Array, Float, Int

from rnnjax.remedies.omega import Omega
from rnnjax.training.config import PenaltyConfig


@dataclasses.dataclass(frozen=True)
class Penalty:
    """The part of a penalty that the compiled code depends on.

    Attributes:
        name: `none`, `omega` or `flossing`.
        exponents, window: of flossing.
    """

    name: str
    exponents: int | None
    window: int | None


@struct.dataclass
class Strength:
    """The numbers of a penalty; see `rnnjax.training.config.PenaltyConfig`."""

    weight: Float[Array, ""]
    alone: Int[Array, ""]
    until: Int[Array, ""]


def build_penalty(config: PenaltyConfig) -> Penalty:
    """The static part of a configuration."""
    return Penalty(config.name, config.exponents, config.window)


def build_strength(config: PenaltyConfig) -> Strength:
    """The numbers of a configuration as scalars."""
    never = jnp.iinfo(jnp.int32).max
    until = never if config.until is None else config.until
    return Strength(
        jnp.asarray(config.weight, float),
        jnp.asarray(config.alone, jnp.int32),
        jnp.asarray(until, jnp.int32),
    )


def with_omega(gradient: Any, strength: Strength, found: Omega) -> Any:
    """∂L/∂θ + α ∂⁺Ω/∂θ; no step that counts leaves ∂L/∂θ."""
    scale = strength.weight / jnp.maximum(found.count, 1.0)
    return jax.tree.map(lambda g, d: g + scale * d, gradient, found.gradient)


def with_flossing(
    gradient: Any,
    strength: Strength,
    step: Int[Array, ""],
    slope: Callable[[], Any],
) -> Any:
    """∂L/∂θ + w ∂Λ/∂θ; in the first updates ∂Λ/∂θ alone, after the last ∂L/∂θ alone.

    Args:
        gradient: of the loss.
        strength: when, and how much.
        step: number of the update.
        slope: gives ∂Λ/∂θ; called where it is needed alone.
    """
    nothing = lambda: jax.tree.map(jnp.zeros_like, gradient)
    push = lax.cond(step < strength.until, slope, nothing)

    def together(g: Array, d: Array) -> Array:
        return jnp.where(step < strength.alone, 0.0, g) + strength.weight * d

    return jax.tree.map(together, gradient, push)
