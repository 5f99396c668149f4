"""A program with every choice made: branches taken, trip counts known, maps batched.

What decides a branch or ends a `while_loop` depends on the arguments. One run of the
program notes the choices, and the program is traced again with them made: of a
`lax.cond` the branch that was taken, a `scan` of the counted length for a
`while_loop`, `vmap` for a `lax.map`, and copies of the step for a loop that is to be
unrolled. Only those that hold a loop or are one are changed.
"""

import re
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.core import Tracer
from jax.extend.core import ClosedJaxpr, jaxpr_as_fun
from jaxtyping import Array

from rnnjax.errors import UserError, did_you_mean
from rnnjax.probes.programs.loops import OPENED, is_loop, is_while, place_of, top
from rnnjax.recurrence.jaxprs import equations, leading, play, within
from rnnjax.xla_options import ONCE


LONGEST = 64
"""Most copies of the step of a loop that is unrolled; compiling them takes seconds."""


def specialise(closed: Any, args: Sequence[Any]) -> Any:
    """The program for these arguments, whose loops are all scans outside of branches.

    Args:
        closed: the traced program.
        args: its arguments, flat, with values.

    Returns:
        A program of the same results, which holds for these values alone.
    """
    while any(map(_is_choice, top(closed))):
        choices = _made(closed, args)

        def replace(equation: Any, values: list[Any], choices: Any = choices) -> Any:
            chosen = next(choices)
            if equation.primitive.name == "cond":
                return jaxpr_as_fun(equation.params["branches"][chosen])(*values[1:])
            if equation.primitive.name == "while":
                return _scanned(equation, values, chosen)
            return _mapped(equation, values)

        closed = _retraced(closed, args, _is_choice, replace)
    return closed


def unroll(closed: Any, args: Sequence[Any], wanted: Sequence[str]) -> tuple[Any, list]:
    """The program with copies of the steps of some loops, and the names of all loops.

    Loops inside of an unrolled one become loops of their own, one for each of its
    steps: those of `loop0` are `loop0[0]/loop0`, `loop0[1]/loop0`, ….

    Args:
        closed: the program.
        args: its arguments, flat.
        wanted: names of loops, from the outside inwards; a name without numbers of
            steps stands for all of them, such as `loop0/loop1`.

    Raises:
        UserError: there is no such loop, it is too long, or there is none inside.
    """
    names = [f"loop{i}" for i in range(sum(map(is_loop, top(closed))))]
    for name in wanted:
        plain = [re.sub(r"\[\d+\]", "", own) for own in names]
        if name not in {*plain, *names}:
            raise UserError(f"no loop '{name}' to unroll; {did_you_mean(name, names)}")
        before, names = iter(list(zip(names, plain, strict=True))), []

        def copies(
            equation: Any,
            values: list[Any],
            name: str = name,
            before: Any = before,
            names: list[str] = names,
        ) -> Any:
            own, plain = next(before)
            if name not in (own, plain):
                names.append(own)
                return None
            length = equation.params["length"]
            body = equation.params["jaxpr"]
            held = sum(map(is_loop, top(body)))
            if not held or length > LONGEST:
                why = f"has more than {LONGEST} steps" if held else "has no loop inside"
                raise UserError(f"{own} ({place_of(equation)}) {why}: not unrolled")
            for step in _order(equation):
                names.extend(f"{own}[{step}]/loop{i}" for i in range(held))
            return _unrolled(equation, values)

        closed = _retraced(closed, args, is_loop, copies)
    return closed, names


def _retraced(closed: Any, args: Sequence[Any], chosen: Any, handle: Any) -> Any:
    run = lambda *flat: play(closed, flat, chosen, OPENED, handle, _leave)
    return jax.make_jaxpr(run)(*args)


def _leave(equation: Any) -> None:
    """An equation that is not looked into, such as an implicit solver."""


def _is_choice(equation: Any) -> bool:
    """Whether it decides which loops run, or how often."""
    if is_while(equation):
        return True
    if is_loop(equation) or equation.primitive.name not in ("cond", "scan"):
        return False
    return any(is_loop(x) or is_while(x) for x in within(equation))


def _made(closed: Any, args: Sequence[Any]) -> Any:
    """The branch, or the number of steps, of each choice, in order; 0 of a map."""

    if any(isinstance(x, Tracer) for x in args):
        raise UserError(
            "a branch, a while loop or a map holds a loop, and what it does is not "
            "known under jit; probe it outside of jit"
        )

    def choices(args: Sequence[Any]) -> list[Array]:
        made: list[Array] = []

        def note(equation: Any, values: list[Any]) -> Any:
            if equation.primitive.name == "while":
                count, results = _counted(equation, values)
                made.append(count)
                return results
            branch = equation.primitive.name == "cond"
            made.append(jnp.asarray(values[0] if branch else 0, int))
            return None

        play(closed, args, _is_choice, OPENED, note, _leave)
        return made

    found = jax.jit(choices, compiler_options=dict(ONCE))(list(args))
    return iter([int(x) for x in jax.device_get(found)])


Carry = Sequence[Any]


def _while(equation: Any, values: list[Any]) -> tuple[Any, Any, list[Any]]:
    """The test, the step and the start of a `while_loop`.

    Under `vmap`, a test has a result for each example, and the step leaves those alone
    that have ended.
    """
    params = equation.params
    first = params["cond_nconsts"]
    end = first + params["body_nconsts"]
    test, body = (jaxpr_as_fun(params[x]) for x in ("cond_jaxpr", "body_jaxpr"))

    def step(carry: Carry) -> list[Any]:
        new = body(*values[first:end], *carry)
        (goes_on,) = test(*values[:first], *carry)
        if not goes_on.shape:
            return list(new)
        still = lambda x: jnp.reshape(goes_on, goes_on.shape + (1,) * (x.ndim - 1))
        rows = zip(new, carry, strict=True)
        return [lax.select_n(still(a) & jnp.ones(a.shape, bool), b, a) for a, b in rows]

    return lambda carry: jnp.any(test(*values[:first], *carry)[0]), step, values[end:]


def _counted(equation: Any, values: list[Any]) -> tuple[Array, list[Any]]:
    """The number of steps of a `while_loop`, and its results."""
    goes_on, step, start = _while(equation, values)
    return lax.while_loop(
        lambda now: goes_on(now[1]),
        lambda now: (now[0] + 1, step(now[1])),
        (jnp.asarray(0), start),
    )


def _scanned(equation: Any, values: list[Any], length: int) -> list[Any]:
    """The same as a `scan` of that length, at the line of the `while_loop`."""

    def scan(*values: Any) -> Any:
        _, step, start = _while(equation, list(values))
        return lax.scan(lambda c, _: (step(c), None), start, None, length=length)[0]

    closed = jax.make_jaxpr(scan)(*values)
    place = equation.source_info
    placed = [x.replace(source_info=place) for x in closed.jaxpr.eqns]
    named = closed.jaxpr.replace(eqns=placed)
    return jaxpr_as_fun(ClosedJaxpr(named, closed.consts))(*values)


def _mapped(equation: Any, values: list[Any]) -> list[Any]:
    """A scan that carries no floats: `vmap` of its step, with what it carries."""
    params = equation.params
    step = jaxpr_as_fun(params["jaxpr"])
    first, carried = params["num_consts"], params["num_carry"]
    constants, start = values[:first], values[first : first + carried]
    xs = values[first + carried :]

    carrying = leading(params["jaxpr"], carried)
    if any(map(is_loop, equations(carrying))):
        raise UserError(
            f"{place_of(equation)}: a loop whose whole numbers depend on a loop in its "
            "step, where the probe cannot follow it"
        )

    def carry(now: Any, x: Any) -> Any:
        return jaxpr_as_fun(carrying)(*constants, *now, *x), now

    options: Any = {"length": params["length"], "reverse": params["reverse"]}
    last, before = start, []
    if carried:
        last, before = lax.scan(carry, start, xs, **options)
    each = jax.vmap(
        lambda now, x: step(*constants, *now, *x)[carried:],
        axis_size=params["length"],
    )
    return [*last, *each(before, xs)]


def _order(equation: Any) -> range:
    """The steps of a scan in the order in which they run."""
    steps = range(equation.params["length"])
    return steps[::-1] if equation.params["reverse"] else steps


def _unrolled(equation: Any, values: list[Any]) -> list[Any]:
    """The steps of a scan one after another."""
    params = equation.params
    step = jaxpr_as_fun(params["jaxpr"])
    first, carried = params["num_consts"], params["num_carry"]
    constants, carry = values[:first], values[first : first + carried]
    xs, outputs = values[first + carried :], []
    for now in _order(equation):
        out = step(*constants, *carry, *(x[now] for x in xs))
        carry = list(out[:carried])
        outputs.append(out[carried:])
    if params["reverse"]:
        outputs.reverse()
    return [*carry, *(jnp.stack(x) for x in zip(*outputs, strict=True))]
