"""What an update learns from: signal, offset and noise of every step."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from rnnjax.analysis.datasets import record
from rnnjax.executables.functions import begun, jit_unoptimised
from rnnjax.models.objective import loss_mask
from rnnjax.models.sequence import SequenceModel
from rnnjax.probes.adjoints.norms import lags_forward
from rnnjax.probes.backward.trace import backward, forward, last_loss_step, loss_weights
from rnnjax.probes.contributions.pairs import PairSums, pair_sums
from rnnjax.probes.contributions.signal import budget_horizon, joined, signal
from rnnjax.probes.contributions.spread import by_lag
from rnnjax.probes.contributions.to_kernels import kernels
from rnnjax.tasks.base import TaskSpec
from rnnjax.types import Batch, Params


EXAMPLES = 512
"""Number of held-out examples that are compared with each other."""

PERMUTED = 2
"""How often the labels are permuted."""

ALL = "all"
"""The name of all kernels taken as one parameter."""


@functools.partial(jit_unoptimised, static_argnames=("model", "spec", "turned"))
def _pairs(
    model: SequenceModel,
    params: Params,
    batch: Batch,
    spec: TaskSpec,
    turned: tuple[str, ...],
    partners: jax.Array,
) -> list[dict[str, PairSums]]:
    """Inner products for every kernel, with the labels and then with permuted ones."""
    last = last_loss_step(spec, batch)
    weights = loss_weights(spec, batch, "total")

    def of(targets: jax.Array) -> dict[str, PairSums]:
        own = dataclasses.replace(batch, targets=targets)
        seen = backward(forward(model, params, own, spec), weights)
        found = {}
        for kernel in kernels(seen):
            back = kernel.name.rpartition("/")[0] in turned
            uses, zero = lags_forward(kernel.uses, last, back)
            lagged = by_lag(dataclasses.replace(kernel, uses=uses), zero)
            found[kernel.name] = pair_sums(lagged)
        return found

    axis = 0 if spec.readout == "last" else 1
    permuted = [jnp.take(batch.targets, own, axis) for own in partners]
    return [of(targets) for targets in (batch.targets, *permuted)]


def _partners(spec: TaskSpec, batch: Batch) -> np.ndarray:
    """Whose labels each example gets, ``(PERMUTED, B)``.

    For a loss at several steps, an example with a loss at the same steps.
    """
    mask = np.asarray(loss_mask(batch)).T
    if spec.readout == "last":
        mask = np.zeros((len(mask), 1))
    _, kind = np.unique(mask, axis=0, return_inverse=True)
    random, found = np.random.default_rng(0), np.zeros((PERMUTED, len(mask)), int)
    for each in np.unique(kind):
        same = np.flatnonzero(kind == each)
        found[:, same] = [random.permutation(same) for _ in range(PERMUTED)]
    return found


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
    """
    partners = jnp.asarray(_partners(spec, batch))
    found = begun(_pairs, model, params, batch, spec, turned, partners)

    def data_set() -> xr.Dataset:
        own, *permuted = jax.device_get(found())
        every = [
            dict(one) | {ALL: joined(list(one.values()))} for one in (own, *permuted)
        ]
        rows = [
            signal(every[0][name], [one[name] for one in every[1:]], examples, size)
            for name in every[0]
        ]
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
            "kernel": list(every[0]),
            "bound": ["estimate", "low", "high"],
            "part": ["signal", "offset", "noise"],
        }
        data = record(values, coordinates)
        data["budget_horizon"].attrs["examples"] = size * updates
        data["log10_examples"].attrs["examples"] = examples
        return data

    examples = batch.lengths.shape[0]
    return data_set
