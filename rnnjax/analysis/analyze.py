"""Analyse the gradient flow of a model after its backward passes, by section."""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Array, Int

from rnnjax.analysis.adjoints import adjoints
from rnnjax.analysis.contributions import contributions
from rnnjax.analysis.datasets import record
from rnnjax.analysis.dynamics import SENTENCES, dynamics
from rnnjax.analysis.factors import factors
from rnnjax.executables.functions import jit_unoptimised
from rnnjax.models.sequence import SequenceModel
from rnnjax.probes.adjoints.norms import state_names
from rnnjax.probes.backward.trace import (
    Trace,
    backward,
    forward,
    last_loss_step,
    loss_weights,
)
from rnnjax.probes.backward.walk import Walk, in_order
from rnnjax.probes.dataset import lag_is_time
from rnnjax.probes.dynamics.explosion import first_nonfinite
from rnnjax.tasks.base import TaskSpec
from rnnjax.training.optimizers import Optimizer
from rnnjax.types import Batch, Params


SECTIONS = ("adjoints", "contributions", "factors", "dynamics")

_first_nonfinite = jit_unoptimised(first_nonfinite)


@dataclasses.dataclass(frozen=True)
class WalkedModel:
    """A model on one batch, with two backward passes.

    Attributes:
        lagged: backward pass from the loss at the last loss step of each example.
        total: backward pass from the whole loss.
        last: the last loss step, ``(B,)``.
        single: whether each example has a single answer, read at the end of every walk:
            the backward direction is then read at step 0.
    """

    lagged: Trace
    total: Trace
    last: Int[Array, "B"]
    single: bool

    @property
    def turned(self) -> tuple[str, ...]:
        """The walks whose lags count from step 0."""
        walks = self.lagged.walks if self.single else ()
        return tuple(walk.name for walk in walks if walk.forward.backwards)


def walk_model(
    model: SequenceModel, params: Params, batch: Batch, spec: TaskSpec
) -> WalkedModel:
    """Forward and backward passes of a `SequenceModel` on a batch of its task."""
    lagged, total, last = _walk(model, params, batch, spec)
    return WalkedModel(lagged, total, last, spec.readout == "last")


@functools.partial(jit_unoptimised, static_argnames=("model", "spec"))
def _walk(
    model: SequenceModel, params: Params, batch: Batch, spec: TaskSpec
) -> tuple[Trace, Trace, Int[Array, "B"]]:
    passed = forward(model, params, batch, spec)
    total = backward(passed, loss_weights(spec, batch, "total"))
    last = last_loss_step(spec, batch)
    if spec.readout == "last":
        return total, total, last
    return backward(passed, loss_weights(spec, batch, "last")), total, last


def analyze(
    of: WalkedModel,
    sections: Sequence[str],
    optimizer: Optimizer,
    sentences: int = SENTENCES,
) -> xr.Dataset:
    """The quantities of the chosen sections as one data set; see `probe`.

    Args:
        of: the model.
        sections: some of `SECTIONS`.
        optimizer: by whose first update contributions are preconditioned.
        sentences: number of examples that costly quantities are measured for.
    """
    walks, last = of.lagged.walks, np.asarray(of.last)
    layers = []
    for lagged, total in zip(walks, of.total.walks, strict=True):
        first = {"first_nonfinite_step": _first_nonfinite(lagged.forward)}
        made = [record(first, {"array": state_names(lagged.states)})]
        counted = _counted(lagged, of.lagged.valid)
        if "adjoints" in sections:
            turned = lagged.name in of.turned
            made.append(adjoints(lagged, total, of.lagged.valid, last, turned))
        if "factors" in sections:
            made.append(factors(counted))
        if "dynamics" in sections:
            made.append(dynamics(counted.forward, sentences))
        layers.append(xr.merge(made))
    # NaN where a layer lacks an entry
    options: Any = {"join": "outer", "data_vars": "all", "combine_attrs": "override"}
    names = [walk.name for walk in walks]
    data = xr.concat(layers, "layer", **options)
    data = data.assign_coords(layer=np.asarray(names, object))
    if "contributions" in sections:
        data = xr.merge([data, contributions(of.total, of.last, optimizer, of.turned)])
    lengths = np.sum(np.asarray(of.lagged.valid), axis=0)
    basics = {"loss": of.total.loss, "length": lengths, "last_step": last}
    if of.turned:
        data["lag_is_time"] = lag_is_time(names, of.turned)
    return xr.merge([record(basics), data])


def _counted(walk: Walk, valid: Array) -> Walk:
    """The walk with padding marked, in case the recurrence also ran on the padding."""
    done = walk.forward
    if done.drive.valid is not None or np.all(valid):
        return walk
    drive = dataclasses.replace(done.drive, valid=in_order(valid, done.backwards))
    done = dataclasses.replace(done, drive=drive)
    return dataclasses.replace(walk, forward=done)
