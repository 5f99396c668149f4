"""`rnnjax.probe`: a loss of any JAX program, or a model of any library with a loss."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import xarray as xr
from flax import nnx

import rnnjax.analysis.log  # noqa: F401  gives data sets their method `log`
from rnnjax.analysis import any_model
from rnnjax.analysis.any_program import probe_loss
from rnnjax.analysis.pure_model import pure
from rnnjax.errors import UserError


def probe(model: Any, /, *args: Any, **options: Any) -> xr.Dataset:
    """The gradient flow of a model on one batch, as a labelled data set.

    ``probe(loss, *arguments, params=0)``
        of a function that gives a loss: every `lax.scan` in it is measured, whatever
        library made it (`rnnjax.analysis.any_program.probe_loss`).

    ``probe(model, inputs, loss)``
        of a model of `flax.nnx` or Equinox, called as ``model(inputs)``; `loss` maps
        the answers to a loss, or to several, whose mean is taken. The model is left as
        it was. Options as above.

    ``probe(model, params, inputs, loss)``
        of a model of `flax.linen`, or a function (params, inputs). If it runs
        `rnnjax`'s `Recurrent` or linen's `RNN`: all quantities, because the cell is
        known; else as a loss of any program (`rnnjax.analysis.any_model.probe`, also
        for its options).

    Raises:
        UserError: see there; or the arguments are none of these.
    """
    if isinstance(model, nn.Module) or _of_params(args, options):
        _complete(model, args, options)
        return any_model.probe(model, *args, **options)
    if isinstance(model, nnx.Module):
        answers, state = pure(model)
        inputs, loss = _inputs_and_loss(model, args)
        of_state = lambda *given: jnp.mean(loss(answers(*given)))
        return _titled(probe_loss(of_state, *state, inputs, **options), model)
    if _is_tree(model) and len(args) == 2 and callable(args[1]):
        inputs, loss = args
        of_tree = lambda model, inputs: jnp.mean(loss(model(inputs)))
        return _titled(probe_loss(of_tree, model, inputs, **options), model)
    if not callable(model):
        raise UserError(f"probe takes a model or a loss, not {type(model).__name__}")
    return probe_loss(model, *args, **options)


def _is_tree(model: Any) -> bool:
    """Whether it is a pytree with arrays, as models of Equinox are."""
    leaves = jax.tree.leaves(model)
    return any(isinstance(x, jax.Array) and x is not model for x in leaves)


def _of_params(args: Any, options: Any) -> bool:
    """Whether (params, inputs, loss) were given."""
    return "loss" in options or (len(args) == 3 and callable(args[2]))


def _complete(model: Any, args: Any, options: Any) -> None:
    """Refuse a call that is not (model, params, inputs, loss).

    Raises:
        UserError: an argument is missing, or there are more.
    """
    names = ("params", "inputs", "loss")
    missing = [name for name in names[len(args) :] if name not in options]
    if missing or len(args) > len(names):
        found = f"no {' and no '.join(missing)}" if missing else f"{len(args)} of them"
        name = type(model).__name__ if isinstance(model, nn.Module) else "function"
        raise UserError(
            f"probe({name}, params, inputs, loss) takes three arguments after the "
            f"model, but there is {found}; options go by name"
        )


def _inputs_and_loss(model: Any, args: Any) -> tuple[Any, Callable[[Any], Any]]:
    if len(args) != 2 or not callable(args[1]):
        raise UserError(
            f"probe({type(model).__name__}, inputs, loss) takes the inputs and a "
            "function from answers to losses; a loss of anything else: "
            "probe(loss, *arguments)"
        )
    return args[0], args[1]


def _titled(data: xr.Dataset, model: Any) -> xr.Dataset:
    data.attrs["title"] = f"gradient flow of {type(model).__name__}"
    return data
