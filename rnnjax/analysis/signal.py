"""What an update learns from: signal, offset and noise of every step."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array

from rnnjax.analysis.contributions import kernel_by_lag
from rnnjax.analysis.datasets import record
from rnnjax.executables.functions import begun, jit_unoptimised
from rnnjax.models.sequence import SequenceModel
from rnnjax.probes.backward.trace import (
    Trace,
    backward,
    forward,
    last_loss_step,
    loss_weights,
)
from rnnjax.probes.contributions.first_update import FirstUpdate
from rnnjax.probes.contributions.free_pairs import (
    free_metrics,
    free_pair_sums,
    free_totals,
)
from rnnjax.probes.contributions.labels import parted_losses
from rnnjax.probes.contributions.pairs import (
    Metric,
    PairSums,
    adaptive_metric,
    pair_sums,
)
from rnnjax.probes.contributions.signal import Parts, budget_horizon, joined, signal
from rnnjax.probes.contributions.to_kernels import kernels
from rnnjax.probes.measure import turned_layers
from rnnjax.quantities import ALL
from rnnjax.quantities.signal import EUCLIDEAN, OPTIMIZER
from rnnjax.tasks.base import TaskSpec
from rnnjax.training.build import build_hyper, compared, signature
from rnnjax.training.config import RunConfig
from rnnjax.training.hyper import Hyper, with_numbers
from rnnjax.types import Batch, Params


EXAMPLES = 512
"""Number of held-out examples that are compared with each other."""


Named = dict[str, Parts]
"""Inner products by the name of the parameter."""


@functools.partial(jit_unoptimised, static_argnames=("model", "spec", "size", "rule"))
def _parts(
    model: SequenceModel,
    params: Params,
    hyper: Hyper,
    batch: Batch,
    spec: TaskSpec,
    size: int,
    rule: FirstUpdate | None,
) -> dict[str, Named]:
    """Inner products for every parameter and part of the gradient, by metric."""
    last = last_loss_step(spec, batch)
    weights = loss_weights(spec, batch, "total")
    passed = forward(with_numbers(model, hyper), params, batch, spec)
    turned = turned_layers(spec, [one.name for one in passed.walked])
    losses = passed.losses, *parted_losses(spec, batch)
    seen = [backward(dataclasses.replace(passed, losses=x), weights) for x in losses]
    metrics: dict[str, dict[str, Metric] | None] = {EUCLIDEAN: None}
    if rule and not any(jnp.iscomplexobj(k.weight) for k in kernels(seen[0])):
        metrics[OPTIMIZER] = _adaptive(seen[0], last, turned, size, rule)
    found = {}
    for name, metric in metrics.items():
        sums = [_sums(one, last, turned, metric) for one in seen]
        found[name] = {k: Parts(*(part[k] for part in sums)) for k in sums[0]}
    return found


def _adaptive(
    seen: Trace, last: Array, turned: tuple[str, ...], size: int, rule: FirstUpdate
) -> dict[str, Metric]:
    found = {
        kernel.name: adaptive_metric(kernel, size, rule) for kernel in kernels(seen)
    }
    for walk in seen.walks:
        totals, _ = free_totals(walk, last, walk.name in turned)
        found |= free_metrics(totals, size, rule)
    return found


def _sums(
    seen: Trace,
    last: Array,
    turned: tuple[str, ...],
    metrics: dict[str, Metric] | None,
) -> dict[str, PairSums]:
    found = {}
    for kernel in kernels(seen):
        metric = None if metrics is None else metrics[kernel.name]
        found[kernel.name] = pair_sums(
            kernel_by_lag(kernel, last, turned), metric=metric
        )
    for walk in seen.walks:
        found |= free_pair_sums(walk, last, walk.name in turned, metrics)
    return found


def signals(
    config: RunConfig, params: Params, examples: int = EXAMPLES
) -> Callable[[], xr.Dataset]:
    """Signal, offset and noise by parameter and lag; begins at once, see `begun`.

    Runs that differ only in numbers share a compiled program. If the optimizer divides
    by the root of a mean of g², its metric is used too, unless a kernel is complex.

    Args:
        config: the run; its batch and updates are the budget.
        params: parameters of its model.
        examples: number of held-out examples.

    Raises:
        UserError: there are too few examples.
    """
    batch, made = compared(config, examples), signature(config)
    examples = batch.lengths.shape[0]
    rule = config.optimizer.first_update()
    rule = None if rule is None or rule.plain else rule
    size, updates = config.batch, config.steps
    hyper = build_hyper(config)
    found = begun(_parts, made.model, params, hyper, batch, made.spec, size, rule)

    def data_set() -> xr.Dataset:
        made: dict[str, Named] = jax.device_get(found())
        every = [_with_all(own) for own in made.values()]
        rows = [[signal(x, examples, size) for x in own.values()] for own in every]
        values: dict[str, Any] = {
            field.name: np.array(
                [[getattr(x, field.name) for x in row] for row in rows]
            )
            for field in dataclasses.fields(rows[0][0])
        }
        budget = float(size * updates)
        needed = values["log10_examples_in_update"]
        values["budget_horizon"] = np.array(
            [[budget_horizon(x, budget) for x in row] for row in needed]
        )
        coordinates = {
            "metric": list(made),
            "gradient_of": list(every[0]),
            "bound": ["estimate", "low", "high"],
            "part": ["signal", "offset", "noise"],
        }
        data = record(values, coordinates)
        data["budget_horizon"].attrs["examples"] = size * updates
        data["log10_examples"].attrs["examples"] = examples
        data["update_share"].attrs["batch"] = size
        return data

    return data_set


def _with_all(own: Named) -> Named:
    """The parameters, and all of them taken as one."""
    names = [field.name for field in dataclasses.fields(Parts)]
    return own | {
        ALL: Parts(*(joined([getattr(x, n) for x in own.values()]) for n in names))
    }
