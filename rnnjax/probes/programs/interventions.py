"""The effect of another state after one step of a loop, for many changes.

Array, step and unit of a change are traced, so that all changes go through one compiled
program, many at a time.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax import lax
from jaxtyping import Array, Float, Int

from rnnjax.probes.programs.loop_run import Axes, Ran, as_given, picked
from rnnjax.probes.programs.reruns import Losses, Outcome


EVERY = -1
"""As an array or a unit of a change: all of them. As a step: none."""

BYTES = 2**25
"""Memory that the outputs of the changed loops of one batch of changes may take."""

WIDEST = 64
"""Most changes that are run side by side."""


@struct.dataclass
class Effects:
    """After minus before, for C changes.

    Attributes:
        loss: of the loss.
        examples: of the loss of each example; empty if it is not known.
        output: Euclidean norm of the change of the answers over √B: the root of the
            mean over examples of its square; empty if there are no answers.
    """

    loss: Float[Array, "C"]
    examples: Float[Array, "C B"]
    output: Float[Array, "C"]


def effects(
    program: Losses,
    args: Sequence[Any],
    ran: Sequence[Ran],
    number: int,
    axes: Axes,
    instead: Sequence[Array],
    changes: Int[Array, "C 3"],
) -> Effects:
    """The effect of each change; works under `jit`.

    Costs about C forward passes from the chosen loop on. The unchanged program goes
    through the same code at the same place, so that a change which cannot matter has an
    effect of exactly 0.

    Args:
        program: the program.
        args: its arguments, flat.
        ran: the loops after their forward pass.
        number: the loop whose state is changed.
        axes: where its examples are.
        instead: for each float array of its carry, what may take its place after each
            step ``(T, B, …)``.
        changes: array, step and unit (over all axes but that of the examples) of each;
            `EVERY` array or unit stands for all.
    """
    loop, size = ran[number].loop, axes.size
    places = [
        as_given(jnp.arange(int(np.prod(x.shape[2:]))).reshape(1, *x.shape[2:]), axis)
        for x, axis in zip(instead, axes.carry, strict=True)
    ]
    given = [as_given(x, axis, 1) for x, axis in zip(instead, axes.carry, strict=True)]
    along = jnp.arange(loop.length), given

    def one(change: Int[Array, "3"]) -> Outcome:
        array, step, unit = change

        def alter(carry: list[Any], now: Any) -> list[Any]:
            time, new = now
            hit = [
                (time == step)
                & ((array == i) | (array == EVERY))
                & ((unit == place) | (unit == EVERY))
                for i, place in enumerate(places)
            ]
            return [jnp.where(*x) for x in zip(hit, new, carry, strict=True)]

        return program.again(args, ran, number, alter, along, size)

    width = _width(ran[number:], len(changes))
    missing = -len(changes) % width
    nothing = jnp.full((width + missing, 3), EVERY, changes.dtype)
    groups = jnp.concatenate([nothing[:width], changes, nothing[width:]])
    groups = groups.reshape(-1, width, 3)

    def compare(first: tuple[Any, Outcome], group: Array) -> Any:
        is_first, before = first
        # a result that is still being computed may be fused with the subtraction
        now = lax.optimization_barrier(jax.vmap(one)(group))
        before = jax.tree.map(lambda a, b: jnp.where(is_first, a, b), now, before)
        apart = jax.tree.map(jnp.subtract, now, before)
        squares = [
            jnp.sum(jnp.square(jnp.abs(x)), axis=tuple(range(1, x.ndim)))
            for x in apart.answers
        ]
        output = jnp.sqrt(sum(squares) / size) if squares else jnp.zeros((width, 0))
        found = Effects(apart.loss, apart.examples, output)
        return (jnp.zeros((), bool), before), found

    shapes = jax.eval_shape(jax.vmap(one), groups[0])
    empty = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
    _, parts = lax.scan(compare, (jnp.ones((), bool), empty), groups)
    rows = (len(groups) - 1) * width
    joined = lambda x: x[1:].reshape(rows, *x.shape[2:])[: len(changes)]
    return jax.tree.map(joined, parts)


def _width(ran: Sequence[Ran], count: int) -> int:
    """How many changes are run side by side."""
    arrays = [x for one in ran for x in (*one.outputs, *one.last)]
    size = sum(x.size * x.dtype.itemsize for x in picked(arrays))
    return int(np.clip(BYTES // max(size, 1), 1, min(WIDEST, max(count, 1))))
