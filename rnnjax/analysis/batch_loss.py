"""The loss of a batch as a weighted sum of losses of examples, or of their steps."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int


@dataclasses.dataclass(frozen=True)
class BatchLoss:
    """The loss that is probed.

    Attributes:
        each: maps the answers to losses ``(B,)``, or ``(T, B)`` of each step.
        total: maps them to the loss of the batch.
        every: weights with which the gradient of `each` is that of `total`.
        last: the weights of the last valid steps alone.
        single: whether each example has one loss, `each` is ``(B,)``.
        about: what the loss is, in words.
        doubts: what has to be kept in mind, a sentence each.
    """

    each: Callable[[Any], Array]
    total: Callable[[Any], Array]
    every: Array
    last: Array
    single: bool
    about: str
    doubts: tuple[str, ...] = ()


def of_examples(
    each: Callable[[Any], Array], lengths: Int[Array, "B"], steps: int, like: Any
) -> BatchLoss:
    """The mean of losses of examples, or of the valid steps of examples.

    Args:
        each: maps the answers to ``(B,)`` or ``(T, B)``.
        lengths: valid steps ``(B,)``.
        steps: T.
        like: shape and type of the losses.
    """
    size = lengths.shape[0]
    single = len(like.shape) == 1
    if single:
        every = last = jnp.full((size,), 1 / size, like.dtype)
    else:
        time = jnp.arange(steps)[:, None]
        valid = time < lengths[None]
        every = (valid / jnp.maximum(jnp.sum(valid), 1)).astype(like.dtype)
        last = jnp.where(time == lengths[None] - 1, every, jnp.zeros_like(every))

    def total(answers: Any) -> Array:
        found = each(answers)
        return jnp.sum(jnp.where(every > 0, found * every, jnp.zeros_like(found)))

    about = "mean of one loss per example" if single else "mean of one loss per step"
    return BatchLoss(each, total, every, last, single, about)


def of_batch(
    loss: Callable[[Any], Array],
    lengths: Int[Array, "B"],
    steps: int,
    time_major: bool,
    answers: Any,
    by_step: bool,
    mixed: bool,
) -> BatchLoss:
    """One number for the batch: the part of an answer is ⟨∂L/∂answer, answer⟩.

    These parts, the gradient held fixed, stand for the losses: their gradients are
    those of L, and so are the adjoints, without another factor.

    Args:
        loss: maps the answers to one number.
        lengths: valid steps ``(B,)``.
        steps: T.
        time_major: the layout of inputs and answers.
        answers: shapes of the answers.
        by_step: whether the loss is a sum over the steps of the answers.
        mixed: whether the gradient of one example depends on the others.
    """
    size = lengths.shape[0]
    axes = example_axes(answers, steps, size, time_major)
    time = jnp.arange(steps)[:, None]
    valid = time < lengths[None]

    def part(gradient: Array, x: Array, axis: int) -> Array:
        value = (gradient * x).real
        if not is_by_step(x, steps, size, time_major):
            value = jnp.moveaxis(value, axis, 0)
            return jnp.sum(jnp.reshape(value, (size, -1)), axis=1)
        value, read = (
            jnp.reshape(x if time_major else jnp.swapaxes(x, 0, 1), (steps, size, -1))
            for x in (value, gradient != 0)
        )
        # padding may hold anything if the loss leaves it out
        kept = valid | jnp.any(read, axis=2)
        value = jnp.where(kept, jnp.sum(value, axis=2), 0.0)
        return value if by_step else jnp.sum(value, axis=0)

    def each(answers: Any) -> Array:
        if not axes:
            return jnp.broadcast_to(loss(answers) / size, (size,))
        own = jax.grad(loss, allow_int=True)(jax.lax.stop_gradient(answers))
        pairs = zip(floats(own), floats(answers), axes, strict=True)
        parts = [part(g, x, axis) for g, x, axis in pairs]
        return sum(parts[1:], parts[0])

    dtype = jax.eval_shape(each, answers).dtype
    shape = (steps, size) if by_step else (size,)
    every = last = jnp.ones(shape, dtype)
    if by_step:
        last = jnp.where(time == lengths[None] - 1, every, jnp.zeros_like(every))
    about = "one number for the batch" + (", a sum over steps" if by_step else "")
    doubts: tuple[str, ...] = ()
    if mixed:
        about += ", in which examples are mixed"
        doubts = (
            "the loss mixes the examples of the batch, so an adjoint of one example is "
            "the derivative of the loss of the whole batch, which depends on the "
            "others",
        )
    return BatchLoss(each, loss, every, last, not by_step, about, doubts)


def floats(tree: Any) -> list[Any]:
    """The leaves that have a gradient."""
    leaves = jax.tree.leaves(tree)
    return [x for x in leaves if jnp.issubdtype(x.dtype, jnp.inexact)]


def is_by_step(x: Any, steps: int, size: int, time_major: bool) -> bool:
    """Whether an answer begins with the axes of steps and examples."""
    return x.shape[:2] == ((steps, size) if time_major else (size, steps))


def example_axes(
    answers: Any, steps: int, size: int, time_major: bool
) -> list[int] | None:
    """The axis of the examples in each answer; None if one of them has none."""
    axes = []
    for x in floats(answers):
        if is_by_step(x, steps, size, time_major):
            axes.append(1 if time_major else 0)
        elif x.shape[:1] == (size,):
            axes.append(0)
    return axes if axes and len(axes) == len(floats(answers)) else None
