"""What an update learns from: signal, offset and noise of every step."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import xarray as xr

from rnnjax.analysis.contributions import kernel_by_lag
from rnnjax.analysis.datasets import record
from rnnjax.errors import UserError
from rnnjax.executables.functions import begun, jit_unoptimised
from rnnjax.models.sequence import SequenceModel
from rnnjax.probes.backward.trace import (
    backward,
    forward,
    last_loss_step,
    loss_weights,
)
from rnnjax.probes.contributions.labels import Losses, parted_losses
from rnnjax.probes.contributions.pairs import PairSums, pair_sums
from rnnjax.probes.contributions.signal import Parts, budget_horizon, joined, signal
from rnnjax.probes.contributions.to_kernels import kernels
from rnnjax.tasks.base import TaskSpec
from rnnjax.types import Batch, Params


EXAMPLES = 512
"""Number of held-out examples that are compared with each other."""

FEWEST = 8
"""With fewer there are too few groups for an error."""

ALL = "all"
"""The name of all kernels taken as one parameter."""


@functools.partial(jit_unoptimised, static_argnames=("model", "spec", "turned"))
def _parts(
    model: SequenceModel,
    params: Params,
    batch: Batch,
    spec: TaskSpec,
    turned: tuple[str, ...],
) -> dict[str, Parts]:
    """Inner products for every kernel, by the part of the gradient."""
    last = last_loss_step(spec, batch)
    weights = loss_weights(spec, batch, "total")
    passed = forward(model, params, batch, spec)

    def of(losses: Losses) -> dict[str, PairSums]:
        found, other = {}, dataclasses.replace(passed, losses=losses)
        for kernel in kernels(backward(other, weights)):
            found[kernel.name] = pair_sums(kernel_by_lag(kernel, last, turned))
        return found

    label, rest = parted_losses(spec, batch)
    whole, signal, offset = of(passed.losses), of(label), of(rest)
    return {k: Parts(whole[k], signal[k], offset[k]) for k in whole}


def signals(
    model: SequenceModel,
    params: Params,
    batch: Batch,
    spec: TaskSpec,
    turned: tuple[str, ...],
    size: int,
    updates: int,
) -> Callable[[], xr.Dataset]:
    """Signal, offset and noise by kernel and lag; begins at once, see `begun`.

    Args:
        batch: held-out examples that are compared with each other.
        turned: names of the walks whose lags count from step 0.
        size: examples of a training batch.
        updates: updates of the training run, for the budget horizon.

    Raises:
        UserError: there are too few examples.
    """
    examples = batch.lengths.shape[0]
    if examples < FEWEST:
        raise UserError(
            f"sections=signal compares at least {FEWEST} held-out examples with each "
            f"other; the task has {examples}"
        )
    found = begun(_parts, model, params, batch, spec, turned)

    def data_set() -> xr.Dataset:
        own: dict[str, Parts] = jax.device_get(found())
        names = [field.name for field in dataclasses.fields(Parts)]
        of_all = [joined([getattr(one, n) for one in own.values()]) for n in names]
        every = own | {ALL: Parts(*of_all)}
        rows = [signal(one, examples, size) for one in every.values()]
        values: dict[str, Any] = {
            field.name: np.stack([np.asarray(getattr(row, field.name)) for row in rows])
            for field in dataclasses.fields(rows[0])
        }
        budget = float(size * updates)
        needed = values["log10_examples_in_update"]
        values["budget_horizon"] = np.array(
            [budget_horizon(row, budget) for row in needed]
        )
        coordinates = {
            "kernel": list(every),
            "bound": ["estimate", "low", "high"],
            "part": ["signal", "offset", "noise"],
        }
        data = record(values, coordinates)
        data["budget_horizon"].attrs["examples"] = size * updates
        data["log10_examples"].attrs["examples"] = examples
        return data

    return data_set
