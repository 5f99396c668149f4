"""Loss and metric of a batch."""

from collections.abc import Callable

import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from rnnjax.tasks.base import TaskSpec
from rnnjax.tasks.masks import valid_steps
from rnnjax.types import Batch


Compare = Callable[[TaskSpec, Array, Array], tuple[Array, Array]]
"""Maps the task, answers and targets to losses and metrics."""


def objective(
    spec: TaskSpec, answers: Array, batch: Batch
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Mean loss over the masked steps, and the mean metric over the scored ones.

    Args:
        spec: loss, metric and readout of the task.
        answers: ``(B, q)`` for a readout at the last step, else ``(T, B, q)``.
        batch: targets and masks.

    Returns:
        loss (nats, or a squared error) and metric (accuracy or squared error), scalars.
    """
    losses, scores = per_example(spec, answers, batch)
    if spec.readout == "last":
        return jnp.mean(losses), jnp.mean(scores)
    loss = weighted_mean(losses, loss_mask(batch))
    return loss, weighted_mean(scores, scored_mask(spec, batch))


def per_example(
    spec: TaskSpec, answers: Array, batch: Batch, compare: Compare | None = None
) -> tuple[Array, Array]:
    """Loss and metric of every answer, ``(B,)`` or ``(T, B)``.

    Both are 0 at a step that the loss mask excludes: its target is never read.

    Args:
        compare: an alternative to `compared`, see `rnnjax.probes.backward.margin`.
    """
    compare = compare or compared
    if spec.readout == "last":
        return compare(spec, answers, batch.targets)
    counted = loss_mask(batch) != 0
    shape = counted.shape + (1,) * (batch.targets.ndim - counted.ndim)
    nothing = jnp.zeros_like(batch.targets)
    targets = jnp.where(jnp.reshape(counted, shape), batch.targets, nothing)
    losses, scores = compare(spec, answers, targets)
    nothing = jnp.zeros_like(losses)
    return jnp.where(counted, losses, nothing), jnp.where(counted, scores, nothing)


def compared(spec: TaskSpec, answers: Array, targets: Array) -> tuple[Array, Array]:
    """Loss and metric of answers, given targets; with any leading axes."""
    if spec.loss == "cross_entropy":
        losses = optax.losses.softmax_cross_entropy_with_integer_labels(
            answers, targets
        )
        hits = jnp.argmax(answers, axis=-1) == targets
        return losses, hits.astype(losses.dtype)
    if targets.ndim < answers.ndim:
        targets = targets[..., None]
    squares = jnp.mean(jnp.square(answers - targets.astype(answers.dtype)), axis=-1)
    return squares, squares


def loss_mask(batch: Batch) -> Float[Array, "T B"]:
    """The loss mask, set to 0 after the end of each example."""
    valid = valid_steps(batch.lengths, batch.mask.shape[0])
    return jnp.where(valid, batch.mask, jnp.zeros_like(batch.mask))


def scored_mask(spec: TaskSpec, batch: Batch) -> Float[Array, "T B"]:
    """The loss mask, or only its last `spec.scored` steps in each example."""
    mask = loss_mask(batch)
    if spec.scored is None:
        return mask
    left = jnp.flip(jnp.cumsum(jnp.flip(mask > 0, 0), axis=0), 0)
    return mask * (left <= spec.scored)


def weighted_mean(values: Array, weights: Array) -> Array:
    """Σ w·v / Σ w, or 0 if all weights are 0."""
    total = jnp.sum(weights)
    return jnp.sum(values * weights) / jnp.where(total > 0, total, jnp.ones_like(total))
