"""Long sequences: a recurrence in chunks that the backward pass recomputes.

Only the states between chunks are stored. The backward pass goes chunk by chunk: it
runs the chunk forward once more, starting from its inputs, then applies the gradient of
the engine, and accumulates the kernel gradients (Chen, Xu, Zhang & Guestrin 2016,
"Training deep nets with sublinear memory cost"). With chunks of √T steps the drive, the
states, the products and all cotangents take O(√T) memory instead of O(T). Only the
inputs are kept in full length, and the outputs and states if they are used. The cost is
one additional forward pass.
"""

import math
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Int

from rnnjax.cells.base import Cell
from rnnjax.errors import UserError
from rnnjax.recurrence.functional import Weights
from rnnjax.recurrence.masking import read_in, read_out
from rnnjax.recurrence.scan import Taps
from rnnjax.recurrence.step import Drive, choose
from rnnjax.types import State, Trajectory


Remat = int | Literal["sqrt"]
"""Number of steps in a chunk; `sqrt`: about √T."""


def check_remat(chunk: Any, key: str = "remat") -> None:
    """Raise a `UserError` naming `key` unless `chunk` is a size, `sqrt` or None."""
    if chunk in (None, "sqrt"):
        return
    if not isinstance(chunk, int) or chunk < 1:
        raise UserError(f"{key}={chunk} must be a number of steps (at least 1) or sqrt")


def chunked_scan(
    cell: Cell,
    weights: Weights,
    initial: State,
    raw: Drive,
    taps: Taps,
    run: Callable[[State, Drive, Taps], Trajectory],
    chunk: Remat,
    at: Int[Array, "B"] | None = None,
) -> tuple[Array | None, Any]:
    """Outputs and states of every step, chunk by chunk, in walk order.

    Args:
        cell, weights: the static cell and its weights.
        initial: state before the first step.
        raw: inputs ``(T, B, m)`` with their masks (`masking.entering`).
        taps: zeros ``(T, B, ·)``.
        run: an engine, which computes the states of a chunk from the state before it.
        chunk: number of steps in a chunk.
        at: one step per example. If given, no outputs are returned, and only the states
            after these steps, ``(B, n)``.
    """
    steps = jax.tree.leaves(raw.values)[0].shape[0]
    size = min(steps, round(math.sqrt(steps)) if chunk == "sqrt" else chunk)
    raw, taps = filled((raw, taps), steps, size)

    def piece(carry: tuple[State, State], now: Any) -> tuple[Any, Any]:
        state, picked = carry
        start, raw, taps = now
        drive = read_in(cell, weights, raw)
        states = run(state, drive, taps)
        end = jax.tree.map(lambda h: h[-1], states)
        if at is None:
            return (end, picked), (read_out(cell, weights, drive, states), states)
        place = at - start
        here = jnp.clip(place, 0, size - 1), jnp.arange(place.shape[0])
        found = jax.tree.map(lambda h: h[here], states)
        return (end, choose(here[0] == place, found, picked)), None

    starts = jnp.arange(0, steps, size, jnp.int32)
    pieces = jax.tree.map(
        lambda a: jnp.reshape(a, (-1, size, *a.shape[1:])), (raw, taps)
    )
    # inside a loop XLA cannot merge the recomputation with the first pass
    kept = jax.checkpoint(piece, prevent_cse=False)
    (_, picked), shown = lax.scan(kept, (initial, initial), (starts, *pieces))
    if at is not None:
        return None, picked
    return jax.tree.map(lambda a: jnp.reshape(a, (-1, *a.shape[2:]))[:steps], shown)


def filled(entering: tuple[Drive, Taps], steps: int, size: int) -> tuple[Drive, Taps]:
    """Padding after the last step, so that all chunks have the same size."""
    raw, taps = entering
    more = -steps % size
    if not more:
        return entering

    def padded(mode: Any) -> Callable[[Array], Array]:
        return lambda a: jnp.pad(a, [(0, more), *[(0, 0)] * (a.ndim - 1)], mode=mode)

    valid = raw.valid
    if valid is None:
        valid = jnp.ones(jax.tree.leaves(raw.values)[0].shape[:2], bool)
    # repeat the last input: masked steps must still have finite derivatives
    values = jax.tree.map(padded("edge"), raw.values)
    masks = jax.tree.map(padded("constant"), (valid, raw.reset, raw.cut))
    return Drive(values, *masks), jax.tree.map(padded("constant"), taps)
