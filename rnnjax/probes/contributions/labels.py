"""The two parts of a loss whose gradients sum to its gradient: label, and the rest.

The gradients of the cross entropy and of a squared error are linear in the target. With
the mean target ȳ of all examples in place of an example's own, they are the means over
all permutations of the labels among the examples.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array

from rnnjax.models.objective import loss_mask
from rnnjax.tasks.base import TaskSpec
from rnnjax.types import Batch


Losses = Callable[[Array], Array]
"""Maps the answers of a model to the loss of each of them."""


def parted_losses(spec: TaskSpec, batch: Batch) -> tuple[Losses, Losses]:
    """Losses of the answers, ``(B,)`` or ``(T, B)``: label part, and that with ȳ.

    The gradient of the first is −(y − ȳ) for a cross entropy, with one-hot y, and
    −2 (y − ȳ) / q for a squared error of q numbers. At several loss steps, ȳ is the
    mean of the examples that have a loss at the step.
    """
    entropy = spec.loss == "cross_entropy"
    targets = batch.targets
    if entropy:
        targets = jax.nn.one_hot(targets, spec.output_size)
    elif targets.ndim == (1 if spec.readout == "last" else 2):
        targets = targets[..., None]
    if spec.readout == "last":
        mean = jnp.mean(targets, axis=0, keepdims=True)
    else:
        mask = loss_mask(batch)[..., None]
        count = jnp.sum(mask, axis=1)
        mean = jnp.sum(targets * mask, axis=1) / jnp.where(count > 0, count, 1.0)
        mean = mean[:, None]
    apart = targets - mean

    def label(answers: Array) -> Array:
        if entropy:
            return -jnp.sum(apart * answers, axis=-1)
        return -2.0 * jnp.mean(apart * answers, axis=-1)

    def rest(answers: Array) -> Array:
        everywhere = jnp.broadcast_to(mean, answers.shape)
        if entropy:
            return optax.losses.softmax_cross_entropy(answers, everywhere)
        return jnp.mean(jnp.square(answers - everywhere), axis=-1)

    return label, rest
