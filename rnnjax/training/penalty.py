"""What a penalty adds to the gradient of the loss; its numbers are arrays."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float

from rnnjax.remedies.omega import Omega
from rnnjax.training.config import PenaltyConfig


@dataclasses.dataclass(frozen=True)
class Penalty:
    """The part of a penalty that the compiled code depends on.

    Attributes:
        name: `none`, `omega`.
    """

    name: str


@struct.dataclass
class Strength:
    """The numbers of a penalty; see `rnnjax.training.config.PenaltyConfig`."""

    weight: Float[Array, ""]


def build_penalty(config: PenaltyConfig) -> Penalty:
    """The static part of a configuration."""
    return Penalty(config.name)


def build_strength(config: PenaltyConfig) -> Strength:
    """The numbers of a configuration as scalars."""
    return Strength(jnp.asarray(config.weight, jnp.float32))


def with_omega(gradient: Any, strength: Strength, found: Omega) -> Any:
    """∂L/∂θ + α ∂⁺Ω/∂θ; no step that counts leaves ∂L/∂θ."""
    scale = strength.weight / jnp.maximum(found.count, 1.0)
    return jax.tree.map(lambda g, d: g + scale * d, gradient, found.gradient)
