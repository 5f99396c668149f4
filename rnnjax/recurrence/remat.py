"""Long sequences: a recurrence in chunks, computed again on the way back.

Only the state between two chunks is kept. The gradient goes back chunk by chunk: it
runs the chunk forward once more, from its inputs on, then its engine's gradient, and
adds up the kernels' (Chen, Xu, Zhang & Guestrin 2016, "Training deep nets with
sublinear memory cost"). With chunks of √T steps the drive, the states, the products and
all cotangents take O(√T) memory in place of O(T); what is left in full length are the
inputs, and outputs and states if somebody uses them. It costs one more pass forward.
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
"""Steps of a chunk; `sqrt`: about √T."""


def check_remat(chunk: Any, key: str = "remat") -> None:
    """Raise a `UserError` that names the key unless it is a size, `sqrt` or None."""
    if chunk in (None, "sqrt"):
        return
    if not isinstance(chunk, int) or chunk < 1:
        raise UserError(f"{key}={chunk} must be a number of steps, at least 1, or sqrt")


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
    """Outputs and states of every step, chunk by chunk, in the order of the walk.

    Args:
        cell, weights: as everywhere.
        initial: state before the first step.
        raw: inputs ``(T, B, m)`` with their masks (`ends.entering`).
        taps: zeros ``(T, B, ·)``.
        run: an engine: the states of a chunk from the state before it.
        chunk: steps of a chunk.
        at: a step of each example; then no outputs are returned, and of the states
            those after these steps alone, ``(B, n)``.
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
    # inside a loop nothing can merge the second pass with the first
    kept = jax.checkpoint(piece, prevent_cse=False)
    (_, picked), shown = lax.scan(kept, (initial, initial), (starts, *pieces))
    if at is not None:
        return None, picked
    return jax.tree.map(lambda a: jnp.reshape(a, (-1, *a.shape[2:]))[:steps], shown)


def filled(entering: tuple[Drive, Taps], steps: int, size: int) -> tuple[Drive, Taps]:
    """Padding behind the last step, so that all chunks are of one size."""
    raw, taps = entering
    more = -steps % size
    if not more:
        return entering

    def padded(mode: Any) -> Callable[[Array], Array]:
        return lambda a: jnp.pad(a, [(0, more), *[(0, 0)] * (a.ndim - 1)], mode=mode)

    valid = raw.valid
    if valid is None:
        valid = jnp.ones(jax.tree.leaves(raw.values)[0].shape[:2], bool)
    # the last input again: a step that is not taken must still have derivatives
    values = jax.tree.map(padded("edge"), raw.values)
    masks = jax.tree.map(padded("constant"), (valid, raw.reset, raw.cut))
    return Drive(values, *masks), jax.tree.map(padded("constant"), taps)
