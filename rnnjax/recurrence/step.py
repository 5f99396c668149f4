"""One step of a recurrence: its inputs, and the effect of masks."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jax import lax
from jaxtyping import Array, Bool, Int

from rnnjax.cells.base import Cell
from rnnjax.recurrence.functional import Seams, Weights, call
from rnnjax.types import State, Trajectory


@struct.dataclass
class Drive:
    """What enters a recurrence at each step.

    Attributes:
        values: output of `Cell.readin`, arrays ``(T, B, ·)``.
        valid: ``(T, B)`` or None; where False the state is held (padding).
        reset: ``(T, B)`` or None; where True the state is reset before the step.
        cut: ``(T, B)`` or None; where True the state before the step is treated as a
            constant in differentiation.
        order: ``(T, B)``, ``(T, 1)`` or None: the permutation of the steps of the rule
            `sham` (`backprop_rules`).
    """

    values: Any
    valid: Bool[Array, "T B"] | None = None
    reset: Bool[Array, "T B"] | None = None
    cut: Bool[Array, "T B"] | None = None
    order: Int[Array, "T B"] | Int[Array, "T 1"] | None = None


def choose(where: Array | None, a: Any, b: Any) -> Any:
    """`a` where True, else `b`, per example, over a pytree ``(B, …)``."""
    if where is None:
        return a

    def one(x: Array, y: Array) -> Array:
        return jnp.where(jnp.reshape(where, where.shape + (1,) * (x.ndim - 1)), x, y)

    return jax.tree.map(one, a, b)


def masked_step(
    cell: Cell,
    weights: Weights,
    initial: State,
    state: State,
    drive: Drive,
    taps: Any = None,
    known: Any = None,
    transposed: Any = None,
) -> tuple[State, Seams]:
    """One step with cuts, resets and padding; a reset on padding is ignored."""
    if drive.cut is not None:
        state = choose(drive.cut, lax.stop_gradient(state), state)
    start = state
    if drive.reset is not None:
        start = choose(drive.reset, initial, state)
    new, seams = call(
        cell,
        weights,
        "step",
        start,
        drive.values,
        taps=taps,
        known=known,
        transposed=transposed,
    )
    return choose(drive.valid, new, state), seams


def first(tree: Any) -> Any:
    """Shapes of one time step of a pytree ``(T, …)``."""
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), tree)


def before(initial: State, states: Trajectory) -> Trajectory:
    """The state before every step: ``(T, B, n)``."""

    def one(h0: Array, h: Array) -> Array:
        return jnp.concatenate([h0[None], h[:-1]], axis=0)

    return jax.tree.map(one, initial, states)
