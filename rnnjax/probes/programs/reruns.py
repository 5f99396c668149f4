"""A traced program run again with one of its loops altered after each step.

What a step computes from its new carry changes with it, as for the adjoint. Loops
before the altered one are not run again.
"""

import dataclasses
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jax import lax
from jaxtyping import Array, Float

from rnnjax.probes.programs.arguments import Arguments
from rnnjax.probes.programs.folding import folding
from rnnjax.probes.programs.loop_run import (
    Axes,
    Ran,
    examples_first,
    picked,
    put,
    results,
    run,
)
from rnnjax.probes.programs.loops import OPENED, as_loop, is_loop, refuse
from rnnjax.probes.programs.specialise import specialise
from rnnjax.recurrence.jaxprs import play


@struct.dataclass
class Outcome:
    """What a run of the program gives; of several changes, with an axis in front.

    Attributes:
        loss: the mean of the losses.
        examples: the loss of each example ``(B,)``; empty if it is not known.
        answers: the float arrays of the answers.
    """

    loss: Float[Array, ""]
    examples: Float[Array, "B"]
    answers: list[Array]


@dataclasses.dataclass(frozen=True)
class Losses:
    """A traced function of flat arrays that gives losses and answers.

    Attributes:
        closed: the program; its first result are the losses, the others the answers.
        time_major: whether losses of two axes are ``(T, B)`` or ``(B, T)``.
    """

    closed: Any
    time_major: bool = True

    def forward(self, args: Sequence[Any]) -> tuple[Array, list[Ran]]:
        """The losses, and the loops after their forward pass.

        Raises:
            UserError: a loop is where it cannot be reached.
        """
        seen: list[Ran] = []

        def at(equation: Any, values: list[Any]) -> list[Any]:
            seen.append(run(as_loop(equation, f"loop{len(seen)}"), values))
            return results(seen[-1])

        losses = play(self.closed, args, is_loop, OPENED, at, refuse)[0]
        return losses, seen

    def again(
        self,
        args: Sequence[Any],
        ran: Sequence[Ran],
        number: int,
        alter: Callable[[list[Any], Any], list[Any]],
        along: Any,
        size: int,
    ) -> Outcome:
        """Run the program with one loop altered.

        Args:
            args: its arguments, flat.
            ran: the loops after their forward pass.
            number: which of them is altered.
            alter: maps the float arrays of the carry after a step, and a slice of
                `along`, to those that take their place.
            along: pytree of arrays with the time axis first.
            size: number of examples B.
        """
        counter = itertools.count()

        def at(equation: Any, values: list[Any]) -> Sequence[Any] | None:
            place = next(counter)
            if place < number:
                return results(ran[place])
            if place > number:
                return None
            return _altered(ran[number], alter, along)

        losses, *answers = play(self.closed, args, is_loop, OPENED, at, refuse)
        each = self.per_example(losses, size)
        none = jnp.zeros((0,), losses.dtype)
        return Outcome(jnp.mean(losses), none if each is None else each, answers)

    def per_example(self, losses: Array, size: int) -> Array | None:
        """The loss of each example ``(B,)``; None if it cannot be known."""
        if losses.ndim == 2:
            losses = jnp.mean(losses, axis=0 if self.time_major else 1)
        return losses if size > 1 and losses.shape == (size,) else None


def losses_of(
    function: Callable[..., Any], args: Arguments, time_major: bool = True
) -> Losses:
    """Trace a function that returns (losses, answers); answers without floats go.

    Associative scans become loops, and what decides which loops run is decided, as for
    the probe (`program.program_of`).
    """

    def flat(*arrays: Any) -> Any:
        losses, answers = function(*args.filled(arrays))
        return [losses, *picked(jax.tree.leaves(answers))]

    with folding():
        closed = jax.make_jaxpr(flat)(*args.arrays)
    return Losses(specialise(closed, args.arrays), time_major)


def _altered(
    ran: Ran, alter: Callable[[list[Any], Any], list[Any]], along: Any
) -> list[Any]:
    """The results of a loop whose carry is altered after each step."""
    loop = ran.loop

    def step(carry: list[Any], now: Any) -> Any:
        x, own = now
        given = [*ran.constants, *carry, *x]
        new = list(loop.advance(given))
        new = put(new, alter(picked(new), own))
        outputs = list(loop.emit(given, new))
        return new, outputs

    options: Any = {"length": loop.length, "reverse": loop.reverse}
    last, outputs = lax.scan(step, ran.start, (ran.inputs, along), **options)
    return [*last, *outputs]


def states_of(ran: Ran, axes: Axes) -> list[Array]:
    """The float arrays of the carry after each step, ``(T, B, …)``."""
    carried = zip(picked(ran.after), axes.carry, strict=True)
    return [examples_first(x, axis, 1) for x, axis in carried]


def adjoints_of(
    program: Losses, args: Sequence[Any], ran: Sequence[Ran], number: int, axes: Axes
) -> list[Array]:
    """∂L/∂(state after each step) ``(T, B, …)`` by autodiff, L as below.

    L is the sum of the losses of the examples where they are known, so that each has
    the adjoint of its own loss; else the loss. Without exponents: what is below the
    range of floats is 0. Of a complex array ∂L/∂Re − i ∂L/∂Im.
    """
    taps = [jnp.zeros_like(x) for x in picked(ran[number].after)]
    add = lambda carry, now: [c + zero for c, zero in zip(carry, now, strict=True)]

    def loss(taps: list[Array]) -> Array:
        seen = program.again(args, ran, number, add, taps, axes.size)
        return jnp.sum(seen.examples) if seen.examples.size else seen.loss

    found = zip(jax.grad(loss)(taps), axes.carry, strict=True)
    return [examples_first(x, axis, 1) for x, axis in found]
