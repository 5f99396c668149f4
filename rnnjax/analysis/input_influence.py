"""`rnnjax.input_influence`: which inputs the outputs of any model depend on."""

import functools
import warnings
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from flax import nnx
from jaxtyping import Array

from rnnjax.analysis.datasets import record
from rnnjax.analysis.pure_model import pure
from rnnjax.errors import UserError
from rnnjax.probes.inputs.input_influence import log10_influence
from rnnjax.recurrence.jaxprs import equations
from rnnjax.xla_options import ONCE


DRAWS = 8
"""Random projections of an output that has more entries than that."""

FFT_ROUNDINGS = 10.0
"""In units of the spacing of floats at the largest influence: what a Fourier transform
leaves of a smaller one is rounding."""


def input_influence(
    model: Callable[[Array], Array],
    inputs: Any,
    *,
    time_major: bool = True,
    draws: int = DRAWS,
    seed: int = 0,
) -> xr.Dataset:
    """The influence matrix ‖∂m_s/∂x_t‖ of any model, recurrent or not.

    Args:
        model: maps the inputs to the outputs of all steps: a model of NNX or Equinox,
            or a function such as ``lambda xs: net.apply(params, xs)``; of tokens, start
            at the embedding.
        inputs: floats, ``(T, B, …)``.
        time_major: False: inputs and outputs have the batch first, ``(B, T, …)``.
        draws: projections of an output of more entries
            (`rnnjax.probes.inputs.input_influence.log10_influence`).
        seed: of the draws.

    Returns:
        A data set: `log10_influence` by output step and input step, root mean square
        over examples; `log10_influence_error`, its standard error; and
        `log10_influence_by_distance`, root mean square over pairs with the same s − t,
        if there are as many outputs as inputs.
        −inf: zero, or below the range of floats.

    Raises:
        UserError: inputs are no floats, outputs have no steps, or examples depend on
            each other.

    Warns:
        UserWarning: the model has a Fourier transform, so that influences near the
            rounding of the largest are left out (NaN).
    """
    xs = jnp.asarray(inputs)
    call: Any = model
    if isinstance(model, nnx.Module):
        answers, state = pure(model)
        call = functools.partial(answers, *state)
    if not jnp.issubdtype(xs.dtype, jnp.floating) or xs.ndim < 2:
        raise UserError(
            f"inputs are {xs.dtype} of shape {xs.shape}, not floats (time, batch, …); "
            "of tokens, pass their embeddings and a model that starts there"
        )

    def timed(xs: Array) -> Array:
        answers = call(xs if time_major else jnp.swapaxes(xs, 0, 1))
        answers = jnp.asarray(answers)
        batch = 1 if time_major else 0
        if not jnp.issubdtype(answers.dtype, jnp.floating):
            raise UserError(f"outputs are {answers.dtype}, not real numbers")
        if answers.ndim < 2 or answers.shape[batch] != xs.shape[1]:
            order = "(time, batch, …)" if time_major else "(batch, time, …)"
            raise UserError(
                f"outputs have shape {answers.shape}, not {order} with the batch of "
                f"the inputs, {xs.shape[1]}; see time_major"
            )
        return answers if time_major else jnp.swapaxes(answers, 0, 1)

    ordered = xs if time_major else jnp.swapaxes(xs, 0, 1)
    traced = jax.make_jaxpr(timed)(ordered)
    _apart(timed, ordered)
    quick = functools.partial(jax.jit, compiler_options=dict(ONCE))
    measure = quick(lambda xs, key: log10_influence(timed, xs, draws, key))
    logs = np.asarray(measure(ordered, jax.random.key(seed)), np.float64)
    exact = int(np.prod(traced.out_avals[0].shape[2:], dtype=int)) <= draws
    top = np.max(logs, initial=-np.inf)
    top = top if np.isfinite(top) else 0.0
    squares = 100.0 ** (logs - top)
    squares = squares.sum(0, keepdims=True) if exact else squares
    mean, error = _mean_and_error(squares)
    with np.errstate(divide="ignore", invalid="ignore"):
        matrix = top + 0.5 * np.log10(mean)
        spread = 0.5 * error / mean / np.log(10)
    if any(x.primitive.name == "fft" for x in equations(traced)):
        rounding = FFT_ROUNDINGS * float(jnp.finfo(xs.dtype).eps)
        warnings.warn(
            "the model has a Fourier transform: influences below about "
            f"{rounding:.1g} of the largest are rounding and are left out",
            stacklevel=2,
        )
        floor = np.max(matrix) + np.log10(rounding)
        matrix = np.where(matrix < floor, np.nan, matrix)
    values = {
        "log10_influence": matrix,
        "log10_influence_error": np.where(np.isfinite(matrix), spread, np.nan),
    }
    if matrix.shape[0] == matrix.shape[1]:  # inputs and outputs have one clock
        values["log10_influence_by_distance"] = _by_distance(matrix)
    data = record(values)
    data.attrs = {
        "title": "influence of inputs on outputs",
        "method": "exact" if exact else f"{draws} random projections",
    }
    return data


def _apart(model: Callable[[Array], Array], xs: Array) -> None:
    """Refuse a model in which examples depend on each other."""
    size = xs.shape[1]
    if size == 1:
        return
    outputs, pull = jax.vjp(model, xs)
    random = jnp.asarray(np.random.default_rng(0).normal(size=outputs.shape))
    first = (jnp.arange(size) < size // 2).reshape(1, -1, *(1,) * (outputs.ndim - 2))
    (gradient,) = pull(jnp.where(first, random, 0).astype(outputs.dtype))
    if jnp.any(gradient[:, size // 2 :] != 0):
        raise UserError(
            "outputs of an example depend on inputs of another one, such as in a batch "
            "normalisation: pass one example, or a model that treats them apart"
        )


def _mean_and_error(squares: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean over draws and examples of ``(draws, S, T, B)``, and its standard error.

    From the spread of examples; of draws, if there is one example.
    """
    rows = np.moveaxis(squares.mean(0), -1, 0)
    if len(rows) == 1:
        rows = squares[..., 0]
    error = np.full(rows.shape[1:], np.nan)
    if len(rows) > 1:
        error = rows.std(axis=0, ddof=1) / np.sqrt(len(rows))
    return rows.mean(0), error


def _by_distance(matrix: np.ndarray) -> np.ndarray:
    """log10 of the root mean square along diagonals, the main one first."""
    outputs, inputs = matrix.shape
    found = []
    for distance in range(min(outputs, inputs)):
        rows = np.diagonal(matrix, -distance)
        rows = rows[~np.isnan(rows)]
        top = rows.max(initial=-np.inf)
        if not len(rows) or top == -np.inf:
            found.append(-np.inf if len(rows) else np.nan)
            continue
        found.append(top + 0.5 * np.log10(np.mean(100.0 ** (rows - top))))
    return np.asarray(found)
