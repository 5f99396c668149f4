"""One loop of a program: forward with every state kept, and back with exponents.

The reverse pass applies the vector-Jacobian product of the loop's body step by step.
Adjoints are mantissas times a power of two, one exponent for each example where the
axis of examples is known (`Axes`), else one for the whole carry; gradients of the
constants sum over examples and have one exponent a step.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jax import lax
from jaxtyping import Array, Float

from rnnjax.probes.programs.loops import Loop
from rnnjax.recurrence import scaled
from rnnjax.recurrence.scaled import Scaled


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
        origin: for each constant, which argument of the program it is; None if it is
            computed from arguments.
    """

    constants: Arrays
    start: Arrays
    inputs: Arrays
    before: Arrays
    last: Arrays
    outputs: Arrays
    loop: Loop = struct.field(pytree_node=False)
    origin: tuple[int | None, ...] = struct.field(pytree_node=False, default=())

    @property
    def after(self) -> Arrays:
        """The carry after each step."""
        join = lambda old, end: jnp.concatenate(
            [end[None], old[:-1]] if self.loop.reverse else [old[1:], end[None]]
        )
        return [join(*pair) for pair in zip(self.before, self.last, strict=True)]


@struct.dataclass
class Back:
    """The result of the backward pass of a loop; float arrays only.

    Attributes:
        adjoint: ∂L/∂carry after each step, through later steps and through outputs that
            are the carry itself; exponents ``(T, B)``, mantissas ``(T, B, …)``.
        start: the same of the carry before the first step, exponents ``(B,)``.
        constants: the gradient of each constant, exponents ``()``.
        inputs: of each array of inputs, exponents ``(T, B)``, or ``(T,)`` where all
            examples share it.
        by_step: log10 of the norm of what each step adds to the gradient of each of
            `uses`.
    """

    adjoint: Scaled
    start: Scaled
    constants: list[Scaled]
    inputs: list[Scaled]
    by_step: Float[Array, "uses T"]


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


def run(
    loop: Loop, operands: Sequence[Any], origin: tuple[int | None, ...] = ()
) -> Ran:
    """Run a loop and keep the carry before each step."""
    arrays = [x if _is_key(x) else jnp.asarray(x) for x in operands]
    end = loop.constants + loop.carry
    constants, start = arrays[: loop.constants], arrays[loop.constants : end]
    inputs = arrays[end:]

    def step(carry: Arrays, x: Arrays) -> Any:
        out = list(loop.step(*constants, *carry, *x))
        return out[: loop.carry], (carry, out[loop.carry :])

    options: Any = {"length": loop.length, "reverse": loop.reverse}
    last, (before, outputs) = lax.scan(step, start, inputs, **options)
    return Ran(constants, start, inputs, before, last, outputs, loop, origin)


def one_step(ran: Ran, carry: Arrays, x: Arrays) -> Any:
    """The step at a carry as a function of its float constants, carry and inputs.

    Returns the float arrays of the new carry and of the outputs.
    """
    loop = ran.loop

    def step(constants: Arrays, carried: Arrays, inputs: Arrays) -> Any:
        given = put(ran.constants, constants), put(carry, carried), put(x, inputs)
        out = loop.step(*given[0], *given[1], *given[2])
        return picked(out[: loop.carry]), picked(out[loop.carry :])

    return step


def back(ran: Ran, last: Scaled, outputs: Scaled | None, axes: Axes) -> Back:
    """The backward pass of a loop.

    Args:
        ran: its forward pass.
        last: cotangent of the carry after the loop, ``(B, …)``.
        outputs: cotangents of the outputs, ``(T, B, …)``; None: no float output.
        axes: where the examples are.
    """
    shared = [i for i, axis in enumerate(axes.inputs) if axis is None]
    own = [i for i, axis in enumerate(axes.inputs) if axis is not None]
    same, groups = _places(ran), list(uses(ran).values())

    def step(state: Any, now: Any) -> Any:
        adjoint, gradients = state
        carry, x, cotangent = now
        rest = None
        if cotangent is not None:
            again = [jnp.zeros_like(m) for m in adjoint.mantissa]
            left = list(cotangent.mantissa)
            for number, place in enumerate(same):
                if place is not None:
                    again[place] = again[place] + left[number]
                    left[number] = jnp.zeros_like(left[number])
            direct = scaled.normalise(Scaled(again, cotangent.exponent))
            adjoint = scaled.normalise(scaled.add(adjoint, direct))
            rest = scaled.normalise(Scaled(left, cotangent.exponent))
        pull = jax.vjp(
            one_step(ran, carry, x), picked(ran.constants), picked(carry), picked(x)
        )[1]
        exponent = adjoint.exponent
        if rest is not None:
            exponent = jnp.maximum(exponent, rest.exponent)

        def pulled(level: Array) -> Any:
            """Cotangents, with the mantissas at this exponent."""
            carried = scaled.shift(adjoint.mantissa, adjoint.exponent - level)
            seen: Any = []
            if rest is not None:
                seen = scaled.shift(rest.mantissa, rest.exponent - level)
            places = (
                zip(carried, axes.carry, strict=True),
                zip(seen, axes.outputs, strict=True),
            )
            given = [[as_given(m, axis) for m, axis in pairs] for pairs in places]
            return pull((given[0], given[1]))

        d_constants, d_carry, d_x = pulled(exponent)
        pairs = zip(d_carry, axes.carry, strict=True)
        before = [examples_first(d, axis) for d, axis in pairs]
        mine = [Scaled(examples_first(d_x[i], axes.inputs[i]), exponent) for i in own]
        top = jnp.max(exponent)
        d_shared = d_x
        if axes.size > 1:  # sums over examples need a common exponent
            d_constants, _, d_shared = pulled(jnp.full_like(exponent, top))
        some = exponent != scaled.NO_EXPONENT
        added = [_or_zero(Scaled(d, top), jnp.any(some)) for d in d_constants]
        gradients = [
            scaled.normalise(scaled.add(*pair))
            for pair in zip(gradients, added, strict=True)
        ]
        kept = (
            adjoint,
            [_or_zero(x, some) for x in mine],
            [_or_zero(Scaled(d_shared[i], top), jnp.any(some)) for i in shared],
            [scaled.log10_norm(_sum(added, rows)) for rows in groups],
        )
        return (_or_zero(Scaled(before, exponent), some), gradients), kept

    none = [
        Scaled(jnp.zeros_like(c), jnp.asarray(scaled.NO_EXPONENT, jnp.int32))
        for c in picked(ran.constants)
    ]
    options: Any = {"length": ran.loop.length, "reverse": not ran.loop.reverse}
    begin = (scaled.normalise(last), none)
    (start, constants), kept = lax.scan(
        step, begin, (ran.before, ran.inputs, outputs), **options
    )
    adjoint, mine, common, norms = kept
    inputs = [common.pop(0) if a is None else mine.pop(0) for a in axes.inputs]
    steps = (0, ran.loop.length)
    by_step = jnp.stack(norms) if norms else jnp.zeros(steps)
    return Back(adjoint, start, constants, inputs, by_step)


def _places(ran: Ran) -> list[int | None]:
    """`Loop.same` among the float arrays alone."""
    carried = {place: i for i, place in enumerate(floats(ran.before))}
    places = [ran.loop.same[i] for i in floats(ran.outputs)]
    return [None if place is None else carried[place] for place in places]


def uses(ran: Ran) -> dict[int, list[int]]:
    """Float constants that are one argument of the program, by that argument.

    A loop may have the same array as several constants, such as tied weights. Constants
    that are computed from arguments are left out.
    """
    found: dict[int, list[int]] = {}
    for row, place in enumerate(floats(ran.constants)):
        argument = ran.origin[place]
        if argument is not None:
            found.setdefault(argument, []).append(row)
    return found


def _sum(values: Sequence[Scaled], rows: Sequence[int]) -> Scaled:
    total = values[rows[0]]
    for row in rows[1:]:
        total = scaled.normalise(scaled.add(total, values[row]))
    return total


def _or_zero(value: Scaled, some: Array) -> Scaled:
    """Normalised; zero where the cotangent was, whatever the slope."""
    clean = jax.tree.map(
        lambda m: jnp.where(
            jnp.reshape(some, some.shape + (1,) * (m.ndim - some.ndim)), m, 0
        ),
        value.mantissa,
    )
    return scaled.normalise(Scaled(clean, value.exponent))


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


def _is_key(x: Any) -> bool:
    return jnp.issubdtype(jnp.result_type(x), jax.dtypes.prng_key)
