"""Run a recurrence over time: the forward scan, with its gradient by reverse scan."""

import dataclasses
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax import lax
from jaxtyping import Array

from rnnjax.cells.base import Cell
from rnnjax.errors import UserError
from rnnjax.recurrence.backprop_rules import SHAM, Backprop, sham_weights
from rnnjax.recurrence.functional import Weights, step_seams, with_kernels
from rnnjax.recurrence.piped import piped_scan
from rnnjax.recurrence.reverse import kernel_gradients, reverse_scan
from rnnjax.recurrence.step import Drive, first, masked_step
from rnnjax.recurrence.sums import Known, find_sums, known_outputs
from rnnjax.types import State, Trajectory


@struct.dataclass
class Taps:
    """Zeros that are added in the recurrence so that gradients can be read off.

    The gradient with respect to `states` is the total adjoint ∂L/∂h_t, that with
    respect to `seams` the cotangent δ_t of each seam. Both None: no taps.

    Attributes:
        states: zeros with the shape of the trajectory, or None.
        seams: zeros ``(T, B, ·)`` by site, or None.
    """

    states: Any = None
    seams: Any = None


def plain_scan(
    cell: Cell,
    weights: Weights,
    initial: State,
    drive: Drive,
    taps: Taps,
    restart: State | None = None,
) -> Trajectory:
    """States after every step by `lax.scan`; differentiable in any mode.

    Returns ``(T, B, n)`` per state array. Every engine is tested against it. A reset
    sets the state to `restart`, by default the initial state.
    """
    origin = initial if restart is None else restart

    def forward(state: State, now: Any) -> tuple[State, State]:
        drive_t, taps_t = now
        state, _ = masked_step(cell, weights, origin, state, drive_t, taps_t.seams)
        if taps_t.states is not None:
            state = jax.tree.map(jnp.add, state, taps_t.states)
        return state, state

    return lax.scan(forward, initial, (drive, taps))[1]


@partial(jax.custom_vjp, nondiff_argnums=(0, 5))
def scan(
    cell: Cell,
    weights: Weights,
    initial: State,
    drive: Drive,
    taps: Taps,
    backprop: Backprop = "exact",
) -> Trajectory:
    """`plain_scan` with the explicit reverse scan as its gradient.

    First and second derivatives equal those of `plain_scan`; taps must be zeros.
    Forward mode is not defined (use `plain_scan`). With the rules `renormalise` and
    `sham` of `rnnjax.recurrence.backprop_rules` the result is not the gradient of any
    function.
    """
    return _walk(cell, weights, initial, drive)[0]


def _walk(
    cell: Cell, weights: Weights, initial: State, drive: Drive, keep: bool = False
) -> tuple[Trajectory, Known]:
    """The states and, if `keep`, what the reverse scan need not compute again."""
    sums = find_sums(cell, weights, initial, first(drive.values)) if keep else {}
    leaves, treedef = jax.tree.flatten(drive.values)
    summed = {i: leaves[i] for i in sums.values()}
    others = {i: x for i, x in enumerate(leaves) if i not in summed}

    def forward(fixed: Any, state: State, now: Any, summed: Any) -> tuple[State, Any]:
        weights, initial = fixed
        masks, others = now
        every = sorted((others | summed).items())
        values = treedef.unflatten([x for _, x in every])
        drive_t = dataclasses.replace(masks, values=values)
        state, seams = masked_step(cell, weights, initial, state, drive_t)
        outputs = known_outputs(seams, sums, values) if keep else {}
        return state, (state, outputs)

    entering = dataclasses.replace(drive, values=None), others
    _, (states, outputs) = piped_scan(
        forward, False, (weights, initial), initial, entering, summed
    )
    return states, Known(outputs, tuple(sums.items()))


def _forward(
    cell: Cell,
    weights: Weights,
    initial: State,
    drive: Drive,
    taps: Taps,
    backprop: Backprop,
) -> tuple[Trajectory, Any]:
    states, known = _walk(cell, weights, initial, drive, keep=True)
    return states, (weights, initial, drive, taps, states, known)


def _backward(
    cell: Cell, backprop: Backprop, residuals: Any, cotangent: Trajectory
) -> tuple[Any, ...]:
    weights, initial, drive, taps, states, known = residuals
    walked = cell, weights, initial, drive, states, cotangent
    renormalised = backprop in ("renormalise", SHAM)
    walk_back = partial(reverse_scan, *walked, renormalised=renormalised, known=known)
    of_steps = None
    if backprop == SHAM:
        if drive.order is None:
            raise UserError("the gradient of backprop=sham needs rngs={'sham': key}")
        factors = walk_back().log2_factors
        assert factors is not None
        of_steps = sham_weights(factors, drive.order)
    back = walk_back(adjoints=taps.states is not None, weights_of_steps=of_steps)
    seams = step_seams(cell, weights, initial, first(drive.values))
    listed = with_kernels(weights, seams)
    kernels = kernel_gradients(listed, seams, back)
    params, numeric = back.pointwise
    derived = {k: jnp.zeros_like(v) for k, v in weights.kernels.items()}
    for name, gradient in kernels.items():
        if name in derived:
            derived[name] = gradient
        else:
            params = {**params, name: params[name] + gradient}
    masks = drive.valid, drive.reset, drive.cut, drive.order
    d_drive = Drive(back.drive, *map(_no_gradient, masks))
    d_taps = Taps(back.adjoint, None if taps.seams is None else dict(back.deltas))
    return Weights(params, derived, numeric), back.initial, d_drive, d_taps


def _no_gradient(mask: Array | None) -> Any:
    """The cotangent of truth values or integers, whose tangent space is empty."""
    if mask is None:
        return None
    return np.zeros(mask.shape, jax.dtypes.float0)


scan.defvjp(_forward, _backward)


def zero_taps(
    cell: Cell, weights: Weights, initial: State, drive: Drive, states: bool = True
) -> Taps:
    """Taps for every seam and, if `states`, for the states."""
    steps = jax.tree.leaves(drive.values)[0].shape[0]

    def zeros(x: Any) -> Array:
        return jnp.zeros((steps, *x.shape), x.dtype)

    seams = step_seams(cell, weights, initial, first(drive.values))
    return Taps(
        states=jax.tree.map(zeros, initial) if states else None,
        seams={site: zeros(seam.output) for site, seam in seams.items()},
    )
