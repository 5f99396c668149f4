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

from rnnjax.probes.backward.bands import through_bands
from rnnjax.probes.programs.attribution import Reached, attribution
from rnnjax.probes.programs.loop_back import Back, back
from rnnjax.probes.programs.loop_run import (
    Axes,
    Ran,
    as_given,
    examples_first,
    picked,
    put,
    results,
)
from rnnjax.probes.programs.program import Program
from rnnjax.recurrence import scaled
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
        past: the part of it that goes through no loop.
    """

    loss: Float[Array, ""]
    loops: tuple[Walked, ...]
    gradient: list[Array]
    past: list[Array]


def walk(
    program: Program,
    args: Sequence[Any],
    ran: Sequence[Ran],
    axes: Sequence[Axes],
    params: Sequence[Reached] = (),
    ends: bool = False,
) -> Walks:
    """The backward pass; works under `jit`.

    Args:
        program: the program.
        args: its arguments, flat.
        ran: its loops after their forward pass.
        axes: where the examples are, for each loop.
        params: for each loop, the arguments to which each step's contribution is
            measured (`reached_by`); empty: none.
        ends: take only what the loss reads of the states at the end of each loop, and
            drop what it reads of earlier ones.
    """
    every = [results(one) for one in ran]
    free = [picked(one) for one in every]
    own = picked(args)

    def segments(own: list[Any], free: list[Any]) -> Any:
        given = [put(a, b) for a, b in zip(every, free, strict=True)]
        return program.segments(put(args, own), given)

    (loss, entered), pull = jax.vjp(lambda free: segments(own, free), free)
    none = jax.tree.map(jnp.zeros_like, entered)
    # A cotangent that is a constant zero would be folded through all that follows.
    (direct,) = jax.lax.optimization_barrier(pull((jnp.ones_like(loss), none)))
    reached = [_reached(d, one) for d, one in zip(direct, ran, strict=True)]
    if ends:
        direct = [_at_the_end(d, one) for d, one in zip(direct, ran, strict=True)]
    leaves = [
        _lifted(d, one, where) for d, one, where in zip(direct, ran, axes, strict=True)
    ]
    found: list[Back] = []
    plain: list[Any] = list(none)
    for number in reversed(range(len(ran))):
        last, outputs = leaves[number]
        wanted = params[number] if params else Reached()
        to = attribution(program, number, args, every, wanted)
        here = back(ran[number], last, outputs, axes[number], to)
        if to is not None:
            again = dataclasses.replace(to, along=here.of_parameters)
            second = back(ran[number], last, outputs, axes[number], again)
            here = dataclasses.replace(here, along=second.along, left=second.left)
        found.insert(0, here)
        plain[number] = _plain(here, axes[number])
        if number:
            earlier = _Earlier(pull, none, loss, number, axes)
            leaves[:number] = earlier.plus(here, leaves[:number])
    pull_own = jax.vjp(lambda own: segments(own, free), own)[1]
    (gradient,) = pull_own((jnp.ones_like(loss), plain))
    (past,) = pull_own((jnp.ones_like(loss), none))
    parts = zip(ran, found, reached, strict=True)
    return Walks(loss, tuple(Walked(*part) for part in parts), gradient, past)


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


def _at_the_end(arrays: list[Array], ran: Ran) -> list[Array]:
    """Cotangents of the results of a loop without those of outputs of earlier steps."""
    carried = len(picked(ran.last))
    end = 0 if ran.loop.reverse else ran.loop.length - 1
    kept = [jnp.zeros_like(x).at[end].set(x[end]) for x in arrays[carried:]]
    return [*arrays[:carried], *kept]


def _plain(here: Back, where: Axes) -> Any:
    """Cotangents of the operands as ordinary arrays; what is too small becomes 0."""
    flat = lambda value: scaled.shift(value.mantissa, value.exponent)
    start = [as_given(m, a) for m, a in zip(flat(here.start), where.carry, strict=True)]
    inputs = [
        flat(x) if a is None else as_given(flat(x), a, 1)
        for x, a in zip(here.inputs, where.inputs, strict=True)
    ]
    return [[flat(x) for x in here.constants], start, inputs]
