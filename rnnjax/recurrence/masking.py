"""Both ends of the time loop: its masked inputs, and its outputs."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.core import Tracer
from jaxtyping import Array, Bool, Inexact, Int

from rnnjax.cells.base import Cell
from rnnjax.errors import UserError
from rnnjax.recurrence.backprop_rules import cut_before
from rnnjax.recurrence.functional import Weights, call
from rnnjax.recurrence.step import Drive
from rnnjax.types import Lengths, Trajectory


def check_masks(x: Any, lengths: Any, resets: Any) -> None:
    """Raise a `UserError` unless lengths and resets match an input ``(T, B, m)``."""
    steps, size = x.shape[:2]
    if resets is not None and np.shape(resets) != (steps, size):
        raise UserError(
            f"resets have shape {np.shape(resets)}, not ({steps}, {size}), the steps "
            "and examples of the input"
        )
    if lengths is None:
        return
    if np.shape(lengths) != (size,):
        raise UserError(
            f"lengths have shape {np.shape(lengths)}, not ({size},), one for each "
            "example"
        )
    if isinstance(lengths, Tracer) or not size:
        return
    known = np.asarray(lengths)  # a method of the array would be traced
    low, high = known.min(), known.max()
    if low < 0 or high > steps:
        wrong = low if low < 0 else high
        raise UserError(f"lengths must be from 0 to T = {steps}, got {wrong}")


def entering(
    x: Array,
    lengths: Array | None = None,
    resets: Array | None = None,
    backwards: bool = False,
    lag: Any = None,
) -> Drive:
    """The inputs with their masks, in walk order.

    This is the only place where the inputs of a recurrence are read, and it never reads
    padding. `resets` mark the first step of each document; the backward direction
    resets at the last step of each.
    """
    steps, size = x.shape[:2]
    valid, cut = None, None
    if lengths is not None:
        valid = jnp.arange(steps)[:, None] < lengths[None, :]
        x = _without_padding(x, valid)
    if resets is not None:
        resets = resets if valid is None else jnp.logical_and(resets, valid)
        if backwards:
            resets = jnp.concatenate([resets[1:], jnp.zeros_like(resets[:1])])
    if lag is not None:
        ends = jnp.full((size,), steps) if lengths is None else lengths
        cut = cut_before(steps, jnp.clip(ends, 0, steps) - 1, lag, backwards)
    return in_order(Drive(x, valid, resets, cut), backwards)


def _without_padding(
    x: Inexact[Array, "T B m"], valid: Bool[Array, "T B"]
) -> Inexact[Array, "T B m"]:
    """The inputs, with padding replaced by the first input of the same example.

    Masked steps are computed although their result is not used, and 0 times a
    derivative that is not finite would be NaN: an input that occurs in the data is
    safer than zeros. An example without steps takes the input of the first example that
    has any. The replacement is a constant for differentiation.
    """
    begun = valid[:1, :, None]
    lent = x[:1, jnp.argmax(valid[0])][:, None]
    lent = jnp.where(jnp.any(begun), lent, jnp.zeros_like(lent))
    own = lax.stop_gradient(jnp.where(begun, x[:1], lent))
    return jnp.where(valid[..., None], x, own)


def read_in(cell: Cell, weights: Weights, raw: Drive) -> Drive:
    """The drive of raw inputs: everything that enters the loop."""
    values, _ = call(cell, weights, "readin", raw.values)
    return dataclasses.replace(raw, values=values)


def read_out(cell: Cell, weights: Weights, drive: Drive, states: Trajectory) -> Array:
    """Outputs of every step, zero on padding, in walk order."""
    outputs, _ = call(cell, weights, "readout", states, drive.values)
    if drive.valid is None:
        return outputs
    return jnp.where(drive.valid[..., None], outputs, jnp.zeros_like(outputs))


def make_drive(
    cell: Cell,
    weights: Weights,
    x: Array,
    lengths: Array | None = None,
    resets: Array | None = None,
    backwards: bool = False,
    lag: Any = None,
) -> Drive:
    """Everything that enters the loop, in walk order."""
    raw = entering(x, lengths, resets, backwards, lag)
    return read_in(cell, weights, raw)


def finish(
    cell: Cell, weights: Weights, drive: Drive, states: Trajectory, backwards: bool
) -> tuple[Array, Trajectory]:
    """Outputs of every step, zero on padding, in the order of the input."""
    outputs = read_out(cell, weights, drive, states)
    return in_order((outputs, states), backwards)


def in_order(tree: Any, backwards: bool) -> Any:
    """From walk order to input order or vice versa: reversed in time if `backwards`."""
    return jax.tree.map(lambda a: jnp.flip(a, 0), tree) if backwards else tree


def at_end(x: Any, lengths: Lengths | None, backwards: bool = False) -> Any:
    """The entry ``(B, ·)`` of ``(T, B, ·)`` at the end of the walk of each example.

    This is the last valid step; in the backward direction, and for an example without
    steps, it is step 0. Arrays are in the order of the input.
    """
    if backwards:
        return jax.tree.map(lambda a: a[0], x)
    if lengths is None:
        return jax.tree.map(lambda a: a[-1], x)

    def one(a: Array) -> Array:
        last = jnp.clip(lengths - 1, 0, a.shape[0] - 1)
        return a[last, jnp.arange(a.shape[1])]

    return jax.tree.map(one, x)


def end_place(x: Array, lengths: Lengths | None, backwards: bool) -> Int[Array, "B"]:
    """The index of the step that `at_end` selects, in walk order."""
    steps = jnp.broadcast_to(jnp.arange(x.shape[0])[:, None], x.shape[:2])
    return at_end(in_order(steps, backwards), lengths, backwards)
