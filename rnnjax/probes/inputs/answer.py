"""The scalar per example that is attributed to the inputs.

Saliency, integrated gradients and influence all ask how an input affected *the answer
at the last loss step* s of its example. That is the only answer if the readout is at
the last step, and the answer at the last step with a loss if the model answers at every
step.
"""

from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from rnnjax.models.objective import loss_mask, per_example
from rnnjax.probes.backward.trace import last_loss_step
from rnnjax.tasks.base import TaskSpec
from rnnjax.types import Batch


Answer = Literal["contrast", "log_probability"] | int
"""Which scalar y_s to take from the answer. `contrast`: the logit of the target class
minus the mean of the other logits. `log_probability`: the log-probability of the target
class, in nats. An integer k: entry k of the answer (a logit, or a regression value)."""


def at_last_loss(
    spec: TaskSpec, values: Float[Array, "*T B q"], batch: Batch
) -> Float[Array, "B q"]:
    """The values at the last loss step of each example; zeros if it has no loss."""
    if spec.readout == "last":
        return values
    last = last_loss_step(spec, batch)
    found = values[jnp.maximum(last, 0), jnp.arange(last.shape[0])]
    return jnp.where(last[:, None] >= 0, found, jnp.zeros_like(found))


def target_at_last_loss(spec: TaskSpec, batch: Batch) -> Array:
    """The target at the last loss step: classes ``(B,)`` or values ``(B, q)``."""
    if spec.readout == "last":
        return batch.targets
    last = jnp.maximum(last_loss_step(spec, batch), 0)
    return batch.targets[last, jnp.arange(last.shape[0])]


def chosen_answer(
    spec: TaskSpec, answers: Float[Array, "*T B q"], batch: Batch, answer: Answer
) -> Float[Array, "B"]:
    """y_s of every example; 0 for an example without a loss step.

    Args:
        spec: readout and loss of the task.
        answers: answers of the model, ``(B, q)`` or ``(T, B, q)``.
        batch: targets and masks.
        answer: see `Answer`.

    Raises:
        ValueError: `contrast` or `log_probability` for a task without classes, or an
            entry k that is out of range.
    """
    value = _value(spec, at_last_loss(spec, answers, batch), batch, answer)
    return jnp.where(last_loss_step(spec, batch) >= 0, value, jnp.zeros_like(value))


def _value(spec: TaskSpec, final: Array, batch: Batch, answer: Answer) -> Array:
    size = final.shape[-1]
    if isinstance(answer, int):
        if not 0 <= answer < size:
            raise ValueError(f"answer {answer} is not in the range 0 to {size - 1}")
        return final[:, answer]
    if spec.loss != "cross_entropy" or size < 2:
        raise ValueError(
            f"answer {answer!r} needs a task with classes; give an index k instead"
        )
    if answer == "log_probability":
        final = jax.nn.log_softmax(final, axis=-1)
    target = target_at_last_loss(spec, batch)[:, None]
    own = jnp.take_along_axis(final, target, axis=-1)[:, 0]
    if answer == "log_probability":
        return own
    return own - (jnp.sum(final, axis=-1) - own) / (size - 1)


def example_weights(spec: TaskSpec, batch: Batch) -> Float[Array, "*T B"]:
    """Weights with which the losses of each example sum to its own mean loss.

    The training loss weights an example by 1/B or by its share of all loss steps; with
    these weights the gradient of an example does not depend on the rest of the batch.
    """
    if spec.readout == "last":
        return jnp.ones_like(batch.mask[0])
    mask = loss_mask(batch)
    total = jnp.sum(mask, axis=0)
    return mask / jnp.where(total > 0, total, jnp.ones_like(total))[None]


def example_loss(
    spec: TaskSpec, answers: Float[Array, "*T B q"], batch: Batch
) -> Float[Array, "B"]:
    """The loss of each example: the mean over its loss steps, 0 if it has none."""
    losses, _ = per_example(spec, answers, batch)
    if spec.readout == "last":
        return losses
    return jnp.sum(losses * example_weights(spec, batch), axis=0)
