"""What training carries from update to update, and how far it goes."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, ArrayLike, Bool, Float, Int

from rnnjax.probes.measure import Measurement


@struct.dataclass
class Meter:
    """Sums over the updates since the last row of the metrics."""

    count: Int[Array, ""]
    loss: Float[Array, ""]
    metric: Float[Array, ""]
    grad_norm: Float[Array, ""]
    grad_norm_max: Float[Array, ""]
    clipped: Float[Array, ""]
    update_ratio: Float[Array, ""]


@struct.dataclass
class TrainState:
    """What training carries from update to update.

    `diverged_at` is the update whose loss or parameters were not finite (or whose loss
    passed the bound), −1 while `alive`; parameters are those before that update.
    `ride` holds the light probe's norms, empty otherwise.
    """

    params: Any
    opt_state: Any
    step: Int[Array, ""]
    alive: Bool[Array, ""]
    diverged_at: Int[Array, ""]
    meter: Meter
    ride: Any


@struct.dataclass
class Until:
    """How far a chunk goes: up to `stop`, from a new meter if `fresh`; the light probe
    keeps the norms of the update that starts at step `ride_at`."""

    stop: Int[ArrayLike, ""]
    fresh: Bool[ArrayLike, ""]
    ride_at: Int[ArrayLike, ""]


def empty_meter() -> Meter:
    """A meter that has seen no update."""
    zero = jnp.zeros((), float)
    return Meter(jnp.zeros((), jnp.int32), zero, zero, zero, zero, zero, zero)


def structure_of_measurement(state: TrainState, ride: bool) -> Any:
    """The structure of a measurement with the parameters that it is of.

    Args:
        state: of training.
        ride: whether it is what the light probe left in the state.
    """
    if ride:
        return jax.tree.structure((state.ride, None))
    leaves: Any = {field.name: 0 for field in dataclasses.fields(Measurement)}
    return jax.tree.structure((Measurement(**leaves), state.params))
