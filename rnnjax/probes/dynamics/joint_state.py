"""The joint state of a layer as one real vector, and its step.

Jacobians, propagators and Lyapunov exponents refer to the *joint* state: all arrays of
a state concatenated in the order of its leaves (h before c for an LSTM). A complex
array of n units becomes 2n real numbers, real parts before imaginary parts, so that
every Jacobian is a real matrix even if a step is not holomorphic (modReLU).
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Int

from rnnjax.probes.backward.walk import Walked
from rnnjax.recurrence.flat_state import join, split
from rnnjax.recurrence.step import Drive, before, masked_step
from rnnjax.types import State


def joint_size(state: State) -> int:
    """N, the number of real numbers in the state of one example."""
    leaves = jax.tree.leaves(state)
    return sum(x.shape[-1] * (2 if jnp.iscomplexobj(x) else 1) for x in leaves)


def joint_before(walked: Walked) -> Float[Array, "T B N"]:
    """The joint state before every step, in walk order."""
    return join(before(walked.initial, walked.states))


def joint_step(
    walked: Walked, state: Float[Array, "B N"], drive: Drive
) -> Float[Array, "B N"]:
    """One step of the joint state: held on padding, restarted at a reset.

    `drive` is the drive of this step, ``(B, ·)``.
    """
    start = split(state, walked.initial)
    cell, weights = walked.cell, walked.weights
    return join(masked_step(cell, weights, walked.initial, start, drive)[0])


def at_steps(drive: Drive, steps: Any) -> Drive:
    """The drive of one step, or of several."""
    return jax.tree.map(lambda x: x[steps], drive)


def select(walked: Walked, examples: Int[ArrayLike, "b"] | list[int]) -> Walked:
    """The same walk restricted to some examples."""
    which = jnp.asarray(examples)
    later = lambda tree: jax.tree.map(lambda x: x[:, which], tree)
    return walked.replace(  # type: ignore[attr-defined]
        initial=jax.tree.map(lambda x: x[which], walked.initial),
        inputs=walked.inputs[:, which],
        drive=later(walked.drive),
        states=later(walked.states),
    )
