"""A whole program: cut at its loops, and walked back from the loss.

One run of the program takes the loops forward. In a second one their results are free
variables, so that the program falls apart into segments without loops, whose
vector-Jacobian product is ordinary autodiff. Between loops, cotangents go through the
segments in bands of similar exponents (`probes.backward.bands`).
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float

from rnnjax.errors import UserError
from rnnjax.probes.backward.bands import through_bands
from rnnjax.probes.programs.arguments import Arguments
from rnnjax.probes.programs.loop_walk import (
    Axes,
    Back,
    Ran,
    as_given,
    back,
    examples_first,
    picked,
    put,
    run,
)
from rnnjax.probes.programs.loops import OPENED, as_loop, is_loop, refuse
from rnnjax.recurrence import scaled
from rnnjax.recurrence.jaxprs import equations, play
from rnnjax.recurrence.scaled import Scaled


@struct.dataclass
class Walked:
    """A loop after forward and backward pass.

    Attributes:
        ran: the forward pass.
        back: the backward pass.
        direct: ``(T,)``, whether the loss depends on the loop's state after each step
            without a later loop in between.
    """

    ran: Ran
    back: Back
    direct: Bool[Array, "T"]


@struct.dataclass
class Walks:
    """A program after forward and backward pass.

    Attributes:
        loss: its value.
        loops: in the order in which they run.
        gradient: of the loss, with respect to the float arguments, assembled from loops
            and segments.
    """

    loss: Float[Array, ""]
    loops: tuple[Walked, ...]
    gradient: list[Array]


@dataclasses.dataclass(frozen=True)
class Program:
    """A traced function of flat arguments whose first result is the loss."""

    closed: Any

    @property
    def loops(self) -> int:
        """How many loops it runs."""
        return sum(is_loop(x) for x in equations(self.closed))

    def forward(self, args: Sequence[Any]) -> tuple[Array, list[Ran]]:
        """The loss, and the loops after their forward pass.

        Raises:
            UserError: a loop is where it cannot be reached.
        """
        seen: list[Ran] = []

        def at(equation: Any, values: list[Any]) -> list[Any]:
            constants = values[: equation.params["num_consts"]]
            same = [[x is arg for arg in args] for x in constants]
            origin = tuple(row.index(True) if any(row) else None for row in same)
            ran = run(as_loop(equation, len(seen)), values, origin)
            seen.append(ran)
            return [*ran.last, *ran.outputs]

        loss = play(self.closed, args, is_loop, OPENED, at, refuse)[0]
        return loss, seen

    def segments(
        self, args: Sequence[Any], results: Sequence[Sequence[Any]]
    ) -> tuple[Array, list[Any]]:
        """The loss and the float operands of each loop, with its results given."""
        entered: list[Any] = []
        waiting = iter(results)

        def at(equation: Any, values: list[Any]) -> Sequence[Any]:
            first = equation.params["num_consts"]
            end = first + equation.params["num_carry"]
            parts = values[:first], values[first:end], values[end:]
            entered.append([picked(part) for part in parts])
            return next(waiting)

        loss = play(self.closed, args, is_loop, OPENED, at, refuse)[0]
        return loss, entered


def walk(program: Program, args: Sequence[Any], axes: Sequence[Axes]) -> Walks:
    """Forward and backward pass; works under `jit`.

    Args:
        program: the program.
        args: its arguments, flat.
        axes: where the examples are, for each loop.
    """
    loss, ran = program.forward(args)
    every = [[*one.last, *one.outputs] for one in ran]
    free = [picked(one) for one in every]
    own = picked(args)

    def segments(own: list[Any], free: list[Any]) -> Any:
        results = [put(a, b) for a, b in zip(every, free, strict=True)]
        return program.segments(put(args, own), results)

    (_, entered), pull = jax.vjp(lambda free: segments(own, free), free)
    none = jax.tree.map(jnp.zeros_like, entered)
    # A cotangent that is a constant zero would be folded through all that follows.
    (direct,) = jax.lax.optimization_barrier(pull((jnp.ones_like(loss), none)))
    leaves = [
        _lifted(d, one, where) for d, one, where in zip(direct, ran, axes, strict=True)
    ]
    reached = [_reached(d, one) for d, one in zip(direct, ran, strict=True)]
    found: list[Back] = []
    plain: list[Any] = list(none)
    for number in reversed(range(len(ran))):
        last, outputs = leaves[number]
        here = back(ran[number], last, outputs, axes[number])
        found.insert(0, here)
        plain[number] = _plain(here, axes[number])
        if number:
            earlier = _Earlier(pull, none, loss, number, axes)
            leaves[:number] = earlier.plus(here, leaves[:number])
    gradient = jax.vjp(lambda own: segments(own, free), own)[1](
        (jnp.ones_like(loss), plain)
    )[0]
    parts = zip(ran, found, reached, strict=True)
    return Walks(loss, tuple(Walked(*part) for part in parts), gradient)


@dataclasses.dataclass(frozen=True)
class _Earlier:
    """What one loop passes back to the results of those before it."""

    pull: Callable[[Any], Any]
    none: list[Any]
    loss: Array
    number: int
    axes: Sequence[Axes]

    def plus(self, here: Back, leaves: list[Any]) -> list[Any]:
        parts = [here.start, *here.constants, *here.inputs]
        flat, tree = jax.tree.flatten(leaves, is_leaf=lambda x: isinstance(x, Scaled))

        def through(mantissas: list[Any]) -> list[Any]:
            entered = list(self.none)
            count = len(here.constants)
            own = self.axes[self.number]
            begun = zip(mantissas[0], own.carry, strict=True)
            start = [as_given(m, axis) for m, axis in begun]
            inputs = [
                m if a is None else as_given(m, a, 1)
                for m, a in zip(mantissas[1 + count :], own.inputs, strict=True)
            ]
            entered[self.number] = [mantissas[1 : 1 + count], start, inputs]
            (pulled,) = self.pull((jnp.zeros_like(self.loss), entered))
            made = [
                _laid_out(d, len(where.carry), where)
                for d, where in zip(pulled, self.axes[: self.number], strict=False)
            ]
            return [x for pair in made for x in pair if x is not None]

        return jax.tree.unflatten(tree, through_bands(through, parts, flat))


def _laid_out(arrays: list[Array], carried: int, where: Axes) -> tuple[Any, Any]:
    """Float results of a loop, examples first: (carry, outputs or None)."""
    last = [
        examples_first(x, axis)
        for x, axis in zip(arrays[:carried], where.carry, strict=True)
    ]
    outputs = [
        examples_first(x, axis, 1)
        for x, axis in zip(arrays[carried:], where.outputs, strict=True)
    ]
    return last, outputs or None


def _lifted(arrays: list[Array], ran: Ran, where: Axes) -> tuple[Scaled, Scaled | None]:
    last, outputs = _laid_out(arrays, len(picked(ran.last)), where)
    return scaled.lift(last, 1), None if outputs is None else scaled.lift(outputs, 2)


def _reached(arrays: list[Array], ran: Ran) -> Array:
    """Whether a cotangent arrives at each step, ``(T,)``."""
    carried, steps = len(picked(ran.last)), ran.loop.length
    end = 0 if ran.loop.reverse else steps - 1
    seen = jnp.zeros(steps, bool)
    for x in arrays[:carried]:
        seen = seen.at[end].set(seen[end] | jnp.any(x != 0))
    for x in arrays[carried:]:
        seen = seen | jnp.any(x != 0, axis=tuple(range(1, x.ndim)))
    return seen


def _plain(here: Back, where: Axes) -> Any:
    """Cotangents of the operands as ordinary arrays; what is too small becomes 0."""
    flat = lambda value: scaled.shift(value.mantissa, value.exponent)
    start = [as_given(m, a) for m, a in zip(flat(here.start), where.carry, strict=True)]
    inputs = [
        flat(x) if a is None else as_given(flat(x), a, 1)
        for x, a in zip(here.inputs, where.inputs, strict=True)
    ]
    return [[flat(x) for x in here.constants], start, inputs]


def program_of(function: Callable[..., Any], args: Arguments) -> Program:
    """Trace a function as one of the arrays of its arguments.

    Raises:
        UserError: its result is not one real number.
    """
    flat = lambda *arrays: function(*args.filled(arrays))
    closed = jax.make_jaxpr(flat)(*args.arrays)
    results = closed.out_avals
    real = [not x.shape and jnp.issubdtype(x.dtype, jnp.floating) for x in results]
    if real != [True]:
        found = ", ".join(map(str, results)) or "nothing"
        raise UserError(f"the loss must be one real number, but it is {found}")
    return Program(closed)
