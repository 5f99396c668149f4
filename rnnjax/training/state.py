"""The state carried from update to update, and how far to train."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
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
    """The state that training carries from update to update.

    `diverged_at` is the update whose loss or parameters were not finite (or whose loss
    exceeded the bound), −1 while `alive`; `params` are those before that update.
    `ride` holds the norms of a light probe and is empty otherwise.
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
    """How far a chunk trains: up to step `stop`, with a reset meter if `fresh`. A light
    probe keeps the norms of the update that starts at step `ride_at`."""

    stop: Int[ArrayLike, ""]
    fresh: Bool[ArrayLike, ""]
    ride_at: Int[ArrayLike, ""]


def empty_meter() -> Meter:
    """A meter before any update."""
    zero = jnp.zeros((), float)
    return Meter(jnp.zeros((), jnp.int32), zero, zero, zero, zero, zero, zero)


def until(stop: int, fresh: bool, ride_at: int, active: bool) -> Until:
    """`Until` as arrays of the host; a run that is not active stays where it is."""
    return Until(
        np.asarray(stop if active else -1, np.int32),
        np.asarray(fresh and bool(active), bool),
        np.asarray(ride_at, np.int32),
    )


def structure_of_measurement(state: TrainState, ride: bool) -> Any:
    """The tree structure of a measurement together with the measured parameters.

    Args:
        state: state of training.
        ride: whether it is a light probe, whose measurement is in the state.
    """
    if ride:
        return jax.tree.structure((state.ride, None))
    leaves: Any = {field.name: 0 for field in dataclasses.fields(Measurement)}
    return jax.tree.structure((Measurement(**leaves), state.params))
