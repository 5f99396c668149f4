"""The joint state of a layer as one real vector, and its step.

Jacobians, propagators and Lyapunov exponents are of the *joint* state: all arrays of a
state side by side, in the order of its leaves (h before c for an LSTM). A complex array
of n units is 2n reals, its real parts before its imaginary ones, so that every Jacobian
is a real matrix, also where a step is not holomorphic (modReLU).
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from rnnjax.probes.backward.walk import Walked
from rnnjax.recurrence.flat_state import join, split
from rnnjax.recurrence.step import Drive, before, masked_step
from rnnjax.types import State


def joint_size(state: State) -> int:
    """N, the number of reals in the state of one example."""
    leaves = jax.tree.leaves(state)
    return sum(x.shape[-1] * (2 if jnp.iscomplexobj(x) else 1) for x in leaves)


def joint_before(walked: Walked) -> Float[Array, "T B N"]:
    """The joint state before every step, in the order of the walk."""
    return join(before(walked.initial, walked.states))


def joint_step(
    walked: Walked, state: Float[Array, "B N"], drive: Drive
) -> Float[Array, "B N"]:
    """One step of the joint state: held on padding, restarted at a reset.

    `drive` is that of the step, ``(B, ·)``.
    """
    start = split(state, walked.initial)
    cell, weights = walked.cell, walked.weights
    return join(masked_step(cell, weights, walked.initial, start, drive)[0])


def at_steps(drive: Drive, steps: Any) -> Drive:
    """The drive of one step, or of chosen ones."""
    return jax.tree.map(lambda x: x[steps], drive)


def select(walked: Walked, examples: Int[np.ndarray, "b"] | list[int]) -> Walked:
    """The same walk of some examples alone."""
    which = np.asarray(examples)
    later = lambda tree: jax.tree.map(lambda x: x[:, which], tree)
    return walked.replace(  # type: ignore[attr-defined]
        initial=jax.tree.map(lambda x: x[which], walked.initial),
        inputs=walked.inputs[:, which],
        drive=later(walked.drive),
        states=later(walked.states),
    )
