"""What `rnnjax.probe` and `rnnjax.intervene` are called with, as one function."""

from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import nnx

from rnnjax.analysis.flax_calls import as_called
from rnnjax.analysis.pure_model import pure
from rnnjax.errors import UserError


class Called(NamedTuple):
    """A function and its arguments.

    Attributes:
        function: gives the losses and the answers; answers None: not known.
        args: its arguments.
        name: of the model or the loss.
    """

    function: Callable[..., tuple[Any, Any]]
    args: tuple[Any, ...]
    name: str


def of_params(model: Any, args: tuple[Any, ...]) -> bool:
    """Whether (params, inputs, loss) come after the model."""
    return isinstance(model, nn.Module) or (len(args) == 3 and callable(args[2]))


def called(verb: str, model: Any, args: tuple[Any, ...]) -> Called:
    """Tell a loss from a model of linen, NNX or Equinox.

    Args:
        verb: `probe` or `intervene`, for messages.
        model: the first argument.
        args: the others.

    Raises:
        UserError: the arguments are none of these.
    """
    name = getattr(model, "__name__", type(model).__name__)
    if of_params(model, args):
        if len(args) != 3 or not callable(args[2]):
            raise UserError(
                f"{verb}({name}, params, inputs, loss) takes parameters, inputs and a "
                "function from answers to losses"
            )
        params, inputs, loss = args
        own = as_called(model, params, inputs, loss)
        run = lambda params, inputs: _with(loss, own.apply(params, inputs))
        return Called(run, (own.params, own.inputs), name)
    if isinstance(model, nnx.Module):
        inputs, loss = _inputs_and_loss(verb, name, args)
        answers, state = pure(model)
        run = lambda *given: _with(loss, answers(*given))
        return Called(run, (*state, inputs), name)
    if _is_tree(model) and len(args) == 2 and callable(args[1]):
        inputs, loss = args
        of_tree = lambda model, inputs: _with(loss, model(inputs))
        return Called(of_tree, (model, inputs), name)
    if not callable(model):
        raise UserError(f"{verb} takes a model or a loss, not {name}")
    return Called(lambda *args: (_real(model(*args)), None), args, name)


def _is_tree(model: Any) -> bool:
    """Whether it is a pytree with arrays, as models of Equinox are."""
    leaves = jax.tree.leaves(model)
    return any(isinstance(x, jax.Array) and x is not model for x in leaves)


def _inputs_and_loss(verb: str, name: str, args: tuple[Any, ...]) -> Any:
    if len(args) != 2 or not callable(args[1]):
        raise UserError(
            f"{verb}({name}, inputs, loss) takes the inputs and a function from answers"
            f" to losses; a loss of anything else: {verb}(loss, *arguments)"
        )
    return args


def _with(loss: Callable[[Any], Any], answers: Any) -> tuple[Any, Any]:
    return _real(loss(answers)), answers


def _real(losses: Any) -> jax.Array:
    """The losses, if they are real numbers."""
    leaves = jax.tree.leaves(losses)
    if len(leaves) == 1 and jnp.issubdtype(jnp.result_type(leaves[0]), jnp.floating):
        return jnp.asarray(leaves[0])
    found = ", ".join(str(jax.typeof(jnp.asarray(x))) for x in leaves) or "nothing"
    raise UserError(f"the loss must be one array of real numbers, but it is {found}")
