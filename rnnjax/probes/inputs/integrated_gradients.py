"""Integrated gradients: the contribution of each word to the answer, summing to it.

Sundararajan, Taly & Yan (2017), "Axiomatic attribution for deep networks", eq. 1: the
gradient of an answer y is integrated along the straight path from a baseline x₀ to the
input vectors x, and multiplied by x − x₀. The sum over all entries is y(x) − y(x₀)
(completeness), which does not hold for a gradient at one point. The path runs through
vectors that do not belong to any word; for the effect of replacing a word by another
real one, see `influence`.

The scaled reverse scan is used, so even 10⁻²⁴⁰ is represented.
"""

from typing import Any, Literal

import jax.numpy as jnp
import numpy as np
from flax import struct
from jax import lax
from jaxtyping import Array, Float

from rnnjax.models.objective import per_example
from rnnjax.models.sequence import SequenceModel
from rnnjax.probes.backward.trace import backward, open_up, site_names
from rnnjax.probes.inputs.answer import Answer, chosen_answer
from rnnjax.probes.inputs.saliency import encoded, log10_size, of_answer, plain
from rnnjax.recurrence import scaled
from rnnjax.recurrence.scaled import NO_EXPONENT, Scaled
from rnnjax.tasks.base import TaskSpec
from rnnjax.types import Batch, Params


Rule = Literal["gauss", "trapezoid"]
Baseline = Literal["zeros", "mean"]


@struct.dataclass
class IntegratedGradients:
    """The contribution of each input to y(x) − y(x₀), for every example.

    Attributes:
        entries: (x − x₀)_t,i · ∫ ∂y/∂x_t,i (x₀ + α(x − x₀)) dα for every entry i of
            the input vector, in units of y; exactly 0 on padding.
        attribution: Σ_i of the entries: the contribution of word t.
        log10_attribution: log10 of its absolute value, which does not underflow; −inf
            where it is exactly zero, NaN on padding.
        answer: y(x).
        change: y(x) − y(x₀).
        completeness_error: Σ_t attribution_t − change. It is 0 for the exact integral
            and thus measures the quadrature error; compare it with `change`.
    """

    entries: Float[Array, "T B m"]
    attribution: Float[Array, "T B"]
    log10_attribution: Float[Array, "T B"]
    answer: Float[Array, "B"]
    change: Float[Array, "B"]
    completeness_error: Float[Array, "B"]


def integrated_gradients(
    model: SequenceModel,
    params: Params,
    batch: Batch,
    spec: TaskSpec,
    *,
    answer: Answer = "contrast",
    baseline: Baseline | Array = "zeros",
    steps: int = 32,
    rule: Rule = "gauss",
) -> IntegratedGradients:
    """Integrated gradients along the straight path from a baseline x₀ to x.

    Sundararajan et al. use a sum over the right ends of `steps` intervals; the two
    rules here are of higher order. `gauss` (Gauss–Legendre, `steps` nodes) is exact for
    gradients that are polynomials of degree 2·steps − 1 in α. `trapezoid` has `steps`
    intervals and is more robust where units switch on or off along the path (ReLU).

    Args:
        model, params, batch, spec: the model and the examples of its task.
        answer: y, see `Answer`.
        baseline: `zeros`; `mean`, the mean row of the embedding or, for vector inputs,
            the mean over the valid steps of the batch; or x₀ itself, ``(T, B, m)`` or
            ``(m,)``.
        steps: see above.
        rule: see above.

    Pure. Costs `steps` + 2 (`trapezoid`: + 1) forward and backward passes, run one
    after the other.

    Raises:
        ValueError: see `chosen_answer`; or `steps` is less than 1.
    """
    if steps < 1:
        raise ValueError(f"integrated gradients need at least 1 step, got {steps}")
    x = encoded(model, params, batch)
    start = _baseline(model, params, batch, x, baseline)
    valid = jnp.arange(x.shape[0])[:, None] < batch.lengths[None, :]
    path = jnp.where(valid[..., None], x - start, jnp.zeros_like(x))
    nodes, weights = (jnp.asarray(a, x.dtype) for a in _quadrature(steps, rule))

    def apply(params: Any, x: Array) -> Any:
        variables = {"params": params}
        return model.apply(variables, x, batch.lengths, method=_after_encoder)

    def at(total: Scaled, node: tuple[Array, Array]) -> tuple[Scaled, Array]:
        place, weight = node
        passed = open_up(
            apply,
            params,
            start + place * path,
            lambda answers: per_example(spec, answers, batch)[0],
            lambda answers: jnp.zeros((), answers.dtype),
            valid,
            names=site_names(model),
        )
        value = chosen_answer(spec, passed.segments.answers, batch, answer)
        seen = backward(*of_answer(passed, batch, spec, answer))
        gradient = scaled.normalise(seen.encoder)
        part = Scaled(weight * path * gradient.mantissa, gradient.exponent)
        return scaled.normalise(scaled.add(total, scaled.normalise(part))), value

    nothing = Scaled(
        jnp.zeros_like(path), jnp.full(path.shape[:2], NO_EXPONENT, jnp.int32)
    )
    entries, values = lax.scan(at, nothing, (nodes, weights))
    word = Scaled(jnp.sum(entries.mantissa, axis=-1, keepdims=True), entries.exponent)
    attribution = plain(word)[..., 0]
    change = values[-1] - values[0]
    return IntegratedGradients(
        entries=plain(entries),
        attribution=attribution,
        log10_attribution=log10_size(word, valid),
        answer=values[-1],
        change=change,
        completeness_error=jnp.sum(attribution, axis=0) - change,
    )


def _after_encoder(model: SequenceModel, x: Array, lengths: Array) -> Array:
    for layer in range(model.layers):
        x = model.between(x)
        x, _ = model.run_layer(layer, x, lengths)
    return model.decode(x, lengths)


def _baseline(
    model: SequenceModel,
    params: Params,
    batch: Batch,
    x: Float[Array, "T B m"],
    baseline: Baseline | Array,
) -> Float[Array, "T B m"]:
    if not isinstance(baseline, str):
        given = jnp.asarray(baseline, x.dtype)
        return jnp.broadcast_to(
            given[None, None] if given.ndim == 1 else given, x.shape
        )
    if baseline == "zeros":
        return jnp.zeros_like(x)
    if model.vocabulary is not None:
        mean = jnp.mean(params["embed"]["embedding"], axis=0)
    else:
        valid = jnp.arange(x.shape[0])[:, None] < batch.lengths[None, :]
        some = jnp.where(valid[..., None], x, jnp.zeros_like(x))
        mean = jnp.sum(some, axis=(0, 1)) / jnp.maximum(jnp.sum(valid), 1)
    return jnp.broadcast_to(mean[None, None], x.shape)


def _quadrature(steps: int, rule: Rule) -> tuple[np.ndarray, np.ndarray]:
    """Nodes in [0, 1] and their weights; the first and last nodes are 0 and 1."""
    if rule == "trapezoid":
        weights = np.full(steps + 1, 1.0 / steps)
        weights[[0, -1]] /= 2
        return np.linspace(0.0, 1.0, steps + 1), weights
    nodes, weights = np.polynomial.legendre.leggauss(steps)
    # the end points have weight 0: they only serve to evaluate y(x₀) and y(x)
    return np.r_[0.0, (nodes + 1) / 2, 1.0], np.r_[0.0, weights / 2, 0.0]
