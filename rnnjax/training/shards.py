"""A batch in equal shards, worked one by one or each on a device of its own.

A pack keeps every core busy with runs of its own. A run that is alone leaves all cores
but one idle, unless its batch is parted. The gradient is the sum over the shards in
their order wherever they are worked, so that a run has the same bits alone and in
company: the number of shards belongs to what a run computes, their place does not.
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
"""The mesh axis along which the shards of a batch are spread."""


def each_shard(function: Callable[[Any], Any], shards: Any, spread: bool) -> Any:
    """`function` of every shard, results stacked along a new leading axis.

    Args:
        function: pure, of one shard.
        shards: pytree with a leading axis of shards.
        spread: whether this runs under a mesh axis `SHARDS` of that size; else one
            shard after the other.
    """
    if not spread:
        return lax.map(function, shards)
    place = lax.axis_index(SHARDS)
    own = jax.tree.map(
        lambda x: lax.dynamic_index_in_dim(x, place, keepdims=False), shards
    )
    return lax.all_gather(function(own), SHARDS)


def total(stacked: Any) -> Any:
    """The sum over the leading axis of shards, one after the other.

    Not `jnp.sum`, which takes 1 ms for two kernels of 256 × 256 on a CPU.
    """

    def one(x: Array) -> Array:
        parts = [x[i] for i in range(x.shape[0])]
        return sum(parts[1:], parts[0])

    return jax.tree.map(one, stacked)


def take_examples(spec: TaskSpec, batch: Batch, index: Int[Array, "k"]) -> Batch:
    """The examples at `index` of a time-major batch.

    Targets are ``(B, …)`` or ``(T, B, …)`` as the task says, whatever the sizes are.
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
    """Arrays of the shards as one of the whole batch, time first."""
    whole = jnp.moveaxis(shards, 0, 1)
    return whole.reshape(whole.shape[0], -1, *whole.shape[3:])
