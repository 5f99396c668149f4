"""One loop of a program on its forward pass, with every state kept."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jax import lax
from jaxtyping import Array

from rnnjax.probes.programs.loops import Loop


Arrays = list[Array]


@dataclasses.dataclass(frozen=True)
class Axes:
    """The axis of examples in each float array of a loop, without the time axis.

    Attributes:
        size: the number of examples; 1 where it is not known.
        carry, outputs: None everywhere if it is not known.
        inputs: None where an array has no such axis, as all examples share it.
    """

    size: int
    carry: tuple[int | None, ...]
    outputs: tuple[int | None, ...]
    inputs: tuple[int | None, ...]


@struct.dataclass
class Ran:
    """A loop after its forward pass; flat lists of arrays, steps in order of time.

    Attributes:
        constants, start, inputs: its operands; inputs have the time axis first.
        before: the carry before each step.
        last: the carry after the loop.
        outputs: what the steps return, the time axis first.
        loop: the loop.
    """

    constants: Arrays
    start: Arrays
    inputs: Arrays
    before: Arrays
    last: Arrays
    outputs: Arrays
    loop: Loop = struct.field(pytree_node=False)

    @property
    def after(self) -> Arrays:
        """The carry after each step."""
        join = lambda old, end: jnp.concatenate(
            [end[None], old[:-1]] if self.loop.reverse else [old[1:], end[None]]
        )
        return [join(*pair) for pair in zip(self.before, self.last, strict=True)]


def results(ran: Ran) -> Arrays:
    """What the loop returns."""
    return [*ran.last, *ran.outputs]


def floats(arrays: Sequence[Any]) -> list[int]:
    """The places of the arrays that have a gradient."""
    return [
        i
        for i, x in enumerate(arrays)
        if jnp.issubdtype(jnp.result_type(x), jnp.inexact) and jnp.size(x)
    ]


def picked(arrays: Sequence[Any]) -> list[Any]:
    """The arrays that have a gradient."""
    return [arrays[i] for i in floats(arrays)]


def put(arrays: Sequence[Any], some: Sequence[Any]) -> list[Any]:
    """The arrays, with others in place of those that have a gradient."""
    full = list(arrays)
    for place, x in zip(floats(arrays), some, strict=True):
        full[place] = x
    return full


def run(loop: Loop, operands: Sequence[Any]) -> Ran:
    """Run a loop and keep the carry before each step."""
    arrays = [x if _is_key(x) else jnp.asarray(x) for x in operands]
    end = loop.constants + loop.carry
    constants, start = arrays[: loop.constants], arrays[loop.constants : end]
    inputs = arrays[end:]

    def step(carry: Arrays, x: Arrays) -> Any:
        given = [*constants, *carry, *x]
        new = list(loop.advance(given))
        return new, (carry, list(loop.emit(given, new)))

    options: Any = {"length": loop.length, "reverse": loop.reverse}
    last, (before, outputs) = lax.scan(step, start, inputs, **options)
    return Ran(constants, start, inputs, before, last, outputs, loop)


def advance(ran: Ran, carry: Arrays, x: Arrays) -> Callable[..., Arrays]:
    """The new carry, as a function of a step's float constants, carry and inputs."""

    def step(constants: Arrays, carried: Arrays, inputs: Arrays) -> Arrays:
        given = put(ran.constants, constants), put(carry, carried), put(x, inputs)
        return picked(ran.loop.advance([*given[0], *given[1], *given[2]]))

    return step


def emit(ran: Ran, carry: Arrays, x: Arrays, new: Arrays) -> Callable[..., Arrays]:
    """The float outputs of a step, as a function of those and of the new carry.

    Args:
        ran: the loop.
        carry, x: before the step.
        new: the carry after it.
    """

    def step(
        constants: Arrays, carried: Arrays, inputs: Arrays, after: Arrays
    ) -> Arrays:
        given = put(ran.constants, constants), put(carry, carried), put(x, inputs)
        known = put(new, after)
        return picked(ran.loop.emit([*given[0], *given[1], *given[2]], known))

    return step


def examples_first(x: Array, axis: int | None, time: int = 0) -> Array:
    """The array with the axis of examples first, after `time` axes of time.

    Where examples are not known, an axis of one is added.
    """
    if axis is None:
        return jnp.expand_dims(x, time)
    return jnp.moveaxis(x, axis + time, time)


def as_given(x: Array, axis: int | None, time: int = 0) -> Array:
    """The inverse of `examples_first`."""
    if axis is None:
        return jnp.squeeze(x, time)
    return jnp.moveaxis(x, time, axis + time)


def examples_in_front(arrays: Sequence[Array], axes: Sequence[int | None]) -> Arrays:
    """`examples_first` of each array."""
    return [examples_first(x, axis) for x, axis in zip(arrays, axes, strict=True)]


def laid_out(arrays: Sequence[Array], axes: Sequence[int | None]) -> Arrays:
    """`as_given` of each array."""
    return [as_given(x, axis) for x, axis in zip(arrays, axes, strict=True)]


def _is_key(x: Any) -> bool:
    return jnp.issubdtype(jnp.result_type(x), jax.dtypes.prng_key)
