"""A user's own Flax model on one batch, in three lines."""

import contextlib
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import flax.core
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from flax import struct
from jaxtyping import Array, Int

from rnnjax.analysis.agreement import bypass, check, coarsest
from rnnjax.analysis.analyze import (
    RMSPROP,
    SECTIONS,
    WalkedModel,
    analyze,
    check_sections,
)
from rnnjax.analysis.caveats import doubts
from rnnjax.analysis.variables import Variable, jit_unoptimised, record
from rnnjax.errors import UserError, one_line
from rnnjax.probes.backward.parameter_gradient import (
    parameter_gradient,
    past_recurrences,
)
from rnnjax.probes.backward.trace import Trace, backward, open_up
from rnnjax.recurrence.scaled import Scaled
from rnnjax.training.optimizers import Optimizer


BYPASS = Variable(
    (),
    "norm of what of the gradient at the inputs (or at their embeddings) reaches "
    "them with the outputs of every measured recurrence held fixed, over that norm "
    "plus the norm of the rest",
)


@struct.dataclass
class Found:
    """What is compared with the untouched model.

    Attributes:
        gradient: of the parameters.
        past: see `whole.past_recurrences`.
    """

    gradient: Any
    past: list[Array]


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

    The model is any that runs `rnnjax`'s `Recurrent` or linen's `RNN`, however many
    layers and whatever lies between them, under `nn.remat` or `nn.jit` too; cells may
    be linen's own, unchanged. Loss and gradient are compared with those of the model as
    it stands, which costs one ordinary gradient.

    Args:
        model: a module, called as ``model.apply({"params": params}, inputs)``, or a
            function of (params, inputs).
        params: its parameters.
        inputs: tokens or vectors.
        loss: from the answers to one loss an example ``(B,)``, or one a step
            ``(T, B)``, for example ``lambda y: cross_entropy(y, targets)``; the loss is
            their mean, over valid steps.
        lengths: valid steps of each example; None: all. Pass them to the model too.
        time_major: whether inputs and losses are ``(T, B)`` or ``(B, T)``.
        pointwise: True promises that the model mixes steps or examples in nothing but
            its recurrences, which saves a little time (`rnnjax.probes.backward.trace`).
        sections: some of `SECTIONS`.
        optimizer: whose first update `preconditioned_share` is of; by default RMSProp
            as ``rnnjax train`` has it.

    Returns:
        A data set with dimensions layer, array, time, example, parameter, …; every
        variable has a definition and units, `seen.decay.attrs`. Whatever the sections,
        `first_nonfinite_step` says from which step on a state is not finite: what hangs
        on such a state is NaN, never zero. Written with ``to_netcdf``, drawn by
        `rnnjax.report.probe_page.write_page`.

    Warns:
        UserWarning: gradient passes by every recurrence that was found, or through a
            loop that is not measured; or losses at the last valid steps are no loss.

    Raises:
        UserError: there is no recurrence, or one that cannot be measured; the loss does
            not keep the examples apart; lengths or sections do not fit; or what the
            probe found is not the loss and the gradient of the model.
    """
    check_sections(sections)
    # plain arrays in plain dictionaries, as `apply` takes them too
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
                f"loss gives {each.shape}, not one number an example ({size},) or a"
                f" step ({steps}, {size}); see time_major if only the order is another"
            )
        return each

    def weights(each: Array) -> tuple[Array, Array]:
        """Of each loss in the mean, and in that of the last steps alone."""
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

    @jit_unoptimised
    def untouched(params: Any, inputs: Array) -> tuple[Array, Any]:
        wanted = (0, 1) if vectors else (0,)
        own = jax.value_and_grad(
            lambda p, x: total(apply(p, x)), wanted, allow_int=True
        )
        return own(params, inputs)

    @jit_unoptimised
    def walk(params: Any, inputs: Array) -> tuple[Trace, Trace, Found]:
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
        return lagged, seen, Found(gradient, past_recurrences(passed, d_answers))

    loops: list[bool] = []
    single: list[bool] = []  # both are known once `walk` is traced
    with _in_one_sentence("jax.grad cannot differentiate the model"):
        untouched.trace(params, inputs)
    with _in_one_sentence("the probe cannot take this model apart"):
        lagged, seen, found = walk(params, inputs)
    states = [walk.states for walk in seen.walks]
    dtype = coarsest(params, states)
    exploded = any(not np.all(np.isfinite(x)) for x in jax.tree.leaves(states))
    known_gradient = check(
        seen.loss, found.gradient, untouched, params, inputs, dtype, exploded
    )
    order = (1, 0) if not time_major else (0, 1)
    whole = [jnp.moveaxis(x, (0, 1), order) for x in known_gradient[1:]]
    whole += [_in_full(lookup.use.delta) for lookup in seen.lookups]
    share = bypass(found.past, whole)
    for words in doubts(lagged, seen, share, any(loops)):
        warnings.warn(words, stacklevel=2)
    of = WalkedModel(lagged, seen, known - 1, any(single))
    data = analyze(of, sections, optimizer)
    data = xr.merge([record({"bypass": share}, {"bypass": BYPASS}), data])
    name = type(model).__name__ if isinstance(model, nn.Module) else "model"
    data.attrs = {"title": f"gradient flow of {name}"}
    return data


@contextlib.contextmanager
def _in_one_sentence(what: str) -> Iterator[None]:
    """An error from inside JAX or Flax as one of ours; its own traceback goes along."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"{what}: {one_line(error)}") from error


def _in_full(value: Scaled) -> np.ndarray:
    """In double precision."""
    exponent = np.clip(np.asarray(value.exponent), -2000, 2000)
    return np.ldexp(np.asarray(value.mantissa, np.float64), exponent[..., None])


def _shape(inputs: Array, time_major: bool) -> tuple[int, int]:
    """Steps and examples."""
    if inputs.ndim < 2 or 0 in inputs.shape[:2]:
        raise UserError(
            f"inputs {inputs.shape} are neither tokens (time, batch) nor vectors "
            "(time, batch, features), or hold no step or no example"
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
            f"for each of the {size} examples; see time_major if the order is another"
        )
    if np.any((found < 0) | (found > steps)):
        raise UserError(
            f"lengths={found.tolist()} go beyond the {steps} steps of the inputs; each "
            f"is between 0 and {steps}"
        )
    return jnp.asarray(found, jnp.int32)
