"""A kernel's own forward pass, differentiated by JAX instead of by its own rule."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax import lax
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal, jaxpr_as_fun

from rnnjax.errors import UserError


OWN_RULES = ("custom_vjp_call", "custom_vjp_call_jaxpr")
"""Primitives whose derivative is a rule of the user's."""


def primal_of(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function without its own derivative rules (`jax.custom_vjp`).

    Rules are taken away wherever they are, in loops and calls too. What is computed
    outside of JAX, as by a kernel of Pallas or a foreign function, stays and cannot be
    differentiated.
    """

    @functools.wraps(function)
    def plain(*arguments: Any) -> Any:
        closed, shapes = jax.make_jaxpr(function, return_shape=True)(*arguments)
        leaves = jax.tree.leaves(arguments)
        results = _evaluate(closed.jaxpr, closed.consts, leaves)
        return jax.tree.unflatten(jax.tree.structure(shapes), results)

    return plain


def has_own_rules(function: Callable[..., Any], arguments: Sequence[Any]) -> bool:
    """Whether the function uses a derivative rule of the user's anywhere."""
    return _has_rules(jax.make_jaxpr(function)(*arguments).jaxpr)


def _has_rules(jaxpr: Jaxpr) -> bool:
    return any(
        eqn.primitive.name in OWN_RULES or any(map(_has_rules, _inner(eqn)))
        for eqn in jaxpr.eqns
    )


def _inner(eqn: Any) -> list[Jaxpr]:
    """The programs within an equation."""
    found = []
    for value in eqn.params.values():
        for one in value if isinstance(value, list | tuple) else [value]:
            if isinstance(one, ClosedJaxpr):
                found.append(one.jaxpr)
            elif isinstance(one, Jaxpr):
                found.append(one)
    return found


def _evaluate(
    jaxpr: Jaxpr, consts: Sequence[Any], arguments: Sequence[Any]
) -> list[Any]:
    """Compute a program equation by equation, going into those that have rules."""
    known: dict[Any, Any] = dict(zip(jaxpr.constvars, consts, strict=True))
    known |= dict(zip(jaxpr.invars, arguments, strict=True))
    read = lambda x: x.val if _fixed(x) else known[x]
    for eqn in jaxpr.eqns:
        values = [read(x) for x in eqn.invars]
        results = _equation(jaxpr, eqn, values)
        known |= dict(zip(eqn.outvars, results, strict=True))
    return [read(x) for x in jaxpr.outvars]


def _equation(jaxpr: Jaxpr, eqn: Any, values: list[Any]) -> list[Any]:
    name, given = eqn.primitive.name, eqn.params
    if name in OWN_RULES:
        closed = given["call_jaxpr"] if "call_jaxpr" in given else given["fun_jaxpr"]
        return _evaluate(closed.jaxpr, closed.consts, values)
    if not any(map(_has_rules, _inner(eqn))):
        read = {x: v for x, v in zip(eqn.invars, values, strict=True) if not _fixed(x)}
        part = jaxpr.replace(
            constvars=[],
            invars=list(read),
            outvars=eqn.outvars,
            eqns=[eqn],
            effects=eqn.effects,
        )
        return jaxpr_as_fun(ClosedJaxpr(part, ()))(*read.values())
    if name == "scan":
        return _scan(given, values)
    if name in ("jit", "pjit", "closed_call", "core_call", "remat", "checkpoint"):
        inner = given["jaxpr"] if "jaxpr" in given else given["call_jaxpr"]
        consts = inner.consts if isinstance(inner, ClosedJaxpr) else []
        jaxpr = inner.jaxpr if isinstance(inner, ClosedJaxpr) else inner
        return _evaluate(jaxpr, consts, values)
    raise UserError(
        f"the plain form cannot be derived: a derivative rule is used within '{name}'; "
        "give a --reference"
    )


def _fixed(x: Any) -> bool:
    return isinstance(x, Literal)


def _scan(given: Any, values: list[Any]) -> list[Any]:
    closed, count, carried = given["jaxpr"], given["num_consts"], given["num_carry"]
    consts = values[:count]

    def step(carry: Any, xs: Any) -> Any:
        out = _evaluate(closed.jaxpr, closed.consts, [*consts, *carry, *xs])
        return tuple(out[:carried]), tuple(out[carried:])

    start, xs = values[count : count + carried], values[count + carried :]
    last, ys = lax.scan(
        step,
        tuple(start),
        tuple(xs),
        length=given["length"],
        reverse=given["reverse"],
        unroll=given["unroll"],
    )
    return [*last, *ys]
