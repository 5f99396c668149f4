"""Where a model is cut: at every recurrence, every embedding, and at its input.

Any Flax model is looked at in the same way. One run with `nn.intercept_methods` finds
its recurrences (`rnnjax`'s `Recurrent`, linen's own `RNN`) and embeddings, walks them
forward and keeps what the way back needs. A second run puts a free variable in place of
each of their outputs, so that the model falls apart into *segments* without time loops,
whose vector-Jacobian product is ordinary autodiff. The time loops between them are
walked back by the reverse scan with exponents.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.recurrent import flip_sequences
from jaxtyping import Array

from rnnjax.cells.linen import from_linen
from rnnjax.probes.walk import Walked, first_state, in_order, walk_forward
from rnnjax.recurrence.ends import at_end
from rnnjax.recurrence.layer import Recurrent
from rnnjax.recurrence.pure import make_weights
from rnnjax.types import State


Apply = Callable[[Any, Array], Array]
"""A model as a function (params, inputs) -> answers."""

INPUT = "input"
"""The name of the site of a model's vector inputs."""


@dataclasses.dataclass(frozen=True)
class Site:
    """A place where the model is cut.

    Attributes:
        name: path of the module, such as `encoder/rnn`; `#1` marks its second call.
        leaf: what stands there, time-major: the inputs ``(T, B, m)``, the outputs
            ``(T, B, m)`` of an embedding, or the outputs and the trajectory of a
            recurrence, in the order of the input.
        present: from the leaf to what the module's call returns.
        walked: the recurrence, walked forward; None for an embedding or the input.
        tokens: indices ``(T, B)`` of an embedding.
        table: its rows.
    """

    name: str
    leaf: Any
    present: Callable[[Any], Any]
    walked: Walked | None = None
    tokens: Array | None = None
    table: Array | None = None


@dataclasses.dataclass(frozen=True)
class Entered:
    """What a recurrence was called with, time-major.

    Attributes:
        x: inputs ``(T, B, m)``.
        lengths, resets: as `Recurrent` takes them, or None.
        initial: the state before the first step if the model gave one.
        last: whether the model takes the last valid step of each example alone.
    """

    x: Array
    lengths: Array | None = None
    resets: Array | None = None
    initial: State | None = None
    last: bool = False


@dataclasses.dataclass(frozen=True)
class Segments:
    """A model cut at its sites.

    Attributes:
        sites: in the order in which the model calls them; vector inputs come first.
        answers: what the model returns.
        entered: shapes of (x, initial) of each recurrence, in order.
        pull: from cotangents of `entered` and of the answers to those of the leaves.
    """

    sites: tuple[Site, ...]
    answers: Array
    entered: tuple[tuple[Array, State | None], ...]
    pull: Callable[[Any, Array], list[Any]]


def cut(
    apply: Apply, params: Any, inputs: Array, *, time_major: bool = True
) -> Segments:
    """Run a model once and cut it.

    Costs two passes forward. Recurrences inside `nn.scan`, `nn.remat` or `nn.vmap` are
    not seen.

    Args:
        apply: such as ``lambda params, x: model.apply({"params": params}, x)``.
        params: its parameters.
        inputs: tokens or vectors, in the layout that the model takes.
        time_major: whether that is ``(T, B, …)`` or ``(B, T, …)``.

    Raises:
        TypeError: a recurrence of linen with more than one batch axis, or whose cell
            `from_linen` does not take.
    """
    sites: list[Site] = []
    order = _keep if time_major else _swap
    vectors = jnp.issubdtype(inputs.dtype, jnp.inexact)
    if vectors:
        sites.append(Site(INPUT, order(inputs), order))

    def find(call: Any, args: Any, kwargs: Any, context: Any) -> Any:
        module = context.module
        if not _is_site(context):
            return call(*args, **kwargs)
        path = "/".join(module.path) or type(module).__name__
        repeats = sum(site.name.partition("#")[0] == path for site in sites)
        name = f"{path}#{repeats}" if repeats else path
        if isinstance(module, nn.Embed):
            leaf, table = order(call(*args)), module.variables["params"]["embedding"]
            site = Site(name, leaf, order, tokens=order(args[0]), table=table)
        elif isinstance(module, nn.RNN):
            site = _linen_site(name, module, *args, **kwargs)
        else:
            site = _own_site(name, module, *args, **kwargs)
        sites.append(site)
        return site.present(site.leaf)

    with nn.intercept_methods(find):
        answers = apply(params, inputs)

    def segments(leaves: list[Any]) -> tuple[list[Any], Array]:
        waiting = iter(zip(sites, leaves, strict=True))
        entered: list[Any] = []
        x = order(next(waiting)[1]) if vectors else inputs

        def replay(call: Any, args: Any, kwargs: Any, context: Any) -> Any:
            if not _is_site(context):
                return call(*args, **kwargs)
            site, leaf = next(waiting)
            if isinstance(context.module, Recurrent):
                given = _own_entered(*args, **kwargs)
                entered.append((given.x, given.initial))
            elif isinstance(context.module, nn.RNN):
                given = _linen_entered(context.module, *args, **kwargs)
                entered.append((given.x, given.initial))
            return site.present(leaf)

        with nn.intercept_methods(replay):
            return entered, apply(params, x)

    (entered, _), pull = jax.vjp(segments, [site.leaf for site in sites])
    return Segments(
        sites=tuple(sites),
        answers=answers,
        entered=tuple(entered),
        pull=lambda d_entered, d_answers: pull((list(d_entered), d_answers))[0],
    )


def _is_site(context: Any) -> bool:
    kinds = Recurrent | nn.RNN | nn.Embed
    return context.method_name == "__call__" and isinstance(context.module, kinds)


def _keep(x: Array) -> Array:
    return x


def _swap(x: Array) -> Array:
    return jnp.swapaxes(x, 0, 1)


def _own_entered(
    x: Array,
    lengths: Any = None,
    resets: Any = None,
    initial_state: Any = None,
    last: bool = False,
) -> Entered:
    return Entered(x, lengths, resets, initial_state, last)


def _own_site(name: str, module: Recurrent, *args: Any, **kwargs: Any) -> Site:
    given = _own_entered(*args, **kwargs)
    cell, weights = module.weights()
    initial = given.initial
    if initial is None:
        initial = first_state(module, given.x.shape[1])
    walked, outputs = walk_forward(
        cell,
        weights,
        name,
        given.x,
        initial,
        given.lengths,
        given.resets,
        backwards=module.backwards,
    )
    states = in_order(walked.states, module.backwards)

    def present(leaf: Any) -> Any:
        if not given.last:
            return leaf
        return at_end(leaf, given.lengths, module.backwards)

    return Site(name, (outputs, states), present, walked)


def _linen_entered(
    module: nn.RNN,
    inputs: Array,
    *,
    initial_carry: Any = None,
    seq_lengths: Any = None,
    time_major: bool | None = None,
    **_: Any,
) -> Entered:
    if inputs.ndim != 3:
        raise TypeError(f"RNN {'/'.join(module.path)} needs inputs with one batch axis")
    first = module.time_major if time_major is None else time_major
    return Entered(inputs if first else _swap(inputs), seq_lengths, None, initial_carry)


def _linen_site(name: str, module: nn.RNN, *args: Any, **kwargs: Any) -> Site:
    """linen's RNN, walked by our scan; steps of padding hold the state."""
    given = _linen_entered(module, *args, **kwargs)

    def option(key: str) -> bool:
        value = kwargs.get(key)
        return getattr(module, key) if value is None else value

    cell = from_linen(module.cell, given.x.shape[-1])
    made = {"inner": module.cell.variables.get("params", {})}
    cell, weights = make_weights(cell, made)
    initial = given.initial
    if initial is None:
        initial = cell.initial_state(given.x.shape[1:2])
    backwards = option("reverse")
    walked, outputs = walk_forward(
        cell, weights, name, given.x, initial, given.lengths, None, backwards=backwards
    )
    states = in_order(walked.states, backwards)

    def present(leaf: Any) -> Any:
        outputs, states = leaf
        if backwards and not option("keep_order"):
            outputs = flip_sequences(outputs, given.lengths, 1, time_major=True)
        outputs = outputs if option("time_major") else _swap(outputs)
        last = jax.tree.map(lambda h: h[0 if backwards else -1], states)
        return (last, outputs) if option("return_carry") else outputs

    return Site(name, (outputs, states), present, walked)
