"""Is a probed program the user's? Loss, gradients, and what is not measured."""

import dataclasses
import functools
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import jaxpr_as_fun

from rnnjax.analysis.agreement import TINY, bypass, check, coarsest
from rnnjax.errors import UserError
from rnnjax.probes.programs.arguments import Arguments
from rnnjax.probes.programs.loop_run import Ran, floats, picked
from rnnjax.probes.programs.loops import (
    OPENED,
    is_loop,
    is_while,
    place_of,
    refuse,
    unseen,
)
from rnnjax.probes.programs.program import Program
from rnnjax.probes.programs.whole import Walks
from rnnjax.recurrence.jaxprs import equations, inner, play
from rnnjax.xla_options import ONCE


CAUSES = (
    "a derivative rule that is not linear in its cotangent, such as one that clips "
    "gradients, or a chaotic loop"
)
"""What may make the probe and JAX disagree."""

APART = 1e-3
"""Relative difference between gradients of a parallel scan and its loop above which the
function is no associative one, or the difference deserves a warning."""


@dataclasses.dataclass(frozen=True)
class Agreement:
    """A probed program beside JAX.

    Attributes:
        parallel: how far gradients of the parallel form of associative scans are from
            those of the loops, the largest ‖difference‖ / ‖gradient‖ of an argument;
            NaN where JAX has none, because of a `while_loop`; None: there are no such
            scans.
        rules: the same for the user's derivative rules around loops; None: they agree.
        ruled: the loops that such rules are around.
    """

    parallel: float | None
    rules: float | None
    ruled: tuple[str, ...]


def compare(
    program: Program, given: Arguments, seen: Walks, ran: Sequence[Ran]
) -> Agreement:
    """Compare loss and gradient of every argument with those of JAX.

    JAX differentiates the program as it was, unless that holds associative scans, whose
    parallel form rounds otherwise, or a `while_loop` of which it has no gradient: then
    the program that was walked. A derivative rule of the user's around a loop may be
    another derivative than that of the loop; then the two are compared without it.

    Of all arguments, because those that are not parameters may reach a loop at steps
    from which no parameter gets a gradient.

    Raises:
        UserError: they differ.
    """
    arrays, names = given.arrays, _names(given)
    mine = dict(zip(floats(arrays), seen.gradient, strict=True))
    own = {name: jnp.asarray(arrays[place]) for name, place in names.items()}
    found = {name: mine[place] for name, place in names.items()}
    states = [picked(one.last) for one in ran]
    exploded = any(not np.all(np.isfinite(x)) for x in jax.tree.leaves(states))
    dtype = coarsest(own, states)

    def checked(closed: Any) -> dict[str, Any]:
        of = _gradient_of(closed, names)
        return check(seen.loss, found, of, own, arrays, dtype, exploded, CAUSES)[0]

    ruled = tuple(_ruled(program.plain))
    rules = parallel = None
    counted = any(map(is_while, equations(program.plain)))
    differentiable = not counted or _has_gradient(program.plain, names, own, arrays)
    try:
        whole = (
            program.plain if differentiable and not program.folds else program.closed
        )
        known = checked(whole)
    except UserError:
        if not ruled:
            raise
        known = checked(_opened(program.closed, arrays))
        rules = _apart(program.plain, names, own, arrays, known)
    if not differentiable:  # JAX has the loss of the program as it was, but no gradient
        plain = jax.jit(jaxpr_as_fun(program.plain), compiler_options=dict(ONCE))
        loss = plain(*arrays)[0]
        check(seen.loss, {}, lambda *_: (loss, ({},)), {}, arrays, dtype, exploded)
    if program.folds:
        parallel = float("nan")
        if differentiable:
            parallel = _apart(program.plain, names, own, arrays, known)
    return Agreement(parallel, rules, ruled)


def _has_gradient(
    closed: Any, names: dict[str, int], own: dict[str, Any], arrays: Sequence[Any]
) -> bool:
    """Whether JAX can differentiate a program, whatever `while_loop` is in it."""
    try:
        jax.eval_shape(_gradient_of(closed, names), own, list(arrays))
    except ValueError:
        return False
    return True


def _ruled(program: Any, rule: bool = False) -> Iterator[str]:
    """The lines of loops inside of a derivative rule of the user's."""
    for equation in getattr(program, "jaxpr", program).eqns:
        name = equation.primitive.name
        if rule and (is_loop(equation) or is_while(equation)):
            yield place_of(equation)
        elif name in OPENED:
            yield from _ruled(inner(equation)[0], rule or name.startswith("custom"))


def _opened(closed: Any, arrays: Sequence[Any]) -> Any:
    """The program without the derivative rules around its loops."""
    leave = lambda equation, values: None
    run = lambda *flat: play(closed, flat, is_loop, OPENED, leave, refuse)
    return jax.make_jaxpr(run)(*arrays)


def _names(given: Arguments) -> dict[str, int]:
    """The places of float arrays by name."""
    some = set(floats(given.arrays))
    return {
        f"argument {argument} {name}".rstrip(): place
        for argument in range(given.count)
        for place, name in given.names(argument).items()
        if place in some
    }


def _gradient_of(closed: Any, names: dict[str, int]) -> Any:
    """Loss and gradient of a program by JAX, as a function of named arrays."""
    traced = jaxpr_as_fun(closed)

    @functools.partial(jax.jit, compiler_options=dict(ONCE))
    def untouched(own: dict[str, Any], rest: list[Any]) -> Any:
        def of(own: dict[str, Any]) -> Any:
            full = list(rest)
            for name, place in names.items():
                full[place] = own[name]
            return traced(*full)[0]

        value, gradient = jax.value_and_grad(of)(own)
        return value, (gradient,)

    return untouched


def _apart(
    plain: Any,
    names: dict[str, int],
    own: dict[str, Any],
    arrays: Sequence[Any],
    known: dict[str, Any],
) -> float:
    """The largest ‖difference‖ / ‖gradient‖ of an argument."""
    _, (other,) = _gradient_of(plain, names)(own, arrays)
    size = lambda x: float(np.linalg.norm(np.asarray(x).ravel()))
    sizes = {name: size(known[name]) for name in names}
    rows = [size(other[k] - known[k]) / whole for k, whole in sizes.items() if whole]
    return max(rows, default=0.0)


def bypass_share(seen: Walks, given: Arguments, params: set[int]) -> float:
    """The share of the gradient at the inputs that goes through no loop.

    Inputs are float arguments that are no parameters and that reach a loop.
    """
    rows = zip(floats(given.arrays), seen.past, seen.gradient, strict=True)
    pairs = [(a, b) for place, a, b in rows if place not in params]
    through = [(a, b) for a, b in pairs if np.any(np.asarray(a) != np.asarray(b))]
    return bypass([a for a, _ in through], [b for _, b in through])


def no_loop(program: Program) -> str:
    """Why there is nothing to measure, in words."""
    idle = [
        place_of(x)
        for x in equations(program.plain)
        if x.primitive.name in ("scan", "while")
    ]
    if idle:
        places = ", ".join(dict.fromkeys(idle))
        return (
            f"no loop with a state of floats runs: that of {places} has no steps, "
            "carries no floats, or lies in a branch that is not taken"
        )
    others = ", ".join(unseen(program.closed))
    besides = f" (there is {others})" if others else ""
    return (
        f"no lax.scan with a state of floats was found{besides}: a loop that is "
        "written in Python over the steps cannot be told from layers, and an "
        "associative scan of one element is none; use lax.scan"
    )


def doubts(program: Program, share: float, agreed: Agreement) -> Iterator[str]:
    """One sentence for each warning."""
    others = ", ".join(unseen(program.closed))
    if others:
        yield (
            "what goes from step to step outside of the loops is not measured: "
            f"{others}"
        )
    if share > TINY:
        yield (
            f"{100 * share:.2g} % of the gradient at the inputs bypasses every "
            "loop: by a skip connection, a gate or readout that depends on the input, "
            "attention, or a recurrence that is no loop"
        )
    if agreed.rules is not None:
        yield (
            f"a custom derivative rule around {', '.join(agreed.ruled)} is another "
            "derivative than that of the loop, which is what is measured: their "
            f"gradients differ by {100 * agreed.rules:.2g} %"
        )
    parallel = agreed.parallel
    if parallel is not None and parallel > APART:
        yield (
            f"gradients of an associative scan differ by {100 * parallel:.2g} % from "
            "those of the loop that it should compute: its function is not "
            "associative, or rounding matters"
        )
