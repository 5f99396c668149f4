"""A model as one traced program in which recurrences and embeddings are marked.

The model is traced once. Every call of a recurrence or of an embedding becomes a single
equation of the jaxpr, called a mark, with all arrays that it needs as operands. `play`
runs the program but hands the marked equations to its caller. A wrapper around a mark
that changes no values (`nn.remat`, `nn.jit`) is opened; a mark inside a loop or under
`vmap` cannot be reached and raises an error.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import struct
from jax.core import ShapedArray
from jax.experimental.xla_metadata import set_xla_metadata
from jax.extend.core import Primitive
from jax.interpreters import ad, batching
from jaxtyping import Array

from rnnjax.errors import UserError
from rnnjax.recurrence.jaxprs import equations, play, within
from rnnjax.types import State


@struct.dataclass
class Called:
    """The arguments of a call of a recurrence, time-major, or of an embedding.

    Attributes:
        x: inputs ``(T, B, m)`` of a recurrence, tokens of an embedding.
        weights: the `Weights` of the recurrence's cell, or the embedding matrix.
        initial: the state before the first step; None for an embedding.
        lengths, resets: as passed to `Recurrent`, or None.
        rows: the output of the embedding, in the order of the axes that the model has,
            as its tokens are; None for a recurrence.
    """

    x: Array
    weights: Any
    initial: State | None = None
    lengths: Array | None = None
    resets: Array | None = None
    rows: Array | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class Mark:
    """One marked call; it holds no arrays, because JAX may reuse a trace.

    Attributes:
        path: path of the module, such as `encoder/rnn`.
        walk: maps the arguments of the call and a name to the leaf (see
            `segments.Site`) and the recurrence after its forward pass.
        present: maps the arguments and the leaf to the return value of the call.
        given: whether the model passed the state before the first step.
    """

    path: str
    walk: Callable[[Called, str], tuple[Any, Any]]
    present: Callable[[Called, Any], Any]
    given: bool = False

    def run(self, called: Called) -> Any:
        """The return value of the call."""
        return self.present(called, self.walk(called, self.path)[0])


Find = Callable[[Any, Any, Any, Any], tuple[Mark, Called] | None]
"""Maps a module, its call and the arguments to a mark; None: run the call as usual."""

Handle = Callable[[Mark, Called], Any]
"""What `play` does at a marked call; its result is the return value of the call."""

OPENED = ("jit", "pjit", "checkpoint", "remat", "remat2", "closed_call", "core_call")
"""Primitives that just run an inner program on their operands, changing no value."""

_mark = Primitive("recurrence_or_embedding")
_mark.multiple_results = True


@_mark.def_abstract_eval
def _shapes(*_: Any, shapes: Any, **__: Any) -> Any:
    return [ShapedArray(x.shape, x.dtype) for x in shapes]


def _refuse(*_: Any, mark: Mark, **__: Any) -> Any:
    raise UserError(
        f"'{mark.path}' is called under vmap, or inside a derivative that the model "
        "itself takes, where the probe cannot measure it; move the call outside"
    )


batching.primitive_batchers[_mark] = _refuse
ad.primitive_jvps[_mark] = _refuse


@dataclasses.dataclass(frozen=True)
class Program:
    """A traced model; see `traced`."""

    closed: Any
    result: Any

    def play(self, args: Any, handle: Handle) -> Any:
        """Run the program on (params, inputs), calling `handle` at every mark."""

        def at(equation: Any, values: list[Any]) -> list[Any]:
            arrays = [jnp.asarray(x) for x in values]  # may be NumPy constants
            called = jax.tree.unflatten(equation.params["called"], arrays)
            return jax.tree.leaves(handle(equation.params["mark"], called))

        leaves = jax.tree.leaves(args)
        flat = play(self.closed, leaves, _is_mark, OPENED, at, _out_of_reach)
        return jax.tree.unflatten(self.result, flat)

    def recurrences(self) -> list[tuple[str, tuple[int, int]]]:
        """Path, and numbers of steps and examples, of every marked recurrence."""
        found = []
        for equation in filter(_is_mark, equations(self.closed)):
            shapes = [x.aval for x in equation.invars]
            called = jax.tree.unflatten(equation.params["called"], shapes)
            if called.rows is None:
                found.append((equation.params["mark"].path, called.x.shape[:2]))
        return found

    def loops(self, steps: int) -> bool:
        """Whether it contains a loop of that many steps outside all marks."""
        return any(
            equation.primitive.name == "scan" and equation.params["length"] == steps
            for equation in equations(self.closed)
        )


def traced(apply: Callable[[Any, Any], Any], args: Any, find: Find) -> Program:
    """Trace ``apply(*args)`` once; calls for which `find` returns a mark are marked."""

    def intercept(call: Any, args: Any, kwargs: Any, context: Any) -> Any:
        usual = context.method_name == "__call__"
        found = find(context.module, call, args, kwargs) if usual else None
        if found is None:
            return call(*args, **kwargs)
        mark, called = found
        flat, shape = jax.tree.flatten(called)
        answer, form = jax.tree.flatten(jax.eval_shape(mark.run, called))
        out = _mark.bind(*flat, mark=mark, called=shape, shapes=tuple(answer))
        return jax.tree.unflatten(form, out)

    # keeps jit's caches apart: neither a trace of `nn.jit` made before without marks
    # nor the one made here with marks may be used in place of the other
    with nn.intercept_methods(intercept), set_xla_metadata(rnnjax="probe"):
        closed, shape = jax.make_jaxpr(apply, return_shape=True)(*args)
    return Program(closed, jax.tree.structure(shape))


def _is_mark(equation: Any) -> bool:
    return equation.primitive is _mark


def _out_of_reach(equation: Any) -> None:
    mark = next(filter(_is_mark, within(equation))).params["mark"]
    raise UserError(
        f"'{mark.path}' is called inside a loop, a branch or another transformation of "
        f"the model ({equation.primitive.name}), where the probe cannot measure it; "
        "move the call outside"
    )
