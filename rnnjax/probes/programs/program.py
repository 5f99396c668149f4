"""A traced program that is cut at its loops."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from rnnjax.errors import UserError
from rnnjax.probes.programs.arguments import Arguments
from rnnjax.probes.programs.folding import folding
from rnnjax.probes.programs.loop_run import Ran, picked, results, run
from rnnjax.probes.programs.loops import (
    OPENED,
    as_loop,
    is_loop,
    is_while,
    place_of,
    refuse,
    top,
)
from rnnjax.probes.programs.specialise import specialise, unroll
from rnnjax.recurrence.jaxprs import depends, play, within


Places = frozenset[int]
"""Places of arguments."""


@dataclasses.dataclass(frozen=True)
class Program:
    """A traced function of flat arguments whose first result is the loss.

    Attributes:
        closed: the traced program.
        names: of its loops, in the order in which they run.
        reach: for each loop, and there for each float constant and each float input,
            the arguments on which it depends, apart from the results of loops.
        folds: the number of associative scans in it.
        plain: the traced function as it was, with associative scans in parallel.
    """

    closed: Any
    names: tuple[str, ...]
    reach: tuple[tuple[tuple[Places, ...], tuple[Places, ...]], ...]
    folds: int
    plain: Any

    def forward(self, args: Sequence[Any]) -> tuple[Array, list[Ran]]:
        """The loss, and the loops after their forward pass.

        Raises:
            UserError: a loop is where it cannot be reached.
        """
        seen: list[Ran] = []

        def at(equation: Any, values: list[Any]) -> list[Any]:
            ran = run(as_loop(equation, self.names[len(seen)]), values)
            seen.append(ran)
            return results(ran)

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


def program_of(
    function: Callable[..., Any], args: Arguments, unrolled: Sequence[str] = ()
) -> Program:
    """Trace a function as one of the arrays of its arguments.

    Associative scans become loops (`folding`), and what decides which loops run is
    decided for these arguments (`specialise`).

    Args:
        function: returns one real number.
        args: its arguments.
        unrolled: names of loops whose inner loops are to be measured.

    Raises:
        UserError: its result is not one real number; a loop cannot be unrolled, or one
            is where it cannot be followed.
    """
    flat = lambda *arrays: function(*args.filled(arrays))
    with folding() as folds:
        closed = jax.make_jaxpr(flat)(*args.arrays)
    results = closed.out_avals
    real = [not x.shape and jnp.issubdtype(x.dtype, jnp.floating) for x in results]
    if real != [True]:
        found = ", ".join(map(str, results)) or "nothing"
        raise UserError(f"the loss must be one real number, but it is {found}")
    plain = (
        jax.make_jaxpr(lambda *arrays: flat(*arrays))(*args.arrays) if folds else closed
    )
    closed = specialise(closed, args.arrays)
    closed, names = unroll(closed, args.arrays, unrolled)
    found = [x for x in top(closed) if is_loop(x)]
    for equation in found:
        for inside in filter(is_while, within(equation)):
            raise UserError(
                f"{place_of(inside)}: a while loop inside another loop, of which JAX "
                "has no derivative; use a scan or a fori_loop of fixed length"
            )
    return Program(
        closed, tuple(names), _reach(closed, args.arrays, found), len(folds), plain
    )


def _reach(closed: Any, args: Sequence[Any], loops: Sequence[Any]) -> Any:
    """`Program.reach`."""
    cut = Program(closed, (), (), 0, closed)
    results = [
        [jax.ShapeDtypeStruct(x.aval.shape, x.aval.dtype) for x in one.outvars]
        for one in loops
    ]
    segments = lambda args, results: cut.segments(args, results)[1]
    traced, shape = jax.make_jaxpr(segments, return_shape=True)(list(args), results)
    flat = iter(depends(traced, OPENED))
    counted = [[[next(flat) for _ in part] for part in one] for one in shape]
    own = lambda found: frozenset(x for x in found if x < len(args))
    return tuple(
        (tuple(map(own, constants)), tuple(map(own, inputs)))
        for constants, _, inputs in counted
    )
