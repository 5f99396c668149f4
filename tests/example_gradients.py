"""Gradients of single examples by `jax.grad`, for what compares examples."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rnnjax.models.objective import per_example
from rnnjax.probes.backward.trace import Trace, backward, forward, loss_weights
from rnnjax.sweeps.compose import compose
from rnnjax.training.build import build_model, build_task, heldout, initial_params


LAYERS = {"layer0": "stack_0_0", "layer0.backward": "stack_0_1"}
"""The module of each layer, by the name that probes give it."""


def example_gradients(
    words: list[str], size: int
) -> tuple[Trace, dict[str, np.ndarray]]:
    """The backward pass of a small network, and the gradients of its examples.

    The latter are ``(size, parameters)`` by path, each example weighted as in the loss.
    """
    config = compose(*words, "model.hidden=4", "model.embedding=3").config
    made, data = build_task(config.task, config.task_options)
    spec = made.spec(data)
    network, params = build_model(config, spec), initial_params(config)
    batch = heldout(config.task, config.task_options, "validation", size)
    weights = loss_weights(spec, batch, "total")
    seen = backward(forward(network, params, batch, spec), weights)

    def of_example(params: Any, one: jax.Array) -> jax.Array:
        answers: Any = network.apply({"params": params}, batch.inputs, batch.lengths)
        losses = per_example(spec, answers, batch)[0]
        return jnp.sum((losses * weights)[..., one])

    each = jax.vmap(jax.grad(of_example), (None, 0))(params, jnp.arange(size))
    return seen, {
        "/".join(str(key.key) for key in path): np.asarray(x).reshape(size, -1)
        for path, x in jax.tree_util.tree_leaves_with_path(each)
    }
