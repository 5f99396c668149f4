"""How the answer changes when one word is replaced by another.

Occlusion (Zeiler & Fergus 2014; "erasure" in Li, Monroe & Jurafsky 2016): a finite
change of one input instead of an infinitesimal one as in a gradient. It detects a word
that is decisive through a saturated unit, and needs no derivative. Words are replaced,
not removed: in a shorter sentence all later words would move.
"""

from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax import lax
from jaxtyping import Array, Float, Int, PRNGKeyArray

from rnnjax.models.sequence import SequenceModel
from rnnjax.probes.inputs.answer import at_last_loss, chosen_answer, example_loss
from rnnjax.tasks.base import TaskSpec
from rnnjax.types import Batch, Params


@struct.dataclass
class Influence:
    """Effects of replacing word t, averaged over the replacements, each ``(T, B)``.

    A change is the value with the word replaced minus the value with the original word;
    exactly 0 on padding. For a helpful word the change of the loss is positive and that
    of the log-probability negative.

    Attributes:
        loss: change of the example's own loss, the mean over its loss steps.
        loss_abs: mean of its absolute value.
        log_probability: change of the log-probability of the target at the last loss
            step, in nats; NaN for a task without classes. If the loss is at a single
            step, it is −`loss`.
        log_probability_abs: mean of its absolute value.
        distance: distance between the answers at the last loss step: the total
            variation ½ Σ_k |p_k − p′_k| of the distributions, in [0, 1]; for a task
            without classes the Euclidean distance of the answers.
    """

    loss: Float[Array, "T B"]
    loss_abs: Float[Array, "T B"]
    log_probability: Float[Array, "T B"]
    log_probability_abs: Float[Array, "T B"]
    distance: Float[Array, "T B"]


@struct.dataclass
class _Seen:
    """One pass: loss ``(R, B)``, log-probability ``(R, B)``, answer ``(R, B, q)``."""

    loss: Array
    log_probability: Array
    answer: Array


def token_substitutes(tokens: Int[Array, "R"], batch: Batch) -> Int[Array, "R T B"]:
    """The same substitutes for every word: ``jnp.arange(vocabulary)``, or some tokens.

    The word itself may be among them; it changes nothing but is counted, so that over
    the whole vocabulary the mean is the expected change for a uniformly drawn word.
    """
    shape = (tokens.shape[0], *batch.inputs.shape)
    return jnp.broadcast_to(tokens.astype(batch.inputs.dtype)[:, None, None], shape)


def constant_substitutes(
    batch: Batch, value: Literal["zero", "mean"] = "zero"
) -> Float[Array, "1 T B m"]:
    """Zeros, or the mean over all valid steps of the batch, for vector inputs."""
    x = batch.inputs
    if value == "zero":
        return jnp.zeros_like(x)[None]
    valid = jnp.arange(x.shape[0])[:, None] < batch.lengths[None, :]
    some = jnp.where(valid[..., None], x, jnp.zeros_like(x))
    mean = jnp.sum(some, axis=(0, 1)) / jnp.maximum(jnp.sum(valid), 1)
    return jnp.broadcast_to(mean[None, None], x.shape)[None]


def permuted_substitutes(key: PRNGKeyArray, batch: Batch, count: int) -> Array:
    """The input of another example at the same step, ``(R, T, B, …)``.

    For every replacement and step, the examples that have not yet ended are arranged in
    a random cycle and each takes the input of the next, so that none keeps its own as
    long as there are at least two. This preserves the distribution of the inputs at
    each step (permutation importance: Breiman 2001, for one step at a time).
    """
    steps, size = batch.inputs.shape[:2]
    valid = jnp.arange(steps)[:, None] < batch.lengths[None, :]
    draws = jnp.where(valid[None], jax.random.uniform(key, (count, steps, size)), 2.0)
    order = jnp.argsort(draws, axis=-1)
    place = jnp.argsort(order, axis=-1)
    running = jnp.maximum(jnp.sum(valid, axis=1), 1)[None, :, None]
    giver = jnp.take_along_axis(order, (place + 1) % running, axis=-1)
    giver = jnp.where(valid[None], giver, jnp.arange(size)[None, None])
    return batch.inputs[jnp.arange(steps)[None, :, None], giver]


def influence(
    model: SequenceModel,
    params: Params,
    batch: Batch,
    spec: TaskSpec,
    substitutes: Array,
    *,
    chunk: int | None = None,
) -> Influence:
    """Replace each word in turn by each of its substitutes and compare the answers.

    The targets are not changed, even if there is a loss at every step: replacing word t
    changes only the input.

    Args:
        model: the model; dropout is off.
        params: its parameters.
        batch: the examples.
        spec: loss and readout of the task.
        substitutes: R inputs for each word, tokens ``(R, T, B)`` or vectors ``(R, T, B,
            m)``; see `token_substitutes`, `constant_substitutes` and
            `permuted_substitutes`.
        chunk: number of substitutes per forward pass, which then has a batch of
            B·chunk; None: all R.

    Pure. Costs T·R + chunk forward passes of B examples each, in batches of B·chunk,
    and the temporary memory of one such batch. The original sentence goes through the
    same program at the same place in the batch, so where a word cannot matter the
    change is exactly 0.
    """
    count, steps, size = substitutes.shape[:3]
    width = min(chunk or count, count)
    passes = -(-count // width)
    # the last chunk is filled up with copies of the first substitute, of weight 0
    missing = passes * width - count
    filler = jnp.repeat(substitutes[:1], missing, axis=0)
    groups = jnp.concatenate([substitutes, filler]).reshape(
        (passes, width, *substitutes.shape[1:])
    )
    weights = (jnp.arange(passes * width) < count).reshape(passes, width) / count

    def look(step: Array, group: Array) -> _Seen:
        at = jnp.arange(steps) == step
        at = jnp.reshape(at, (1, steps) + (1,) * (group.ndim - 2))
        inputs = jnp.where(at, group, batch.inputs[None])
        one = jnp.moveaxis(inputs, 0, 1).reshape((steps, -1, *inputs.shape[3:]))
        answers: Any = model.apply(
            {"params": params}, one, jnp.tile(batch.lengths, width)
        )
        answers = jnp.reshape(answers, (*answers.shape[:-2], width, size, -1))
        return jax.vmap(lambda a: _read(spec, a, batch), in_axes=-3)(answers)

    def one(seen: tuple[_Seen, _Seen], at: Any) -> tuple[tuple[_Seen, _Seen], Any]:
        # The result of the previous pass is compared, not that of this one: a stored
        # value has been rounded, while one that is still being computed may be fused
        # with the subtraction, and would then differ from an identical stored value.
        first, last = seen
        step, number, before = at
        part = _compare(spec, first, last, weights[before])
        last = look(step, groups[number])
        # the pass at step −1 replaces nothing
        first = jax.tree.map(lambda a, b: jnp.where(step < 0, a, b), last, first)
        return (first, last), part

    shapes = jax.eval_shape(look, jnp.int32(0), groups[0])
    nothing = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)
    pairs = np.arange(passes * steps)
    at = np.concatenate([[-1], pairs // passes])
    number = np.concatenate([[0], pairs % passes])
    order = (at, number, np.concatenate([[0], number[:-1]]))
    (first, last), parts = lax.scan(one, (nothing, nothing), order)
    # the first part compares nothing, the second one the sentences with themselves
    end = _compare(spec, first, last, weights[-1])
    parts = jax.tree.map(lambda x, y: jnp.concatenate([x[2:], y[None]]), parts, end)
    valid = jnp.arange(steps)[:, None] < batch.lengths[None, :]

    def gather(part: Array) -> Array:
        total = jnp.sum(jnp.reshape(part, (steps, passes, size)), axis=1)
        return jnp.where(valid, total, jnp.zeros_like(total))

    return jax.tree.map(gather, parts)


def _read(spec: TaskSpec, answers: Array, batch: Batch) -> _Seen:
    final = at_last_loss(spec, answers, batch)
    loss = example_loss(spec, answers, batch)
    if spec.loss != "cross_entropy":
        return _Seen(loss, jnp.full_like(loss, jnp.nan), final)
    log = chosen_answer(spec, answers, batch, "log_probability")
    return _Seen(loss, log, jax.nn.softmax(final, axis=-1))


def _compare(
    spec: TaskSpec, first: _Seen, seen: _Seen, weights: Float[Array, "R"]
) -> Influence:
    """The weighted sum over the substitutes of one pass, each ``(B,)``."""

    def mean(change: Array) -> Array:
        return jnp.sum(weights.astype(change.dtype)[:, None] * change, axis=0)

    loss = seen.loss - first.loss
    log = seen.log_probability - first.log_probability
    apart = seen.answer - first.answer
    if spec.loss == "cross_entropy":
        distance = 0.5 * jnp.sum(jnp.abs(apart), axis=-1)
    else:
        distance = jnp.sqrt(jnp.sum(jnp.square(apart), axis=-1))
    return Influence(
        loss=mean(loss),
        loss_abs=mean(jnp.abs(loss)),
        log_probability=mean(log),
        log_probability_abs=mean(jnp.abs(log)),
        distance=mean(distance),
    )
