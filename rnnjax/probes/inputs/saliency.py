"""Gradients with respect to the input vectors: how the answer depends on each word.

x_t is the input of the first recurrent layer, ``(m,)``: the vector input, or the
embedding of a token. *Saliency* is the Euclidean norm of ∂L/∂x_t. (Simonyan, Vedaldi &
Zisserman 2014 take the largest absolute entry; Li, Chen, Hovy & Jurafsky 2016 show the
absolute values entry by entry.) It is a local measure: if a decisive word saturates a
unit, its saliency is small; `integrated_gradients` and `influence` measure finite
changes.

The scaled reverse scan is used throughout, so even 10⁻²⁴⁰ is represented.
"""

import dataclasses
from typing import Any

import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float

from rnnjax.models.sequence import SequenceModel
from rnnjax.probes.backward.trace import Forward, Trace, backward, forward
from rnnjax.probes.inputs.answer import Answer, chosen_answer, example_weights
from rnnjax.recurrence import scaled
from rnnjax.recurrence.scaled import Scaled
from rnnjax.tasks.base import TaskSpec
from rnnjax.tasks.masks import valid_steps
from rnnjax.types import Batch, Params


@struct.dataclass
class Saliency:
    """How a scalar y of each example depends on its inputs, to first order.

    Attributes:
        log10_norm: log10 ‖∂y/∂x_t‖ (Euclidean); −inf where it is exactly zero, NaN on
            padding.
        times_input: gradient × input, x_t · ∂y/∂x_t, signed, in units of y; 0 on
            padding and where it underflows.
        log10_times_input: log10 of its absolute value, which does not underflow; −inf
            where it is exactly zero, NaN on padding.

    The sum of `times_input` over t is the derivative of y with respect to a common
    scale factor of all inputs. It equals y if y is homogeneous of degree 1 in the
    inputs (Euler: linear or ReLU units, no biases, a zero initial state). Otherwise it
    is not a decomposition of y; use `rnnjax.probes.inputs.integrated_gradients`.
    """

    log10_norm: Float[Array, "T B"]
    times_input: Float[Array, "T B"]
    log10_times_input: Float[Array, "T B"]


def encoded(model: SequenceModel, params: Params, batch: Batch) -> Array:
    """x_t, the inputs of the first layer, ``(T, B, m)``; 0 on padding."""
    x: Any = model.apply({"params": params}, batch.inputs, method="encode")
    valid = valid_steps(batch.lengths, x.shape[0])
    return jnp.where(valid[..., None], x, jnp.zeros_like(x))


def loss_trace(
    model: SequenceModel, params: Params, batch: Batch, spec: TaskSpec
) -> Trace:
    """A trace of each example's own loss: the mean over its loss steps, in nats.

    `backward.trace` is a trace of the training loss, in which an example has weight 1/B
    or its share of the loss steps; `saliency` accepts either. Pure; one forward and one
    backward pass.
    """
    passed = forward(model, params, batch, spec)
    return backward(passed, example_weights(spec, batch))


def answer_trace(
    model: SequenceModel,
    params: Params,
    batch: Batch,
    spec: TaskSpec,
    answer: Answer = "contrast",
) -> Trace:
    """A trace of the chosen answer y_s: its `encoder` is ∂y_s/∂x_t, ``(T, B, m)``.

    Pure; one forward and one backward pass. `loss` of the trace is still that of the
    batch.

    Raises:
        ValueError: see `chosen_answer`.
    """
    passed = forward(model, params, batch, spec)
    return backward(*of_answer(passed, batch, spec, answer))


def saliency(seen: Trace, x: Float[Array, "T B m"]) -> Saliency:
    """Norm of the gradient, and gradient × input, per step and example.

    Args:
        seen: the result of `trace`, `loss_trace` or `answer_trace`, which determines y.
        x: the result of `encoded`.

    Costs one pass over the inputs' cotangents.
    """
    gradient = scaled.normalise(seen.encoder)
    along = jnp.sum(x * gradient.mantissa, axis=-1, keepdims=True)
    product = Scaled(along, gradient.exponent)
    return Saliency(
        log10_norm=log10_size(gradient, seen.valid),
        times_input=plain(product)[..., 0],
        log10_times_input=log10_size(product, seen.valid),
    )


def input_gradient(seen: Trace) -> Float[Array, "T B m"]:
    """∂y/∂x_t in plain floating point: 0 if it underflows, ±inf if it overflows."""
    return plain(seen.encoder)


def plain(value: Scaled) -> Array:
    """A scaled array in plain floating point.

    Entries below the smallest normal number are 0. If the largest entry with a given
    exponent overflows, all non-zero entries with that exponent are ±inf.
    """
    value = scaled.normalise(value)
    mantissa = value.mantissa
    over = value.exponent >= jnp.finfo(mantissa.dtype).maxexp
    infinite = jnp.where(mantissa == 0, mantissa, jnp.sign(mantissa) * jnp.inf)
    over = jnp.reshape(over, over.shape + (1,) * (mantissa.ndim - over.ndim))
    return jnp.where(over, infinite, scaled.shift(mantissa, value.exponent))


def of_answer(
    passed: Forward, batch: Batch, spec: TaskSpec, answer: Answer
) -> tuple[Forward, Array]:
    """The forward pass with y_s in place of the losses, and weights of 1."""

    def chosen(answers: Array) -> Array:
        return chosen_answer(spec, answers, batch, answer)

    ones = jnp.ones((batch.lengths.shape[0],), passed.segments.answers.dtype)
    return dataclasses.replace(passed, losses=chosen), ones


def log10_size(value: Scaled, valid: Bool[Array, "T B"]) -> Float[Array, "T B"]:
    """log10 of the norm over the last axis; −inf: exactly zero, NaN: padding."""
    return jnp.where(valid, scaled.log10_norm(value), jnp.nan)
