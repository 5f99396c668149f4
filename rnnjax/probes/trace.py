"""One pass forward and one pass back through a model, with every cotangent kept.

Adjoints are carried as mantissa × 2^k with one exponent per step and example. Going
from layer to layer with such exponents is exact: every map between two layers (the
readout, the concatenation of directions, the input projection) acts on each step of
each example by itself and is linear in its cotangent, so that its mantissa passes
through while its exponent stays as it is. Only the recurrence mixes steps, and the
reverse scan minds the exponents itself. Dropout is off.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float, Int

from rnnjax.models.objective import objective, per_example
from rnnjax.models.sequence import SequenceModel
from rnnjax.probes.walk import Use, Walk, Walked, walk_back, walk_forward
from rnnjax.recurrence import scaled
from rnnjax.recurrence.scaled import Scaled
from rnnjax.tasks.base import TaskSpec
from rnnjax.types import Batch, Params


Lag = Literal["last", "total"]


@struct.dataclass
class Trace:
    """What one pass forward and back through a model yields.

    Attributes:
        walks: layer by layer, the forward direction before the backward one.
        embedding: the look-up of the tokens, whose `delta` is the cotangent of the
            encoder's output; None for vector inputs.
        encoder: cotangent of the encoder's output, ``(T, B, m)``.
        table: the embedding matrix, or None.
        valid: ``(T, B)``, False on padding.
        loss: the loss of the batch.
    """

    walks: tuple[Walk, ...]
    embedding: Use | None
    encoder: Scaled
    table: Array | None
    valid: Bool[Array, "T B"]
    loss: Float[Array, ""]


@dataclasses.dataclass(frozen=True)
class Forward:
    """A pass forward, from which one may go back for several losses.

    Attributes:
        layers: the walks of each layer.
        between: pulls a cotangent back through what lies in front of each layer.
        outputs: of the last layer, ``(T, B, ·)``.
    """

    model: SequenceModel
    params: Params
    batch: Batch
    spec: TaskSpec
    layers: list[list[Walked]]
    between: list[Callable[[Array], tuple[Array]]]
    outputs: Array


def trace(
    model: SequenceModel, params: Params, batch: Batch, spec: TaskSpec, *, lag: Lag
) -> Trace:
    """Every adjoint and every seam of one batch; pure, works under `jit`.

    Args:
        model: the model.
        params: its parameters.
        batch: the examples.
        spec: loss and readout of the task.
        lag: `last` keeps, for each example, the loss of its last loss step s alone, and
            the adjoints are the lagged ones λ_t^{(s)}; `total` keeps all of the loss,
            and they are ∂L/∂h_t. In both, examples and steps weigh as in the training
            loss, so that contributions of `total` add up to the training gradient.
            For a loss at the last step alone the two are the same.
    """
    return backward(forward(model, params, batch, spec), lag)


def forward(
    model: SequenceModel, params: Params, batch: Batch, spec: TaskSpec
) -> Forward:
    """Walk through all layers and keep what the way back needs."""
    bound = model.bind({"params": params})
    x = bound.encode(batch.inputs)
    layers, between = [], []
    for number, walks in enumerate(bound.stack):

        def in_front(x: Array) -> Any:
            return model.apply({"params": params}, x, method="between")

        x, pull = jax.vjp(in_front, x)
        between.append(pull)
        walked, outputs = [], []
        for walk in walks:
            name = layer_name(number, walk.backwards)
            record, out = walk_forward(walk, name, x, batch.lengths)
            walked.append(record)
            outputs.append(out)
        layers.append(walked)
        x = jnp.concatenate(outputs, axis=-1)
    return Forward(model, params, batch, spec, layers, between, x)


def backward(passed: Forward, lag: Lag) -> Trace:
    """Go back through all layers, from the loss that `lag` names."""
    batch, spec = passed.batch, passed.spec
    kept = loss_weights(spec, batch, lag)

    def answer(x: Array) -> Any:
        variables = {"params": passed.params}
        return passed.model.apply(variables, x, batch.lengths, method="decode")

    def loss(x: Array) -> tuple[Array, Array]:
        answers = answer(x)
        losses, _ = per_example(spec, answers, batch)
        return jnp.sum(losses * kept), objective(spec, answers, batch)[0]

    direct, value = jax.grad(loss, has_aux=True)(passed.outputs)
    cotangent = scaled.lift(direct, 2)
    walks: list[Walk] = []
    for walked, pull in zip(
        reversed(passed.layers), reversed(passed.between), strict=True
    ):
        parts = jnp.split(cotangent.mantissa, len(walked), axis=-1)
        back = [
            walk_back(one, Scaled(part, cotangent.exponent))
            for one, part in zip(walked, parts, strict=True)
        ]
        walks = [walk for walk, _ in back] + walks
        cotangent = back[0][1]
        for _, other in back[1:]:
            cotangent = scaled.add(cotangent, other)
        cotangent = Scaled(*pull(cotangent.mantissa), cotangent.exponent)
        cotangent = scaled.normalise(cotangent)
    steps = batch.inputs.shape[0]
    use, table = None, None
    if passed.model.vocabulary is not None:
        table = passed.params["embed"]["embedding"]
        use = Use(batch.inputs, cotangent, "embedding", "rows", False)
    valid = jnp.arange(steps)[:, None] < batch.lengths[None, :]
    return Trace(tuple(walks), use, cotangent, table, valid, value)


def layer_name(layer: int, backwards: bool) -> str:
    """`layer0`, or `layer0.backward` for the walk from the end."""
    return f"layer{layer}" + (".backward" if backwards else "")


def loss_weights(spec: TaskSpec, batch: Batch, lag: Lag) -> Float[Array, "*T B"]:
    """Weight of each answer's loss: the training loss is their weighted sum.

    ``(B,)`` for a readout at the last step, else ``(T, B)``; with lag `last` zero but
    at the last loss step of each example.
    """
    if spec.readout == "last":
        return jnp.full((batch.mask.shape[1],), 1.0 / batch.mask.shape[1])
    total = jnp.sum(batch.mask)
    weights = batch.mask / jnp.where(total > 0, total, jnp.ones_like(total))
    if lag == "total":
        return weights
    steps = jnp.arange(batch.mask.shape[0])[:, None]
    return jnp.where(steps == last_loss_step(spec, batch)[None], weights, 0.0)


def last_loss_step(spec: TaskSpec, batch: Batch) -> Int[Array, "B"]:
    """The step s from which lags s − t are counted; −1 for an example without one."""
    if spec.readout == "last":
        return batch.lengths - 1
    steps = jnp.arange(batch.mask.shape[0])[:, None]
    return jnp.max(jnp.where(batch.mask > 0, steps, -1), axis=0)
