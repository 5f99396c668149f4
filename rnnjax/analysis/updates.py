"""One update, step by step: gradients, clipping, truncation, sensitivity."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from rnnjax.analysis.variables import Variable, jit_unoptimised, record
from rnnjax.clipping import clip
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

EACH = ("array_of",)

VARIABLES = {
    "gradient_norm": Variable(EACH, "norm of the gradient of this parameter array"),
    "used_norm": Variable(EACH, "the same after clipping"),
    "clipped": Variable(EACH, "share of its entries that clipping changed"),
    "update_norm": Variable(EACH, "norm of the update of the first step"),
    "weight_norm": Variable(EACH, "norm of the array itself"),
    "update_ratio": Variable(EACH, "norm of the update over that of the array"),
    "truncation_bias": Variable(
        ("cut_lag", *EACH),
        "|g_K - g| / |g|, where g_K is the gradient cut at this lag from the last step",
    ),
    "sensitivity": Variable(
        EACH,
        "mean over examples of |d h_T / d theta|^2, squared Frobenius norm, T the last "
        "step (Zucchet and Orvieto 2024)",
    ),
}


def updates(
    model: SequenceModel,
    params: Params,
    batch: Batch,
    spec: TaskSpec,
    optimizer: Optimizer,
    clipping: str,
    hyper: Hyper,
) -> xr.Dataset:
    """Properties of the first update from these parameters.

    `array_of` is the name of a parameter array, or `all` for all of them together.
    """
    steps = batch.inputs.shape[0]
    lags = np.unique(np.linspace(0, steps, LAGS + 1).astype(int))
    few = jax.tree.map(lambda x: x[..., :SENSITIVE], batch.lengths)
    some = Batch(batch.inputs[:, :SENSITIVE], *(None,) * 2, few, None)  # type: ignore

    @jit_unoptimised
    def measured(params: Params) -> tuple[Updates, TruncationBias, Sensitivity]:
        def loss(params: Params) -> Any:
            answers: Any = model.apply({"params": params}, batch.inputs, batch.lengths)
            return objective(spec, answers, batch)[0]

        gradient = jax.grad(loss)(params)
        used = clip(clipping, hyper.threshold, gradient)
        rule = optimizer.transformation(hyper.lr)
        updates, _ = rule.update(used, rule.init(params), params)
        bias = truncation_bias(model, params, batch, spec, jnp.asarray(lags))
        return (
            monitor(gradient, used, updates, params),
            bias,
            sensitivity(model, params, some),
        )

    one, bias, sensitive = jax.device_get(measured(params))
    names = parameter_names(model, params)

    def row(found: Any) -> np.ndarray:
        return np.array([*jax.tree.leaves(found.arrays), found.joint], float)

    joint = jax.tree.leaves(sensitive.mean)
    values = {
        "gradient_norm": row(one.gradient),
        "used_norm": row(one.used),
        "clipped": row(one.clipped),
        "update_norm": row(one.update),
        "weight_norm": row(one.weight),
        "update_ratio": row(one.ratio),
        "truncation_bias": np.stack([*jax.tree.leaves(bias.arrays), bias.joint], -1),
        "sensitivity": np.array([*joint, sum(joint)], float),
    }
    labels = {"array_of": [*names, "all"], "cut_lag": lags.tolist()}
    return record(values, VARIABLES, labels)


def parameter_names(model: SequenceModel, params: Params) -> list[str]:
    """Names of all parameter arrays: `layer0/U`, `embedding`, `head/kernel`, …"""
    layers = site_names(model)
    names = []
    for path, _ in jax.tree_util.tree_leaves_with_path(params):
        first, *rest = (str(key.key) for key in path)
        rest = [part for part in rest if part not in ("cell", "embedding")]
        names.append("/".join([layers.get(first, first), *rest]))
    return names
