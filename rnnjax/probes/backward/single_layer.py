"""A recurrence without a model around it: run a cell, and send a cotangent back."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from rnnjax.cells.base import Cell
from rnnjax.probes.adjoints.norms import log10_norms
from rnnjax.probes.backward.walk import Walked, walk_back, walk_forward
from rnnjax.probes.factors.slopes import valid_steps
from rnnjax.recurrence import scaled
from rnnjax.recurrence.functional import make_weights
from rnnjax.types import State


def walk_layer(
    cell: Cell, params: Any, x: Float[Array, "T B m"], initial: State | None = None
) -> Walked:
    """Run a cell over an input; pure, works under `jit` (with a static cell).

    Args:
        cell: with its input size set.
        params: its parameters, as returned by `cell.init`.
        x: the input.
        initial: the state before the first step; None: the cell's default.
    """
    static, weights = make_weights(cell, params)
    start = cell.initial_state((x.shape[1],)) if initial is None else initial
    return walk_forward(static, weights, "layer0", x, start)[0]


def lagged_norms(walked: Walked, cotangent: State) -> Float[Array, "T B"]:
    """log10 ‖λ_t‖ of the joint state, for a loss that depends on the last state only.

    Args:
        walked: the forward pass.
        cotangent: ∂ℓ/∂h of the last state, ``(B, n)`` per state array.
    """
    states = jax.tree.map(
        lambda h, last: jnp.zeros_like(h).at[-1].set(last), walked.states, cotangent
    )
    first = jax.tree.leaves(walked.states)[0]
    shape = (*first.shape[:2], walked.cell.output_size)
    outputs = jnp.zeros(shape, jnp.finfo(first.dtype).dtype)
    walk = walk_back(walked, scaled.lift((outputs, states), 2)).walk
    return log10_norms(walk, valid_steps(walked))[0]
