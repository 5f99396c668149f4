"""`rnnjax.probe`: a loss of any JAX program, or a model of any library with a loss."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import xarray as xr

import rnnjax.analysis.log  # noqa: F401  gives data sets their method `log`
from rnnjax.analysis import any_model
from rnnjax.analysis.any_program import probe_loss
from rnnjax.analysis.called import called, of_params
from rnnjax.errors import UserError, did_you_mean


OPTIONS = ("params", "examples", "unroll", "sections")
"""Of a program; see `rnnjax.analysis.any_program.probe_loss`."""


def probe(model: Any, /, *args: Any, **options: Any) -> xr.Dataset:
    """The gradient flow of a model on one batch, as a labelled data set.

    ``probe(loss, *arguments, params=0, examples=None, unroll=(), sections=…)``
        of a function that gives a loss: every loop in it is measured, whatever library
        made it. `params` says which argument holds the parameters, `examples` how many
        there are if several axes could be theirs, `unroll` names loops whose inner
        loops are measured instead, and `sections` are some of ``adjoints``,
        ``contributions``, ``dynamics`` (`rnnjax.analysis.any_program.probe_loss`).

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
    if of_params(model, args) or "loss" in options:
        _complete(model, args, options)
        return any_model.probe(model, *args, **options)
    strange = [name for name in options if name not in OPTIONS]
    if strange:
        raise UserError(
            f"probe has no option '{strange[0]}', and arguments of a loss go by "
            f"position; {did_you_mean(strange[0], OPTIONS)}"
        )
    whole = called("probe", model, args)
    if whole.args is args:  # a loss
        return probe_loss(model, *args, **options)
    mean = lambda *given: jnp.mean(whole.function(*given)[0])
    data = probe_loss(mean, *whole.args, **options)
    data.attrs["title"] = f"gradient flow of {whole.name}"
    return data


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
