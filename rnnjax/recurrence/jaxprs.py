"""Traced programs (jaxprs): what is inside of them, and how a part of one is run."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
from jax.extend.core import ClosedJaxpr, DropVar, Literal, jaxpr_as_fun


def inner(equation: Any) -> list[Any]:
    """The inner programs of an equation, such as the body of a loop."""
    values = jax.tree.leaves(list(equation.params.values()))
    return [x for x in values if hasattr(getattr(x, "jaxpr", x), "eqns")]


def equations(program: Any) -> Iterator[Any]:
    """All equations of a program, including those of its inner programs."""
    for equation in getattr(program, "jaxpr", program).eqns:
        yield equation
        yield from within(equation)


def within(equation: Any) -> Iterator[Any]:
    """All equations of the inner programs of an equation."""
    for part in inner(equation):
        yield from equations(part)


def given(program: Any, arguments: Sequence[Any]) -> dict[Any, Any]:
    """The values of a program's variables before its first equation."""
    jaxpr = getattr(program, "jaxpr", program)
    known = dict(zip(jaxpr.constvars, getattr(program, "consts", ()), strict=True))
    return known | dict(zip(jaxpr.invars, arguments, strict=True))


def run_part(
    jaxpr: Any, part: Sequence[Any], wanted: set[Any], known: dict[Any, Any]
) -> None:
    """Run some equations of a program, and keep the values that are needed later.

    Args:
        jaxpr: the program.
        part: some of its equations, in order.
        wanted: the variables whose values are needed later.
        known: the values of variables, to which those are added.
    """
    made = [out for equation in part for out in equation.outvars]
    outputs = [out for out in made if out in wanted]
    reads = [x for x in variables(part) if x in known]
    effects = {effect for equation in part for effect in equation.effects}
    cut = jaxpr.replace(
        constvars=[], invars=reads, outvars=outputs, eqns=list(part), effects=effects
    )
    values = jaxpr_as_fun(ClosedJaxpr(cut, ()))(*read(known, reads))
    known.update(zip(outputs, values, strict=True))


def play(
    closed: Any,
    args: Sequence[Any],
    chosen: Callable[[Any], bool],
    opened: Sequence[str],
    handle: Callable[[Any, list[Any]], Sequence[Any] | None],
    refuse: Callable[[Any], Any],
) -> list[Any]:
    """Run a program, but hand the chosen equations to the caller.

    Args:
        closed: the program.
        args: its arguments, flat.
        chosen: which equations are handed over.
        opened: names of primitives that are opened if a chosen equation is inside.
        handle: maps a chosen equation and the values of its operands to its results;
            None: run the equation as it is.
        refuse: called with an equation that holds a chosen one and cannot be opened;
            raises an error, or else the equation is run as it is.
    """
    jaxpr = getattr(closed, "jaxpr", closed)
    known = given(closed, args)
    last = {x for x in jaxpr.outvars if not isinstance(x, Literal)}
    waiting: list[Any] = []
    for place, equation in enumerate(jaxpr.eqns):
        opens = False
        if not chosen(equation):
            opens = any(map(chosen, within(equation)))
            if opens and equation.primitive.name not in opened:
                refuse(equation)
                opens = False
            if not opens:
                waiting.append(equation)
                continue
        run_part(jaxpr, waiting, {*variables(jaxpr.eqns[place:]), *last}, known)
        waiting = []
        values = read(known, equation.invars)
        if opens:
            results = play(inner(equation)[0], values, chosen, opened, handle, refuse)
        else:
            results = handle(equation, values)
        if results is None:
            waiting = [equation]
        else:
            known.update(zip(equation.outvars, results, strict=True))
    run_part(jaxpr, waiting, last, known)
    return read(known, jaxpr.outvars)


def leading(closed: Any, count: int) -> Any:
    """The program of the first `count` results, without what they do not need.

    Equations are kept or left out as a whole.
    """
    jaxpr = closed.jaxpr
    outputs = jaxpr.outvars[:count]
    needed, kept = {x for x in outputs if not isinstance(x, Literal)}, []
    for equation in reversed(jaxpr.eqns):
        if equation.effects or needed.intersection(equation.outvars):
            kept.insert(0, equation)
            needed |= set(variables([equation]))
    return ClosedJaxpr(jaxpr.replace(outvars=outputs, eqns=kept), closed.consts)


INLINED = ("jit", "pjit", "closed_call", "core_call", "checkpoint", "remat", "remat2")
"""Primitives that run an inner program on their operands, without a derivative rule."""


def inlined(closed: Any) -> Any:
    """A program with the equations of inner programs in place of `INLINED` calls."""
    jaxpr = closed.jaxpr
    if not any(x.primitive.name in INLINED for x in jaxpr.eqns):
        return closed
    calls = lambda equation: equation.primitive.name in INLINED

    def run(*args: Any) -> Any:
        open_up = lambda equation, values: play(
            inner(equation)[0], values, calls, (), open_up, lambda equation: None
        )
        return play(closed, args, calls, (), open_up, lambda equation: None)

    given = [jax.ShapeDtypeStruct(x.aval.shape, x.aval.dtype) for x in jaxpr.invars]
    return jax.make_jaxpr(run)(*given)


def rest_from(closed: Any, count: int) -> Callable[[Sequence[Any], Sequence[Any]], Any]:
    """The later results of a program, from its arguments and its first `count` results.

    What is computed from one of the first results is computed from the value that is
    given for it.

    Returns:
        a function of the arguments and of the first results.
    """
    jaxpr = closed.jaxpr
    outputs, arguments = jaxpr.outvars[count:], list(jaxpr.invars)
    first: dict[Any, int] = {}
    for place, x in enumerate(jaxpr.outvars[:count]):
        if not isinstance(x, Literal):
            first.setdefault(x, place)
    passed = {arguments.index(x): i for x, i in first.items() if x in arguments}
    cut = {x: i for x, i in first.items() if x not in arguments}
    needed, kept = {x for x in outputs if not isinstance(x, Literal)} - {*cut}, []
    for equation in reversed(jaxpr.eqns):
        if needed.intersection(equation.outvars):
            own = [DropVar(x.aval) if x in cut else x for x in equation.outvars]
            kept.insert(0, equation.replace(outvars=own))
            needed |= set(variables([equation])) - {*cut}
    effects = {effect for equation in kept for effect in equation.effects}
    rest = jaxpr.replace(
        invars=[*arguments, *cut], outvars=outputs, eqns=kept, effects=effects
    )
    run = jaxpr_as_fun(ClosedJaxpr(rest, closed.consts))

    def emit(given: Sequence[Any], known: Sequence[Any]) -> Any:
        full = [
            known[passed[place]] if place in passed else x
            for place, x in enumerate(given)
        ]
        return run(*full, *(known[i] for i in cut.values()))

    return emit


def depends(closed: Any, opened: Sequence[str]) -> list[frozenset[int]]:
    """For each result of a program, the places of the arguments on which it depends.

    Inner programs are looked into if their primitive is one of `opened`; of any other
    equation, each result counts as one that depends on every operand.
    """
    jaxpr = getattr(closed, "jaxpr", closed)
    known = {x: frozenset([i]) for i, x in enumerate(jaxpr.invars)}
    nothing: frozenset[int] = frozenset()
    of = lambda x: nothing if isinstance(x, Literal) else known.get(x, nothing)
    for equation in jaxpr.eqns:
        met = list(map(of, equation.invars))
        found = [nothing.union(*met)] * len(equation.outvars)
        if equation.primitive.name in opened:
            rows = depends(inner(equation)[0], opened)
            found = [nothing.union(*(met[i] for i in row)) for row in rows]
        known.update(zip(equation.outvars, found, strict=True))
    return [of(x) for x in jaxpr.outvars]


def read(known: dict[Any, Any], places: Any) -> list[Any]:
    """The values of variables and literals."""
    return [x.val if isinstance(x, Literal) else known[x] for x in places]


def variables(part: Any) -> dict[Any, None]:
    """The variables that equations read, in order."""
    places = (x for equation in part for x in equation.invars)
    return {x: None for x in places if not isinstance(x, Literal)}
