"""What a user hands over: a Flax model or a function, its parameters, and a batch."""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import flax.core
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from rnnjax.errors import UserError, one_line


PARAMS = "params"
"""The collection that holds the parameters of a linen model."""


@dataclasses.dataclass(frozen=True)
class Called:
    """A model as a function of its parameters and its inputs.

    Attributes:
        apply: the function.
        params: the parameters, plain arrays in plain dictionaries.
        inputs: one array.
        answers: shapes of what it returns.
        name: of the model, for titles.
    """

    apply: Callable[[Any, Any], Any]
    params: Any
    inputs: Array
    answers: Any
    name: str


def as_called(model: Any, params: Any, inputs: Any, loss: Any) -> Called:
    """Check the arguments of `probe`, and run the model on shapes once.

    Args:
        model: a linen module, called as ``model.apply(variables, inputs)``, or a
            function of (params, inputs).
        params: of a module its parameters, or all its variables ``{"params": …, …}``,
            whose other collections are passed on as they are; of a function whatever it
            takes.
        inputs: tokens or vectors.
        loss: only looked at, to see whether arguments are in the wrong order.

    Raises:
        UserError: the arguments are in the wrong order, or the model cannot be run.
    """
    if not callable(loss):
        known = "probe(model, params, inputs, loss)"
        raise UserError(
            f"the loss is {_kind(loss)}, not a function of the answers: {known}"
        )
    if _is_array(params) and isinstance(inputs, Mapping):
        raise UserError(
            "parameters and inputs are exchanged: probe(model, params, inputs, loss)"
        )
    # plain arrays in plain dictionaries, which `apply` accepts as well
    params = nn.meta.unbox(flax.core.unfreeze(params))
    try:
        array = jnp.asarray(inputs)
    except (TypeError, ValueError):
        raise UserError(
            f"inputs are {_kind(inputs)}, not one array of tokens or vectors; a "
            "function (params, inputs) may make the rest of its arguments itself"
        ) from None
    if isinstance(model, nn.Module):
        rest: dict[str, Any] = {}
        if isinstance(params, Mapping) and PARAMS in params:
            rest = dict(params)
            params = rest.pop(PARAMS)
        apply = lambda p, x: model.apply({PARAMS: p, **rest}, x)
    else:
        apply = lambda p, x: model(p, x)
    name = type(model).__name__ if isinstance(model, nn.Module) else "model"
    with in_one_sentence(
        "the model cannot be run with these parameters on inputs of shape "
        f"{array.shape} and type {array.dtype}"
    ):
        answers = jax.eval_shape(apply, params, array)
    return Called(apply, params, array, answers, name)


@contextlib.contextmanager
def in_one_sentence(what: str) -> Iterator[None]:
    """Turn an error from inside JAX or Flax into a `UserError`, chained to it."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"{what}: {one_line(error)}") from error


def _is_array(x: Any) -> bool:
    return isinstance(x, jax.Array | np.ndarray)


def _kind(x: Any) -> str:
    if _is_array(x):
        return f"an array of shape {x.shape}"
    return f"of type {type(x).__name__}"
