"""Is a probed program the user's? Loss, gradients, and what is not measured."""

import functools
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import jaxpr_as_fun

from rnnjax.analysis.agreement import TINY, bypass, check, coarsest
from rnnjax.probes.programs.arguments import Arguments
from rnnjax.probes.programs.loop_run import Ran, floats, picked
from rnnjax.probes.programs.loops import is_while, unseen
from rnnjax.probes.programs.program import Program
from rnnjax.probes.programs.whole import Walks
from rnnjax.recurrence.jaxprs import equations
from rnnjax.xla_options import ONCE


CAUSES = (
    "a derivative rule that is not linear in its cotangent, such as one that clips "
    "gradients, or a chaotic loop"
)
"""What may make the probe and JAX disagree."""

APART = 1e-3
"""Relative difference between gradients of a parallel scan and its loop above which the
function is no associative one, or the difference deserves a warning."""


def compare(
    program: Program, given: Arguments, seen: Walks, ran: Sequence[Ran]
) -> dict[str, Any]:
    """Compare loss and gradient of every argument with those of JAX.

    JAX differentiates the program as it was, unless that holds associative scans, whose
    parallel form rounds otherwise (`parallel_difference`), or a `while_loop`, of which
    it has no gradient: then the program that was walked.

    Of all arguments, because those that are not parameters may reach a loop at steps
    from which no parameter gets a gradient.

    Returns:
        the gradients of JAX, by name.
    """
    arrays = given.arrays
    names = _names(given)
    mine = dict(zip(floats(arrays), seen.gradient, strict=True))
    own = {name: jnp.asarray(arrays[place]) for name, place in names.items()}
    found = {name: mine[place] for name, place in names.items()}
    states = [picked(one.last) for one in ran]
    exploded = any(not np.all(np.isfinite(x)) for x in jax.tree.leaves(states))
    dtype = coarsest(own, states)
    loops = any(map(is_while, equations(program.plain)))
    changed = program.folds or loops
    untouched = _gradient_of(program.closed if changed else program.plain, names)
    known = check(seen.loss, found, untouched, own, arrays, dtype, exploded, CAUSES)
    if loops:  # JAX has the loss of the program as it was, but no gradient
        plain = functools.partial(jax.jit, compiler_options=dict(ONCE))
        loss = plain(jaxpr_as_fun(program.plain))(*arrays)[0]
        check(seen.loss, {}, lambda *_: (loss, ({},)), {}, arrays, dtype, exploded)
    return known[0]


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


def parallel_difference(
    program: Program, given: Arguments, known: dict[str, Any]
) -> float:
    """How far gradients of the parallel form of associative scans are from the loops'.

    The largest ‖difference‖ / ‖gradient‖ of an argument; NaN if JAX cannot
    differentiate the program as it was, because of a `while_loop`.
    """
    names = _names(given)
    own = {name: jnp.asarray(given.arrays[place]) for name, place in names.items()}
    try:
        _, (other,) = _gradient_of(program.plain, names)(own, given.arrays)
    except ValueError:
        return float("nan")
    size = lambda x: float(np.linalg.norm(np.asarray(x).ravel()))
    sizes = {name: size(known[name]) for name in names}
    return max(
        size(other[name] - known[name]) / whole
        for name, whole in sizes.items()
        if whole
    )


def bypass_share(seen: Walks, given: Arguments, params: set[int]) -> float:
    """The share of the gradient at the inputs that goes through no loop.

    Inputs are float arguments that are no parameters and that reach a loop.
    """
    rows = zip(floats(given.arrays), seen.past, seen.gradient, strict=True)
    pairs = [(a, b) for place, a, b in rows if place not in params]
    through = [(a, b) for a, b in pairs if np.any(np.asarray(a) != np.asarray(b))]
    return bypass([a for a, _ in through], [b for _, b in through])


def doubts(program: Program, share: float, parallel: float | None) -> Iterator[str]:
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
            "loop: by a skip connection, attention, or a recurrence that is no loop"
        )
    if parallel is not None and parallel > APART:
        yield (
            f"gradients of an associative scan differ by {100 * parallel:.2g} % from "
            "those of the loop that it should compute: its function is not "
            "associative, or rounding matters"
        )
