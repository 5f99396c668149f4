"""A kernel's own forward pass, differentiated by JAX instead of by its own rule."""

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
from jax import lax

from rnnjax.errors import UserError
from rnnjax.recurrence.functional import variables_read
from rnnjax.recurrence.jaxprs import equations, given, inner, read, run_part, within


OWN_RULES = ("custom_vjp_call", "custom_vjp_call_jaxpr", "custom_jvp_call")
"""Primitives whose derivative is a rule of the user's, unless they are JAX's own."""

JAX = str(Path(jax.__file__).parent)
"""The folder of JAX, whose functions such as `jax.nn.relu` have rules too."""

OPENED = ("jit", "pjit", "closed_call", "core_call", "remat", "checkpoint")
"""Primitives that call their one inner program."""


def primal_of(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function without its own derivative rules (`custom_vjp`, `custom_jvp`).

    Rules are taken away wherever they are, in loops and calls too. What is computed
    outside of JAX, as by a kernel of Pallas or a foreign function, stays and cannot be
    differentiated.
    """

    @functools.wraps(function)
    def plain(*arguments: Any) -> Any:
        closed, shapes = jax.make_jaxpr(function, return_shape=True)(*arguments)
        results = _evaluate(closed, jax.tree.leaves(arguments))
        return jax.tree.unflatten(jax.tree.structure(shapes), results)

    return plain


def has_own_rules(function: Callable[..., Any], arguments: Sequence[Any]) -> bool:
    """Whether the function uses a derivative rule of the user's anywhere."""
    program = jax.make_jaxpr(function)(*arguments)
    return any(map(_is_rule, equations(program)))


def _is_rule(equation: Any) -> bool:
    if equation.primitive.name not in OWN_RULES:
        return False
    return JAX not in str(inner(equation)[0].jaxpr.debug_info.func_src_info)


def _evaluate(program: Any, arguments: Sequence[Any]) -> list[Any]:
    """Compute a program equation by equation, going into those that have rules."""
    jaxpr = getattr(program, "jaxpr", program)
    known, wanted = given(program, arguments), set(variables_read(jaxpr))
    for equation in jaxpr.eqns:
        if _is_rule(equation) or any(map(_is_rule, within(equation))):
            results = _opened(equation, read(known, equation.invars))
            known |= dict(zip(equation.outvars, results, strict=True))
        else:
            run_part(jaxpr, [equation], wanted, known)
    return read(known, jaxpr.outvars)


def _opened(equation: Any, values: list[Any]) -> list[Any]:
    """The results of an equation whose inner program has rules, or which is one."""
    name, params = equation.primitive.name, equation.params
    if name == "scan":
        return _scan(params, values)
    if name == "cond":
        ways = [functools.partial(_branch, one) for one in params["branches"]]
        return lax.switch(values[0], ways, *values[1:])
    if name in (*OWN_RULES, *OPENED):
        return _evaluate(inner(equation)[0], values)
    raise UserError(
        f"the plain form cannot be derived: a derivative rule is used within '{name}'; "
        "give a --reference"
    )


def _branch(program: Any, *values: Any) -> list[Any]:
    return _evaluate(program, values)


def _scan(params: Any, values: list[Any]) -> list[Any]:
    count, carried = params["num_consts"], params["num_carry"]
    consts = values[:count]

    def step(carry: Any, xs: Any) -> Any:
        out = _evaluate(params["jaxpr"], [*consts, *carry, *xs])
        return tuple(out[:carried]), tuple(out[carried:])

    start, xs = values[count : count + carried], values[count + carried :]
    options = {key: params[key] for key in ("length", "reverse", "unroll")}
    last, ys = lax.scan(step, tuple(start), tuple(xs), **options)
    return [*last, *ys]
