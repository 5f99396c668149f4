"""Evaluate a model on held-out examples, one block of examples at a time."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from rnnjax.models.objective import loss_mask, per_example, scored_mask
from rnnjax.models.sequence import SequenceModel
from rnnjax.tasks.base import TaskSpec
from rnnjax.training.shards import take_examples
from rnnjax.types import Batch


BLOCK = 125
"""Number of examples evaluated at once."""


def evaluate(
    model: SequenceModel, spec: TaskSpec, params: Any, batch: Batch
) -> tuple[Float[Array, ""], Float[Array, ""], Float[Array, "B"]]:
    """The mean loss, the mean metric, and the metric of each example. Pure."""
    size = batch.lengths.shape[0]
    blocks = -(-size // BLOCK)
    chosen = jnp.arange(blocks * BLOCK).reshape(blocks, BLOCK)

    def sums(index: Array) -> tuple[Array, Array]:
        part = take_examples(spec, batch, jnp.minimum(index, size - 1))
        answers: Any = model.apply({"params": params}, part.inputs, part.lengths)
        losses, scores = per_example(spec, answers, part)
        real = (index < size).astype(float)
        weight, scored = jnp.ones((), losses.dtype), jnp.ones((), losses.dtype)
        if spec.readout == "every":
            weight, scored = loss_mask(part), scored_mask(spec, part)
        terms = [losses * weight, weight, scores * scored, scored]
        over_time = tuple(range(losses.ndim - 1))
        each = [
            jnp.sum(jnp.broadcast_to(term, losses.shape), axis=over_time)
            for term in terms
        ]
        total = jnp.stack([jnp.sum(term * real) for term in each])
        return total, each[2] / jnp.maximum(each[3], 1e-30)

    totals, each = lax.map(sums, chosen)
    loss, weight, score, scored = jnp.sum(totals, axis=0)
    return loss / weight, score / scored, each.reshape(-1)[:size]


def judge(spec: TaskSpec, batch: Batch) -> TaskSpec:
    """The task's specification, with its baseline and threshold for these examples."""
    if spec.constant is None:
        return spec
    targets = np.asarray(batch.targets)
    if spec.readout == "every":
        targets = targets[np.asarray(scored_mask(spec, batch)) > 0]
    return spec.judged_on(targets)


UNEVEN = 2
"""Classes are uneven if one has this many times the test examples of another."""


def by_class(
    spec: TaskSpec, scores: np.ndarray, targets: np.ndarray
) -> dict[str, float]:
    """Number of test examples of a data set, and balanced accuracy for uneven classes.

    Balanced accuracy is the mean, over the classes that occur, of the accuracy on the
    examples of one class; every constant answer has 1 / classes. It is left out where
    all classes are about equally frequent.

    Args:
        spec: specification of the task; the result is {} if the task generates its
            examples.
        scores: the metric of each example.
        targets: the class of each example.
    """
    if spec.constant is None:
        return {}
    found: dict[str, float] = {"test_examples": len(scores)}
    if spec.metric != "accuracy" or spec.readout != "last":
        return found
    counts = np.bincount(targets)
    occur = counts > 0
    if counts[occur].max() >= UNEVEN * counts[occur].min():
        right = np.bincount(targets, weights=scores)
        share = float((right[occur] / counts[occur]).mean())
        found["test_balanced_accuracy"] = share
    return found
