"""A model of NNX as a pure function."""

from collections.abc import Callable
from typing import Any

import jax
from flax import nnx


def pure(model: nnx.Module) -> tuple[Callable[..., Any], tuple[Any, Any]]:
    """A function (parameters, other state, inputs) to answers, and the first two.

    What the model changes when it is called, such as counters of random numbers, is
    changed in a copy.
    """
    graph, params, rest = nnx.split(model, nnx.Param, ...)

    def answers(params: Any, rest: Any, inputs: Any) -> Any:
        # a model may only change variables that were made under the same transformation
        own = jax.tree.map(lambda x: x, (params, rest))
        return nnx.merge(graph, *own)(inputs)  # pyright: ignore

    return answers, (params, rest)
