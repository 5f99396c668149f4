"""Which of a model's parameters its recurrences use, and which the rest of it uses."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
from jax.extend.core import Literal


CASTS = ("convert_element_type", "copy", "copy_p")
"""Primitives after which a parameter is still the same parameter."""


@dataclasses.dataclass(frozen=True)
class Sources:
    """The parameters behind the sites of a model, by their path in the user's tree.

    Attributes:
        sites: for each recurrence and embedding, in the order of the calls, the path of
            each of its own parameters, by the path within the cell ("" of an embedding
            matrix); None for one that the model has computed from others.
        outside: paths of the parameters that anything else uses.
    """

    sites: tuple[Mapping[str, str | None], ...]
    outside: frozenset[str]


def path_of(keys: Any) -> str:
    """A path within a tree, joined by `/`."""
    return jax.tree_util.keystr(keys, simple=True, separator="/")


def paths(tree: Any) -> list[str]:
    """The path of each leaf."""
    return [path_of(keys) for keys, _ in jax.tree_util.tree_flatten_with_path(tree)[0]]


def find_sources(
    segments: Callable[[Any], tuple[Any, Any, Any]], params: Any
) -> Sources:
    """Trace the segments of a model and see where its parameters go.

    Args:
        segments: maps parameters to what enters the recurrences, to the parameters of
            each site, and to the answers, with the outputs of all sites held fixed.
        params: the parameters.
    """
    closed, shapes = jax.make_jaxpr(segments, return_shape=True)(params)
    jaxpr = closed.jaxpr
    known = dict(zip(jaxpr.invars, paths(params), strict=True))
    for equation in jaxpr.eqns:
        source = equation.invars[0] if equation.primitive.name in CASTS else None
        if source is not None and not isinstance(source, Literal) and source in known:
            known[equation.outvars[0]] = known[source]
    entered, held, answers = shapes
    ends = [len(jax.tree.leaves(part)) for part in (entered, held)]
    first, last = ends[0], sum(ends)
    outputs = iter(jaxpr.outvars[first:last])
    sites = [
        {path: _source(known, next(outputs)) for path in paths(own)} for own in held
    ]
    live = _live(jaxpr, [*jaxpr.outvars[:first], *jaxpr.outvars[last:]])
    outside = frozenset(known[x] for x in jaxpr.invars if x in live)
    return Sources(tuple(sites), outside)


def _source(known: dict[Any, str], output: Any) -> str | None:
    return None if isinstance(output, Literal) else known.get(output)


def _live(jaxpr: Any, outputs: list[Any]) -> set[Any]:
    """The variables on which some outputs depend.

    Every output of an equation is taken to depend on all of its operands.
    """
    live = {x for x in outputs if not isinstance(x, Literal)}
    for equation in reversed(jaxpr.eqns):
        if not live.isdisjoint(equation.outvars):
            live |= {x for x in equation.invars if not isinstance(x, Literal)}
    return live
