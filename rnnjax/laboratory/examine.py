"""Examine the gradient flow of a model on one batch: any Flax model, three lines."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Int

from rnnjax.errors import did_you_mean
from rnnjax.laboratory.dynamics import dynamics
from rnnjax.laboratory.factors import factors
from rnnjax.laboratory.flow import flow
from rnnjax.laboratory.parameters import parameters
from rnnjax.laboratory.record import Variable, beside, quick, record
from rnnjax.models.sequence import SequenceModel
from rnnjax.probes.adjoint import state_names
from rnnjax.probes.dataset import lag_is_time
from rnnjax.probes.extent import first_nonfinite
from rnnjax.probes.trace import (
    Trace,
    backward,
    forward,
    last_loss_step,
    loss_weights,
    open_up,
)
from rnnjax.tasks.base import TaskSpec
from rnnjax.training.config import OptimizerConfig
from rnnjax.types import Batch, Params


RMSPROP = OptimizerConfig("rmsprop")

SECTIONS = ("flow", "parameters", "factors", "dynamics")

VARIABLES = {
    "loss": Variable((), "loss of the batch", "as the loss"),
    "length": Variable(("example",), "valid steps", "steps"),
    "last_step": Variable(
        ("example",), "last loss step s; the lag is s - time", "steps"
    ),
    "first_nonfinite_step": Variable(
        ("array", "example"),
        "first time step, in the order of the walk, after which this state holds inf "
        "or NaN: there the network has exploded, and what hangs on the state is NaN; "
        "NaN: the state is finite at every step",
        "steps",
    ),
}

_first_nonfinite = quick(first_nonfinite)


@dataclasses.dataclass(frozen=True)
class Subject:
    """A model opened up on one batch, walked back twice.

    Attributes:
        lagged: from the loss at the last loss step of each example.
        total: from all of the loss.
        last: that step, ``(B,)``.
        single: whether each example has one answer, which ends every walk: a walk from
            the end is then read at step 0.
    """

    lagged: Trace
    total: Trace
    last: Int[Array, "B"]
    single: bool = False

    @property
    def turned(self) -> tuple[str, ...]:
        """The walks whose lags count from step 0."""
        walks = self.lagged.walks if self.single else ()
        return tuple(walk.name for walk in walks if walk.forward.backwards)


def probe(
    model: nn.Module | Callable[[Any, Array], Array],
    params: Any,
    inputs: Any,
    loss: Callable[[Array], Array],
    *,
    lengths: Any = None,
    time_major: bool = True,
    pointwise: bool = True,
    sections: Sequence[str] = SECTIONS,
    optimizer: OptimizerConfig = RMSPROP,
) -> xr.Dataset:
    """Every quantity of gradient flow of a Flax model on one batch.

    The model is any that runs `rnnjax`'s `Recurrent` or linen's `RNN`, however many
    layers and whatever lies between them; cells may be linen's own, unchanged.

    Args:
        model: a module, called as ``model.apply({"params": params}, inputs)``, or a
            function of (params, inputs).
        params: its parameters.
        inputs: tokens or vectors.
        loss: from the answers to one loss an example ``(B,)``, or one a step
            ``(T, B)``, for example ``lambda y: cross_entropy(y, targets)``; the loss is
            their mean.
        lengths: valid steps of each example; None: all. Pass them to the model too.
        time_major: whether inputs and losses are ``(T, B)`` or ``(B, T)``.
        pointwise: False for a model that mixes steps or examples outside its
            recurrences (attention): see `rnnjax.probes.trace`.
        sections: some of `SECTIONS`.
        optimizer: whose first update `preconditioned_share` is of; by default RMSProp
            as ``rnnjax train`` has it.

    Returns:
        A data set with dimensions layer, array, time, example, parameter, …; every
        variable has a definition and units, `seen.decay.attrs`. Whatever the sections,
        `first_nonfinite_step` says from which step on a state is not finite: what hangs
        on such a state is NaN, never zero. Written with
        ``to_netcdf``, drawn by `rnnjax.report.probe_page.write_page`.

    Raises:
        ValueError: a loss that does not keep the examples apart, no recurrence in the
            model, or an unknown section.
    """
    inputs = jnp.asarray(inputs)
    steps, size = inputs.shape[:2] if time_major else inputs.shape[1::-1]
    known = jnp.full((size,), steps) if lengths is None else jnp.asarray(lengths)
    known = known.astype(jnp.int32)

    def apply(params: Any, x: Array) -> Any:
        if isinstance(model, nn.Module):
            return model.apply({"params": params}, x)
        return model(params, x)

    @quick
    def walk(params: Any, inputs: Array, lengths: Array) -> tuple[Trace, Trace, Array]:
        time = jnp.arange(steps)[:, None]
        valid = time < lengths[None]

        def losses(answers: Array) -> Array:
            each = loss(answers)
            each = each if time_major or each.ndim != 2 else each.T
            if each.shape not in ((size,), (steps, size)):
                raise ValueError(
                    f"loss gives {each.shape}, not one number an example ({size},) or a"
                    f" step ({steps}, {size})"
                )
            return each

        options: Any = {"time_major": time_major, "pointwise": pointwise}
        passed = open_up(
            apply,
            params,
            inputs,
            losses,
            lambda y: jnp.mean(losses(y)),
            valid,
            **options,
        )
        if not passed.walked:
            raise ValueError("the model calls no Recurrent and no RNN")
        weights = jnp.full((size,), 1 / size)
        if losses(passed.segments.answers).ndim == 1:
            seen = backward(passed, weights)
            return seen, seen, weights
        count = jnp.maximum(jnp.sum(valid), 1)
        weights = valid / count
        lagged = jnp.where(time == lengths[None] - 1, weights, 0.0)
        return backward(passed, lagged), backward(passed, weights), weights

    lagged, total, weights = walk(params, inputs, known)
    of = Subject(lagged, total, known - 1, single=weights.ndim == 1)
    data = examine(of, sections, optimizer)
    name = type(model).__name__ if isinstance(model, nn.Module) else "model"
    data.attrs = {"title": f"gradient flow of {name}"}
    return data


def subject(
    model: SequenceModel, params: Params, batch: Batch, spec: TaskSpec
) -> Subject:
    """One of our models on a batch of its task."""

    @quick
    def walk(params: Params, batch: Batch) -> tuple[Trace, Trace]:
        passed = forward(model, params, batch, spec)
        total = backward(passed, loss_weights(spec, batch, "total"))
        if spec.readout == "last":
            return total, total
        return backward(passed, loss_weights(spec, batch, "last")), total

    lagged, total = walk(params, batch)
    last = last_loss_step(spec, batch)
    return Subject(lagged, total, last, spec.readout == "last")


def examine(
    of: Subject,
    sections: Sequence[str] = SECTIONS,
    optimizer: OptimizerConfig = RMSPROP,
) -> xr.Dataset:
    """The chosen sections of quantities as one data set; see `probe`.

    Raises:
        ValueError: an unknown section.
    """
    for name in sections:
        if name not in SECTIONS:
            raise ValueError(f"no section '{name}'; {did_you_mean(name, SECTIONS)}")
    walks, last = of.lagged.walks, np.asarray(of.last)
    layers = []
    for lagged, total in zip(walks, of.total.walks, strict=True):
        names = {"array": state_names(lagged.states)}
        first = {"first_nonfinite_step": _first_nonfinite(lagged.forward)}
        made = [record(first, VARIABLES, names)]
        if "flow" in sections:
            turned = lagged.name in of.turned
            made.append(flow(lagged, total, of.lagged.valid, last, turned))
        if "factors" in sections:
            made.append(factors(lagged))
        if "dynamics" in sections:
            made.append(dynamics(lagged.forward))
        layers.append(xr.merge(made))
    data = beside(layers, "layer", [walk.name for walk in walks])
    if "parameters" in sections:
        data = xr.merge([data, parameters(of.total, of.last, optimizer, of.turned)])
    lengths = np.sum(np.asarray(of.lagged.valid), axis=0)
    basics = {"loss": of.total.loss, "length": lengths, "last_step": last}
    if of.turned:
        data["lag_is_time"] = lag_is_time([walk.name for walk in walks], of.turned)
    return xr.merge([record(basics, VARIABLES), data])
