"""Split a batch into equal shards, computed one by one or each on its own device.

A pack keeps every core busy with runs of its own. A single run uses only one core
unless its batch is split. Wherever the shards are computed, the gradient is summed over
them in their order, so a run is bitwise identical whether packed or not. The number of
shards therefore affects the numbers of a run, but the devices of the shards do not.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from rnnjax.models.objective import loss_mask, scored_mask
from rnnjax.tasks.base import TaskSpec
from rnnjax.types import Batch


SHARDS = "shards"
"""The mesh axis along which the shards of a batch are distributed."""


def each_shard(function: Callable[[Any], Any], shards: Any, spread: bool) -> Any:
    """Apply `function` to every shard; results are stacked along a new leading axis.

    Args:
        function: a pure function of one shard.
        shards: pytree with a leading axis of shards.
        spread: whether this runs under a mesh axis `SHARDS` of that size; otherwise the
            shards are computed one after the other.
    """
    if not spread:
        return lax.map(function, shards)
    place = lax.axis_index(SHARDS)
    own = jax.tree.map(
        lambda x: lax.dynamic_index_in_dim(x, place, keepdims=False), shards
    )
    return lax.all_gather(function(own), SHARDS)


def total(stacked: Any) -> Any:
    """The sum over the leading axis of shards, added one after the other.

    `jnp.sum` is avoided because it takes 1 ms for two kernels of 256 × 256 on a CPU.
    """

    def one(x: Array) -> Array:
        parts = [x[i] for i in range(x.shape[0])]
        return sum(parts[1:], parts[0])

    return jax.tree.map(one, stacked)


def take_examples(spec: TaskSpec, batch: Batch, index: Int[Array, "k"]) -> Batch:
    """The examples at `index` of a time-major batch.

    Whether targets are ``(B, …)`` or ``(T, B, …)`` is decided by the task's readout.
    """
    axis = 0 if spec.readout == "last" else 1
    return Batch(
        inputs=jnp.take(batch.inputs, index, axis=1),
        targets=jnp.take(batch.targets, index, axis=axis),
        mask=jnp.take(batch.mask, index, axis=1),
        lengths=jnp.take(batch.lengths, index, axis=0),
        informative=jnp.take(batch.informative, index, axis=1),
    )


def split_batch(spec: TaskSpec, batch: Batch, shards: int) -> Batch:
    """The batch in `shards` equal parts, along a new leading axis."""
    index = jnp.arange(batch.lengths.shape[0]).reshape(shards, -1)
    return jax.vmap(lambda i: take_examples(spec, batch, i))(index)


def shares(spec: TaskSpec, parts: Batch) -> Float[Array, "2 shards"]:
    """The weight of each shard in the mean loss and in the mean metric of the batch."""
    shards = parts.lengths.shape[0]
    if spec.readout == "last":
        return jnp.full((2, shards), 1 / shards)
    masks = jax.vmap(lambda part: (loss_mask(part), scored_mask(spec, part)))(parts)
    counted = jnp.stack([jnp.sum(mask, axis=(1, 2), dtype=float) for mask in masks])
    return counted / jnp.maximum(jnp.sum(counted, axis=1, keepdims=True), 1.0)


def joined(shards: Float[Array, "shards T b *n"]) -> Float[Array, "T B *n"]:
    """Arrays of the shards joined into one array of the whole batch, time first."""
    whole = jnp.moveaxis(shards, 0, 1)
    return whole.reshape(whole.shape[0], -1, *whole.shape[3:])
