"""Probe a user's own Flax model on one batch, with a single call."""

import functools
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Int

from rnnjax.analysis import any_program
from rnnjax.analysis.agreement import bypass, check, coarsest, doubts
from rnnjax.analysis.analyze import SECTIONS, WalkedModel, analyze
from rnnjax.analysis.batch_loss import BatchLoss, of_examples
from rnnjax.analysis.datasets import record
from rnnjax.analysis.flax_calls import Called, as_called, in_one_sentence
from rnnjax.analysis.parameter_rows import by_path
from rnnjax.analysis.scalar_loss import examined
from rnnjax.analysis.time_axis import time_first
from rnnjax.errors import UserError, did_you_mean
from rnnjax.probes.backward.marked_program import Program
from rnnjax.probes.backward.parameter_gradient import (
    log10_gradients,
    past_recurrences,
    plain,
    scaled_gradient,
)
from rnnjax.probes.backward.segments import marked
from rnnjax.probes.backward.trace import Trace, backward, open_up
from rnnjax.recurrence.scaled import Scaled
from rnnjax.training.optimizers import Optimizer, RMSProp
from rnnjax.xla_options import ONCE


RMSPROP = RMSProp()


def probe(
    model: nn.Module | Callable[[Any, Array], Any],
    params: Any,
    inputs: Any,
    loss: Callable[[Any], Array],
    *,
    lengths: Any = None,
    time_major: bool | None = None,
    pointwise: bool = False,
    sections: Sequence[str] = SECTIONS,
    optimizer: Optimizer = RMSPROP,
    examples: int | None = None,
) -> xr.Dataset:
    """Every quantity of gradient flow of a Flax model on one batch.

    The model can be any that runs `rnnjax`'s `Recurrent` or linen's `RNN`, with any
    number of layers and anything in between, also under `nn.remat` or `nn.jit`; cells
    may be linen's own, unchanged. Loss and gradient are compared with those of the
    unmodified model, which costs one ordinary gradient. A model that runs none of them
    is probed as any program (`any_program.probe_loss`), with the mean of its losses.

    Args:
        model: a module, called as ``model.apply(variables, inputs)``, or a function of
            (params, inputs).
        params: its parameters, or all variables of a module, ``{"params": …, …}``.
        inputs: tokens or vectors.
        loss: maps the answers to one loss per example, ``(B,)``, or one per step,
            ``(T, B)``, for example ``lambda y: cross_entropy(y, targets)``. The loss of
            the batch is their mean, over valid steps. Or to one number for the batch;
            adjoints are then its derivatives as it stands (`scalar_loss`).
        lengths: valid steps of each example; None: all. Pass them to the model as well.
        time_major: whether inputs and losses are ``(T, B)`` or ``(B, T)``; None: as the
            recurrences have it (`time_axis`).
        pointwise: True promises that nothing in the model except its recurrences mixes
            steps or examples, which saves a little time
            (`rnnjax.probes.backward.trace`).
        sections: some of `SECTIONS`.
        optimizer: the optimizer to whose first update `preconditioned_share` refers; by
            default RMSProp, as in ``rnnjax train``.
        examples: number of examples, for a model without a known recurrence.

    Returns:
        A data set with dimensions layer, array, time, example, parameter, …; every
        variable has a definition and units, for example `seen.decay.attrs`. Parameters
        have their paths in `params` (`parameter_rows`). It always includes
        `first_nonfinite_step`, the first step at which a state is not finite;
        quantities that depend on such a state are NaN, never zero. Save it with
        ``to_netcdf``, draw it with `rnnjax.report.probe_page.write_page`.

    Warns:
        UserWarning: part of the gradient bypasses every detected recurrence, or goes
            through a loop that is not measured; no gradient comes from the losses at
            the last valid steps of some examples; or the loss mixes examples.

    Raises:
        UserError: there is no recurrence, or one that cannot be measured; the loss is
            neither given per example nor per step, nor one number that can be taken
            apart; lengths, sections or time_major are invalid; or the probe does not
            reproduce the loss and the gradient of the model.
    """
    for name in sections:
        if name not in SECTIONS:
            raise UserError(f"no section '{name}'; {did_you_mean(name, SECTIONS)}")
    called = as_called(model, params, inputs, loss)
    with in_one_sentence("the probe cannot analyse this model"):
        program = marked(called.apply, called.params, called.inputs)
    if not program.recurrences():
        return _of_program(called, loss, lengths, examples, sections)
    time_major, steps, size = _shape(called, program, time_major)
    known = _lengths(lengths, steps, size)
    if examples not in (None, size):
        raise UserError(f"examples={examples}, but the recurrences have {size}")
    of = _loss(called, program, loss, known, steps, time_major)
    vectors = jnp.issubdtype(called.inputs.dtype, jnp.inexact)

    @functools.partial(jax.jit, compiler_options=dict(ONCE))
    def untouched(params: Any, inputs: Array) -> tuple[Array, Any]:
        wanted = (0, 1) if vectors else (0,)
        whole = lambda p, x: of.total(called.apply(p, x))
        own = jax.value_and_grad(whole, wanted, allow_int=True)
        return own(params, inputs)

    @functools.partial(jax.jit, compiler_options=dict(ONCE))
    def walk(params: Any, inputs: Array) -> tuple[Trace, Trace, Any, Any, list[Array]]:
        valid = jnp.arange(steps)[:, None] < known[None]
        options: Any = {"time_major": time_major, "pointwise": pointwise}
        passed = open_up(program, params, inputs, of.each, of.total, valid, **options)
        seen = backward(passed, of.every)
        lagged = seen if of.single else backward(passed, of.last)
        d_answers = jax.grad(of.total, allow_int=True)(passed.segments.answers)
        found = scaled_gradient(passed, seen, d_answers)
        told.append((passed.segments.loops, passed.segments.sources()))
        gradient, norms = plain(found), log10_gradients(found)
        return lagged, seen, gradient, norms, past_recurrences(passed, d_answers)

    told: list[Any] = []  # filled when `walk` is traced
    with in_one_sentence("jax.grad cannot differentiate the model"):
        untouched.trace(called.params, called.inputs)
    with in_one_sentence("the probe cannot analyse this model"):
        lagged, seen, gradient, norms, past = walk(called.params, called.inputs)
    loops, sources = told[-1]
    states = [walk.states for walk in seen.walks]
    dtype = coarsest(called.params, states)
    exploded = any(not np.all(np.isfinite(x)) for x in jax.tree.leaves(states))
    arguments = called.params, called.inputs
    known_gradient = check(seen.loss, gradient, untouched, *arguments, dtype, exploded)
    whole = [x if time_major else jnp.swapaxes(x, 0, 1) for x in known_gradient[1:]]
    whole += [_in_full(lookup.use.delta) for lookup in seen.lookups]
    share = bypass(past, whole)
    for words in (*doubts(lagged, seen, share, loops), *of.doubts):
        warnings.warn(words, stacklevel=2)
    walked = WalkedModel(lagged, seen, known - 1, of.single)
    data = analyze(walked, sections, optimizer)
    if "parameter" in data.dims:
        known_norms = _known(jax.device_get(norms), np.isnan(seen.loss), exploded)
        data = by_path(data, seen, sources, known_norms)
    data = xr.merge([record({"bypass": share}), data])
    data.attrs = {"title": f"gradient flow of {called.name}", "loss": of.about}
    return data


def _of_program(
    called: Called,
    loss: Callable[[Any], Array],
    lengths: Any,
    examples: int | None,
    sections: Sequence[str],
) -> xr.Dataset:
    """A model that runs no recurrence that is known."""
    if lengths is not None:
        raise UserError(
            "lengths are for models that run Recurrent or flax.linen's RNN, and this "
            "one does not; leave the padding out of the loss instead"
        )

    def mean(params: Any, inputs: Any) -> Array:
        return jnp.mean(loss(called.apply(params, inputs)))

    _shape_of(loss, called.answers)
    try:
        some = [name for name in any_program.SECTIONS if name in sections]
        options: Any = {"examples": examples, "sections": some}
        data = any_program.probe_loss(mean, called.params, called.inputs, **options)
    except UserError as error:
        raise UserError(
            "the model calls neither Recurrent nor flax.linen's RNN, so it is probed "
            f"as any program: {error}"
        ) from error
    data.attrs["title"] = f"gradient flow of {called.name}"
    return data


def _loss(
    called: Called,
    program: Program,
    loss: Callable[[Any], Array],
    lengths: Int[Array, "B"],
    steps: int,
    time_major: bool,
) -> BatchLoss:
    """The loss, in whichever of three forms it is given."""
    like, size = _shape_of(loss, called.answers), lengths.shape[0]
    if like.shape == ():
        with in_one_sentence("the probe cannot analyse this model"):
            return examined(called, program, loss, lengths, steps, time_major)
    turned = not time_major and len(like.shape) == 2
    shape = like.shape[::-1] if turned else like.shape
    if shape not in ((size,), (steps, size)):
        order = (steps, size) if time_major else (size, steps)
        raise UserError(
            f"loss returns shape {like.shape}, not one number per example ({size},), "
            f"per step {order}, or for the whole batch (); see time_major if only the "
            "order of the axes differs"
        )
    each = (lambda answers: loss(answers).T) if turned else loss
    return of_examples(each, lengths, steps, jax.ShapeDtypeStruct(shape, like.dtype))


def _shape_of(loss: Callable[[Any], Array], answers: Any) -> Any:
    """Shape and type of the losses."""
    shapes = ", ".join(f"{x.dtype} {x.shape}" for x in jax.tree.leaves(answers))
    with in_one_sentence(f"the loss fails on the answers of the model ({shapes})"):
        found = jax.eval_shape(loss, answers)
    if not hasattr(found, "shape") or not jnp.issubdtype(found.dtype, jnp.floating):
        kind = found.dtype if hasattr(found, "dtype") else f"a {type(found).__name__}"
        raise UserError(f"loss returns {kind}, not an array of real numbers")
    return found


def _known(norms: dict[str, Any], lost: Any, exploded: bool) -> dict[str, Any]:
    """Norms of gradients without those that a ReLU made of NaN.

    The gradient of a loss that is NaN is no number, and a zero may hide a state that is
    not finite.
    """
    unknown = lambda x: lost or (exploded and np.isneginf(x))
    return {name: np.nan if unknown(x) else x for name, x in norms.items()}


def _in_full(value: Scaled) -> np.ndarray:
    """The value in float64."""
    exponent = np.clip(np.asarray(value.exponent), -2000, 2000)
    return np.ldexp(np.asarray(value.mantissa, np.float64), exponent[..., None])


def _shape(
    called: Called, program: Program, time_major: bool | None
) -> tuple[bool, int, int]:
    """Whether time comes first; the numbers of steps and examples."""
    inputs = called.inputs
    if inputs.ndim < 2 or 0 in inputs.shape[:2]:
        raise UserError(
            f"inputs have shape {inputs.shape}; they must be tokens (time, batch) or "
            "vectors (time, batch, features), or with the batch first, with at least "
            "one step and one example"
        )
    first, second = inputs.shape[:2]
    if time_first(called, program, time_major):
        return True, first, second
    return False, second, first


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
