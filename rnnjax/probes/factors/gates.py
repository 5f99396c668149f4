"""Gates: how open they are, and the time constants that this implies.

Every recorded activation that is a sigmoid (or a hard sigmoid) counts as a gate,
whatever its name; its openness is σ(z_t). A product of 100 forget gates needs every
factor with full relative accuracy, both near 0 and near 1. Therefore log σ(z) and
log σ(−z) are computed without ever forming 1 − σ(z).
"""

import jax.numpy as jnp
from flax import struct
from jax import nn
from jaxtyping import Array, Bool, Float

from rnnjax.probes.factors.slopes import PreActivation


GATES = ("sigmoid", "hard_sigmoid")

OPEN, SHUT = 0.9, 0.1
"""A gate above `OPEN` is open, one below `SHUT` is shut."""


@struct.dataclass
class Gate:
    """One gate at every step, in the order of the input.

    Attributes:
        openness: σ(z_t), ``(T, B, n)``.
        log_open: log σ(z_t), natural logarithm.
        log_shut: log σ(−z_t) = log(1 − σ(z_t)).
        valid: ``(T, B)``, False on padding.
        name: `forget`, `update`, …
    """

    openness: Float[Array, "T B n"]
    log_open: Float[Array, "T B n"]
    log_shut: Float[Array, "T B n"]
    valid: Bool[Array, "T B"]
    name: str = struct.field(pytree_node=False)


@struct.dataclass
class GateSummary:
    """A gate over all valid steps, examples and units; NaN where one of them is NaN.

    Attributes:
        mean: mean openness.
        by_time: mean openness at each step ``(T,)``; NaN if all examples are padding.
        open: fraction of (step, example, unit) with σ(z) > 0.9.
        shut: fraction with σ(z) < 0.1.
        time_constant: −1 / mean log σ(z) for each unit ``(n,)``, in steps: for a gate
            that multiplies the past (the LSTM's forget gate, the GRU's update gate in
            the convention used here), the number of steps over which the product of
            gates falls by a factor e. inf for a gate that is always fully open.
        time_constant_shut: −1 / mean log σ(−z): the same for a gate whose complement
            1 − σ multiplies the past (LEM's time steps, RHN's coupled transform gate).
    """

    mean: Float[Array, ""]
    by_time: Float[Array, "T"]
    open: Float[Array, ""]
    shut: Float[Array, ""]
    time_constant: Float[Array, "n"]
    time_constant_shut: Float[Array, "n"]
    name: str = struct.field(pytree_node=False)


def gates(found: tuple[PreActivation, ...]) -> tuple[Gate, ...]:
    """The gates among the activations of a walk (`slopes.preactivations`)."""
    return tuple(
        Gate(
            openness=pre.activation(pre.z),
            log_open=log_openness(pre.activation.name, pre.z),
            log_shut=log_openness(pre.activation.name, -pre.z),
            valid=pre.valid,
            name=pre.name,
        )
        for pre in found
        if pre.activation.name in GATES
    )


def log_openness(gate: str, z: Float[Array, "*s"]) -> Float[Array, "*s"]:
    """log σ(z) of a gate in `GATES`, with full relative accuracy for every z.

    log(1 − σ(z)) is the same function at −z. A hard sigmoid gives −inf for z ≤ −3.
    """
    if gate == "sigmoid":
        return nn.log_sigmoid(z)
    clipped = jnp.clip(z, -3.0, 3.0)
    shut = (3.0 - clipped) / 6.0
    return jnp.where(shut < 0.5, jnp.log1p(-shut), jnp.log((3.0 + clipped) / 6.0))


def gate_summary(gate: Gate) -> GateSummary:
    """Openness, extremes and time constants; one pass over the gate."""
    valid = jnp.broadcast_to(gate.valid[..., None], gate.openness.shape)

    def mean(x: Array, axes: tuple[int, ...] = (0, 1, 2)) -> Array:
        return jnp.mean(x, axis=axes, where=valid)

    def share(which: Array) -> Array:
        shares = which.astype(gate.openness.dtype)
        return mean(jnp.where(jnp.isnan(gate.openness), jnp.nan, shares))

    def time_constant(log: Array) -> Array:
        return 1.0 / jnp.abs(mean(log, (0, 1)))

    return GateSummary(
        mean=mean(gate.openness),
        by_time=mean(gate.openness, (1, 2)),
        open=share(gate.openness > OPEN),
        shut=share(gate.openness < SHUT),
        time_constant=time_constant(gate.log_open),
        time_constant_shut=time_constant(gate.log_shut),
        name=gate.name,
    )
