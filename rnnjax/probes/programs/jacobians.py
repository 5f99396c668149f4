"""Jacobians of the steps of a loop, of its whole float carry as one vector."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from rnnjax.probes.programs.loop_run import Axes, Ran, examples_first, one_step, picked


def joint_size(ran: Ran, axes: Axes) -> int:
    """N, the number of floats in the carry of one example."""
    return sum(int(np.prod(x.shape)) for x in picked(ran.last)) // axes.size


def is_real(ran: Ran) -> bool:
    """Whether no array of the carry is complex."""
    return all(jnp.issubdtype(x.dtype, jnp.floating) for x in picked(ran.last))


def jacobians(
    ran: Ran, axes: Axes, steps: Any, examples: Sequence[int]
) -> Float[Array, "steps examples N N"]:
    """∂(carry after a step)/∂(carry before it), by forward differentiation.

    Arrays of the carry follow each other, each in row-major order, without the axis of
    examples. Costs N tangents a step, for all examples.

    Args:
        ran: the loop after its forward pass; its carry must be real.
        axes: where the examples are.
        steps: indices of steps, counted along the loop's axis of time.
        examples: which examples are returned.
    """
    shapes = [x.shape for x in picked(ran.last)]
    dtypes = [x.dtype for x in picked(ran.last)]
    size = joint_size(ran, axes)

    def split(flat: Array) -> list[Array]:
        """Tangents of the carry from one vector, the same for every example."""
        found, start = [], 0
        for shape, dtype, axis in zip(shapes, dtypes, axes.carry, strict=True):
            own = tuple(n for place, n in enumerate(shape) if place != axis)
            end = start + int(np.prod(own))
            part = jnp.reshape(flat[start:end], own).astype(dtype)
            if axis is not None:
                part = jnp.broadcast_to(jnp.expand_dims(part, axis), shape)
            found.append(part)
            start = end
        return found

    def at(now: Any) -> Array:
        carry, x = now
        constants, inputs = picked(ran.constants), picked(x)
        run = one_step(ran, carry, x)
        onward = lambda own: run(constants, own, inputs)[0]

        def column(flat: Array) -> Array:
            out = jax.jvp(onward, (picked(carry),), (split(flat),))[1]
            rows = [
                jnp.reshape(examples_first(y, axis), (axes.size, -1))
                for y, axis in zip(out, axes.carry, strict=True)
            ]
            return jnp.concatenate(rows, axis=-1)[jnp.asarray(examples)]

        return jax.vmap(column, out_axes=-1)(
            jnp.eye(size, dtype=jnp.result_type(*dtypes))
        )

    some = jax.tree.map(lambda x: x[steps], (ran.before, ran.inputs))
    return lax.map(at, some)
