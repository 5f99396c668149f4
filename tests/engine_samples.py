"""What every engine of a recurrence is asked for, in one compilation each."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rnnjax.recurrence.functional import make_weights
from rnnjax.recurrence.layer import Recurrent, make_drive
from rnnjax.recurrence.scan import zero_taps
from tests.recurrence_samples import (
    LENGTHS,
    RESETS,
    Measured,
    arguments,
    build,
    direction,
    objective,
    pairing,
    quick_jit,
)


@functools.cache
def outcome(
    label: str,
    *,
    order: int = 2,
    ragged: bool = True,
    resets: bool = True,
    **fields: Any,
) -> Measured:
    """Objective, states and derivatives to second order of a layer in float64.

    Args:
        label: of the cell.
        order: of the highest derivative, 1 (then `second` is None) or 2.
        ragged, resets: with the lengths and resets of `recurrence_samples`.
        fields: of the layer.
    """
    with jax.enable_x64(True):
        cell = build(label, "float64")
        lengths = jnp.asarray(LENGTHS) if ragged else None
        restarts = jnp.asarray(RESETS) if resets else None
        layer = Recurrent(cell, **fields)

        @quick_jit
        def run(args: Any, towards: Any) -> Any:
            variables, x, h0 = args
            weights = make_weights(cell, variables["params"].get("cell", {}))
            drive = make_drive(*weights, x)
            zero = zero_taps(*weights, h0, drive)
            taps = {"states": zero.states, "seams": zero.seams}

            def loss(args: Any, taps: Any) -> Any:
                tapped = {**args[0], "taps": taps}
                found: Any = layer.apply(tapped, args[1], lengths, restarts, args[2])
                return objective(*found), found

            def directional(args: Any) -> Any:
                (value, found), (gradient, tap) = jax.value_and_grad(
                    loss, argnums=(0, 1), has_aux=True
                )(args, taps)
                return pairing(gradient, towards), (value, found, gradient, tap)

            if order == 1:
                return *directional(args)[1], None
            second, first = jax.grad(directional, has_aux=True)(args)
            return *first, second

        args, towards = arguments(label, "float64"), direction(label, "float64")
        return Measured(*jax.tree.map(np.asarray, run(args, towards)))
