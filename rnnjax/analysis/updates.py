"""One update, step by step: gradients, clipping, truncation, sensitivity."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from rnnjax.analysis.datasets import record, some_sentences
from rnnjax.clipping import clip
from rnnjax.executables.functions import begun, jit_unoptimised
from rnnjax.models.objective import objective
from rnnjax.models.sequence import SequenceModel
from rnnjax.probes.backward.trace import site_names
from rnnjax.probes.updates.monitor import Updates, monitor
from rnnjax.probes.updates.sensitivity import Sensitivity, sensitivity
from rnnjax.probes.updates.truncation import TruncationBias, truncation_bias
from rnnjax.tasks.base import TaskSpec
from rnnjax.training.hyper import Hyper
from rnnjax.training.optimizers import Optimizer
from rnnjax.types import Batch, Params


LAGS = 12
"""Number of lags at which the gradient is cut."""

SENSITIVE = 4
"""Number of examples for the sensitivity, which costs one gradient per state unit."""


def updates(
    model: SequenceModel,
    params: Params,
    batch: Batch,
    spec: TaskSpec,
    optimizer: Optimizer,
    clipping: str,
    hyper: Hyper,
) -> Callable[[], xr.Dataset]:
    """Properties of the first update from these parameters.

    `parameter_array` is the name of an array, or `all` for all of them together. The
    measurement begins at once, see `begun`; the result is a function that returns the
    data set.
    """
    steps = batch.inputs.shape[0]
    lags = np.unique(np.linspace(0, steps, LAGS + 1).astype(int))
    some = some_sentences(spec, batch, SENSITIVE)
    rules = spec, optimizer, clipping, hyper
    found = begun(_measured, model, params, batch, some, *rules, jnp.asarray(lags))
    names = [*parameter_names(model, params), "all"]
    return lambda: _data_set(jax.device_get(found()), names, lags)


def _data_set(
    found: tuple[Updates, TruncationBias, Sensitivity],
    names: list[str],
    lags: np.ndarray,
) -> xr.Dataset:
    one, bias, sensitive = found

    def row(found: Any) -> np.ndarray:
        return np.array([*jax.tree.leaves(found.arrays), found.joint], float)

    joint = jax.tree.leaves(sensitive.mean)
    values = {
        "gradient_norm": row(one.gradient),
        "used_norm": row(one.used),
        "clipped_entries": row(one.clipped),
        "update_norm": row(one.update),
        "weight_norm": row(one.weight),
        "update_ratio": row(one.ratio),
        "truncation_bias": np.stack([*jax.tree.leaves(bias.arrays), bias.joint], -1),
        "sensitivity": np.array([*joint, sum(joint)], float),
    }
    labels = {"parameter_array": names, "cut_lag": lags.tolist()}
    return record(values, labels)


@functools.partial(
    jit_unoptimised, static_argnames=("model", "spec", "optimizer", "clipping")
)
def _measured(
    model: SequenceModel,
    params: Params,
    batch: Batch,
    some: Batch,
    spec: TaskSpec,
    optimizer: Optimizer,
    clipping: str,
    hyper: Hyper,
    lags: jax.Array,
) -> tuple[Updates, TruncationBias, Sensitivity]:
    def loss(params: Params) -> Any:
        answers: Any = model.apply({"params": params}, batch.inputs, batch.lengths)
        return objective(spec, answers, batch)[0]

    gradient = jax.grad(loss)(params)
    used = clip(clipping, hyper.threshold, gradient)
    rule = optimizer.transformation(hyper.lr)
    updates, _ = rule.update(used, rule.init(params), params)
    bias = truncation_bias(model, params, batch, spec, lags)
    step = monitor(gradient, used, updates, params)
    return step, bias, sensitivity(model, params, some)


def parameter_names(model: SequenceModel, params: Params) -> list[str]:
    """Names of all parameter arrays: `layer0/U`, `embedding`, `head/kernel`, …"""
    layers = site_names(model)
    names = []
    for path, _ in jax.tree_util.tree_leaves_with_path(params):
        first, *rest = (str(key.key) for key in path)
        rest = [part for part in rest if part not in ("cell", "embedding")]
        names.append("/".join([layers.get(first, first), *rest]))
    return names
