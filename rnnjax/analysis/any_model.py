"""Probe a user's own Flax model on one batch, with a single call."""

import contextlib
import functools
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import flax.core
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Int

from rnnjax.analysis.agreement import bypass, check, coarsest, doubts
from rnnjax.analysis.analyze import SECTIONS, WalkedModel, analyze
from rnnjax.analysis.datasets import record
from rnnjax.errors import UserError, did_you_mean, one_line
from rnnjax.probes.backward.parameter_gradient import (
    parameter_gradient,
    past_recurrences,
)
from rnnjax.probes.backward.trace import Trace, backward, open_up
from rnnjax.recurrence.scaled import Scaled
from rnnjax.training.optimizers import Optimizer, RMSProp
from rnnjax.xla_options import ONCE


RMSPROP = RMSProp()


def probe(
    model: nn.Module | Callable[[Any, Array], Array],
    params: Any,
    inputs: Any,
    loss: Callable[[Array], Array],
    *,
    lengths: Any = None,
    time_major: bool = True,
    pointwise: bool = False,
    sections: Sequence[str] = SECTIONS,
    optimizer: Optimizer = RMSPROP,
) -> xr.Dataset:
    """Every quantity of gradient flow of a Flax model on one batch.

    The model can be any that runs `rnnjax`'s `Recurrent` or linen's `RNN`, with any
    number of layers and anything in between, also under `nn.remat` or `nn.jit`; cells
    may be linen's own, unchanged. Loss and gradient are compared with those of the
    unmodified model, which costs one ordinary gradient.

    Args:
        model: a module, called as ``model.apply({"params": params}, inputs)``, or a
            function of (params, inputs).
        params: its parameters.
        inputs: tokens or vectors.
        loss: maps the answers to one loss per example, ``(B,)``, or one per step,
            ``(T, B)``, for example ``lambda y: cross_entropy(y, targets)``. The loss of
            the batch is their mean, over valid steps.
        lengths: valid steps of each example; None: all. Pass them to the model as well.
        time_major: whether inputs and losses are ``(T, B)`` or ``(B, T)``.
        pointwise: True promises that nothing in the model except its recurrences mixes
            steps or examples, which saves a little time
            (`rnnjax.probes.backward.trace`).
        sections: some of `SECTIONS`.
        optimizer: the optimizer to whose first update `preconditioned_share` refers; by
            default RMSProp, as in ``rnnjax train``.

    Returns:
        A data set with dimensions layer, array, time, example, parameter, …; every
        variable has a definition and units, for example `seen.decay.attrs`. It always
        includes `first_nonfinite_step`, the first step at which a state is not finite;
        quantities that depend on such a state are NaN, never zero. Save it with
        ``to_netcdf``, draw it with `rnnjax.report.probe_page.write_page`.

    Warns:
        UserWarning: part of the gradient bypasses every detected recurrence, or goes
            through a loop that is not measured; or no gradient comes from the losses at
            the last valid steps of some examples.

    Raises:
        UserError: there is no recurrence, or one that cannot be measured; the loss is
            not given per example; lengths or sections are invalid; or the probe does
            not reproduce the loss and the gradient of the model.
    """
    for name in sections:
        if name not in SECTIONS:
            raise UserError(f"no section '{name}'; {did_you_mean(name, SECTIONS)}")
    # plain arrays in plain dictionaries, which `apply` accepts as well
    params = nn.meta.unbox(flax.core.unfreeze(params))
    inputs = jnp.asarray(inputs)
    steps, size = _shape(inputs, time_major)
    known = _lengths(lengths, steps, size)
    vectors = jnp.issubdtype(inputs.dtype, jnp.inexact)

    def apply(params: Any, x: Array) -> Any:
        if isinstance(model, nn.Module):
            return model.apply({"params": params}, x)
        return model(params, x)

    def losses(answers: Any) -> Array:
        each = loss(answers)
        each = each if time_major or each.ndim != 2 else each.T
        if each.shape not in ((size,), (steps, size)):
            raise UserError(
                f"loss returns shape {each.shape}, not one number per example "
                f"({size},) or per step ({steps}, {size}); see time_major if only the "
                "order of the axes differs"
            )
        return each

    def weights(each: Array) -> tuple[Array, Array]:
        """Weights of the losses in the mean, and those of the last steps only."""
        if each.ndim == 1:
            same = jnp.full_like(each, 1 / size)
            return same, same
        time = jnp.arange(steps)[:, None]
        valid = time < known[None]
        every = (valid / jnp.maximum(jnp.sum(valid), 1)).astype(each.dtype)
        return every, jnp.where(time == known[None] - 1, every, jnp.zeros_like(every))

    def total(answers: Any) -> Array:
        each = losses(answers)
        every = weights(each)[0]
        return jnp.sum(jnp.where(every > 0, each * every, jnp.zeros_like(each)))

    @functools.partial(jax.jit, compiler_options=dict(ONCE))
    def untouched(params: Any, inputs: Array) -> tuple[Array, Any]:
        wanted = (0, 1) if vectors else (0,)
        own = jax.value_and_grad(
            lambda p, x: total(apply(p, x)), wanted, allow_int=True
        )
        return own(params, inputs)

    @functools.partial(jax.jit, compiler_options=dict(ONCE))
    def walk(params: Any, inputs: Array) -> tuple[Trace, Trace, Any, list[Array]]:
        valid = jnp.arange(steps)[:, None] < known[None]
        options: Any = {"time_major": time_major, "pointwise": pointwise}
        passed = open_up(apply, params, inputs, losses, total, valid, **options)
        loops.append(passed.segments.loops)
        answers = passed.segments.answers
        every, last = weights(losses(answers))
        single.append(every.ndim == 1)
        seen = backward(passed, every)
        lagged = seen if every.ndim == 1 else backward(passed, last)
        d_answers = jax.grad(total, allow_int=True)(answers)
        gradient = parameter_gradient(passed, seen, d_answers)
        return lagged, seen, gradient, past_recurrences(passed, d_answers)

    loops: list[bool] = []
    single: list[bool] = []  # both are filled when `walk` is traced
    with _in_one_sentence("jax.grad cannot differentiate the model"):
        untouched.trace(params, inputs)
    with _in_one_sentence("the probe cannot analyse this model"):
        lagged, seen, gradient, past = walk(params, inputs)
    states = [walk.states for walk in seen.walks]
    dtype = coarsest(params, states)
    exploded = any(not np.all(np.isfinite(x)) for x in jax.tree.leaves(states))
    known_gradient = check(
        seen.loss, gradient, untouched, params, inputs, dtype, exploded
    )
    whole = [x if time_major else jnp.swapaxes(x, 0, 1) for x in known_gradient[1:]]
    whole += [_in_full(lookup.use.delta) for lookup in seen.lookups]
    share = bypass(past, whole)
    for words in doubts(lagged, seen, share, any(loops)):
        warnings.warn(words, stacklevel=2)
    of = WalkedModel(lagged, seen, known - 1, any(single))
    data = analyze(of, sections, optimizer)
    data = xr.merge([record({"bypass": share}), data])
    name = type(model).__name__ if isinstance(model, nn.Module) else "model"
    data.attrs = {"title": f"gradient flow of {name}"}
    return data


@contextlib.contextmanager
def _in_one_sentence(what: str) -> Iterator[None]:
    """Turn an error from inside JAX or Flax into a `UserError`, chained to it."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"{what}: {one_line(error)}") from error


def _in_full(value: Scaled) -> np.ndarray:
    """The value in float64."""
    exponent = np.clip(np.asarray(value.exponent), -2000, 2000)
    return np.ldexp(np.asarray(value.mantissa, np.float64), exponent[..., None])


def _shape(inputs: Array, time_major: bool) -> tuple[int, int]:
    """Numbers of steps and examples."""
    if inputs.ndim < 2 or 0 in inputs.shape[:2]:
        raise UserError(
            f"inputs have shape {inputs.shape}; they must be tokens (time, batch) or "
            "vectors (time, batch, features), with at least one step and one example"
        )
    first, second = inputs.shape[:2]
    return (first, second) if time_major else (second, first)


def _lengths(lengths: Any, steps: int, size: int) -> Int[Array, "B"]:
    """The valid steps of each example, checked."""
    if lengths is None:
        return jnp.full((size,), steps, jnp.int32)
    found = np.asarray(lengths)
    if found.shape != (size,) or not np.issubdtype(found.dtype, np.integer):
        raise UserError(
            f"lengths are {found.dtype} of shape {found.shape}, not one whole number "
            f"for each of the {size} examples; see time_major if only the order of the "
            "axes differs"
        )
    if np.any((found < 0) | (found > steps)):
        raise UserError(
            f"lengths={found.tolist()} must all be between 0 and {steps}, the number "
            "of steps of the inputs"
        )
    return jnp.asarray(found, jnp.int32)
