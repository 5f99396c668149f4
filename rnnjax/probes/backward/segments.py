"""Cut a model at every recurrence, at every embedding, and at its input.

All Flax models are handled in the same way. The model is traced once, with its
recurrences (`rnnjax`'s `Recurrent`, linen's own `RNN`) and embeddings marked. One run
of that program takes the recurrences forward and keeps what the backward pass needs. A
second run replaces each of their outputs with a free variable, so that the model falls
apart into *segments* without time loops, whose vector-Jacobian product is ordinary
autodiff. The time loops in between are differentiated by the reverse scan with
exponents.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from rnnjax.errors import UserError
from rnnjax.probes.backward.marked_program import Called, Mark, Program, traced
from rnnjax.probes.backward.parameter_sources import Sources, find_sources
from rnnjax.probes.backward.recurrences import embedding, linen, ours, swap
from rnnjax.probes.backward.walk import Walked
from rnnjax.recurrence.functional import Weights
from rnnjax.recurrence.layer import Recurrent


Apply = Callable[[Any, Any], Any]
"""A model as a function (params, inputs) -> answers."""

INPUT = "input"
"""The name of the site of a model's vector inputs."""


@dataclasses.dataclass(frozen=True)
class Site:
    """A place where the model is cut.

    Attributes:
        name: path of the module, such as `encoder/rnn`; `#1` marks its second call.
        leaf: the values at the cut, time-major: the inputs ``(T, B, m)``, the outputs
            ``(T, B, m)`` of an embedding, or the outputs and the trajectory of a
            recurrence, in the order of the input.
        walked: the recurrence after its forward pass; None for an embedding or the
            input.
        given: whether the model passed the recurrence its initial state.
        tokens: token indices ``(T, B)`` of an embedding.
        table: the embedding matrix.
    """

    name: str
    leaf: Any
    walked: Walked | None = None
    given: bool = False
    tokens: Array | None = None
    table: Array | None = None


@dataclasses.dataclass(frozen=True)
class Segments:
    """A model cut at its sites.

    Attributes:
        sites: in the order in which the model calls them; vector inputs come first.
        params: the parameters that it was cut with.
        answers: the output of the model, an array or a pytree.
        entered: (inputs, initial state) of each recurrence, in order.
        pull: maps cotangents of `entered` and of the answers to those of the leaves.
        to_params: maps the same cotangents, together with those of each site's own
            parameters (the cell's, or the embedding matrix; none at the input), to the
            gradient of the model's parameters, with all leaves held fixed.
        loops: whether a segment contains a loop over as many steps as the inputs have.
        sources: which parameters of the model the sites and the segments use; costs a
            trace of the segments.
    """

    sites: tuple[Site, ...]
    params: Any
    answers: Any
    entered: tuple[Any, ...]
    pull: Callable[[Any, Any], list[Any]]
    to_params: Callable[[Any, Any, Any], Any]
    loops: bool
    sources: Callable[[], Sources]


def marked(apply: Apply, params: Any, inputs: Any) -> Program:
    """Trace a model once, with its recurrences and embeddings marked.

    Args:
        apply: such as ``lambda params, x: model.apply({"params": params}, x)``.
        params, inputs: its arguments, or their shapes.

    Raises:
        UserError: a recurrence is called under `vmap`, or a linen RNN has more than one
            batch axis or a cell that `from_linen` does not accept.
    """

    def find(module: Any, call: Any, args: Any, kwargs: Any) -> Any:
        path = "/".join(module.path) or type(module).__name__
        if isinstance(module, nn.Embed):
            tokens = jnp.asarray(args[0] if args else kwargs["inputs"])
            if tokens.shape != inputs.shape[:2]:
                return None
            table = module.variables["params"]["embedding"]
            return embedding(path), Called(tokens, table, rows=call(tokens))
        if isinstance(module, nn.RNN):
            return linen(path, module, *args, **kwargs)
        if isinstance(module, Recurrent):
            return ours(path, module, *args, **kwargs)
        return None

    return traced(apply, (params, inputs), find)


def cut(
    model: Apply | Program, params: Any, inputs: Array, *, time_major: bool = True
) -> Segments:
    """Cut a model.

    Costs two forward passes. Recurrences inside `nn.scan`, and those that are neither
    `Recurrent` nor linen's `RNN` (nnx, a loop over a cell), are not detected: they are
    treated as part of the segments.

    Args:
        model: see `marked`, which is called here if it was not before.
        params: its parameters.
        inputs: tokens or vectors, in the layout that the model expects.
        time_major: whether that is ``(T, B, …)`` or ``(B, T, …)``.

    Raises:
        UserError: there is no recurrence, or one of them cannot be reached (see
            `marked_program`); and the errors of `marked`.
    """
    order = _keep if time_major else swap
    vectors = jnp.issubdtype(inputs.dtype, jnp.inexact)
    program = model if isinstance(model, Program) else marked(model, params, inputs)
    sites = [Site(INPUT, order(inputs))] if vectors else []
    paths: list[str] = []

    def forward(mark: Mark, called: Called) -> Any:
        repeats = paths.count(mark.path)
        paths.append(mark.path)
        name = f"{mark.path}#{repeats}" if repeats else mark.path
        leaf, walked = mark.walk(called, name)
        if walked is None:
            tokens = order(called.x)
            site = Site(name, order(leaf), tokens=tokens, table=called.weights)
        else:
            site = Site(name, leaf, walked, mark.given)
        sites.append(site)
        return mark.present(called, leaf)

    answers = program.play((params, inputs), forward)
    if not any(site.walked for site in sites):
        raise UserError(
            "the model calls neither Recurrent nor flax.linen's RNN, so there is "
            "nothing to measure; recurrences of flax.nnx and haiku, nn.scan, lax.scan "
            "and Python loops over a cell are not detected"
        )

    def segments(params: Any, leaves: list[Any]) -> tuple[Any, Any, Any]:
        waiting = iter(leaves)
        x = order(next(waiting)) if vectors else inputs
        entered, held = [], []

        def replay(mark: Mark, called: Called) -> Any:
            own, leaf = called.weights, next(waiting)
            held.append(own.params if isinstance(own, Weights) else own)
            if called.rows is not None:
                return mark.present(called, order(leaf))
            entered.append((called.x, called.initial))
            return mark.present(called, leaf)

        answers = program.play((params, x), replay)
        return entered, held, answers

    leaves = [site.leaf for site in sites]
    (entered, _), pull = jax.vjp(lambda x: segments(params, x)[::2], leaves)

    def to_params(d_entered: Any, d_held: Any, d_answers: Any) -> Any:
        pull = jax.vjp(lambda p: segments(p, leaves), params)[1]
        return pull((list(d_entered), list(d_held), d_answers))[0]

    return Segments(
        sites=tuple(sites),
        params=params,
        answers=answers,
        entered=tuple(entered),
        pull=lambda d_entered, d_answers: pull((list(d_entered), d_answers))[0],
        to_params=to_params,
        loops=program.loops(order(inputs).shape[0]),
        sources=lambda: find_sources(lambda p: segments(p, leaves), params),
    )


def no_cotangent(tree: Any) -> Any:
    """Zero cotangents, for arrays on which nothing depends."""

    def one(x: Array) -> Any:
        if jnp.issubdtype(x.dtype, jnp.inexact):
            return jnp.zeros_like(x)
        return np.zeros(x.shape, jax.dtypes.float0)

    return jax.tree.map(one, tree)


def _keep(x: Array) -> Array:
    return x
