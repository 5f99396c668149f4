"""What a gradient can learn from the step that decides, at a point of training.

The *deciding step* of an example is the first step that its label depends on
(`Batch.informative`). It differs between examples, so the steps of each are turned
cyclically until it comes first; a sum over all steps stays the same.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Int

from rnnjax.executables.functions import kept_jit
from rnnjax.models.sequence import SequenceModel
from rnnjax.probes.adjoints.decay import horizon
from rnnjax.probes.adjoints.norms import by_lag, log10_norms
from rnnjax.probes.adjoints.relative import log_root_mean_square, mean_log, relative
from rnnjax.probes.backward.trace import Forward, backward, forward, loss_weights
from rnnjax.probes.backward.walk import Walked, walk_forward
from rnnjax.probes.contributions.along_signal import (
    log10_noise_along,
    log10_projected_examples,
)
from rnnjax.probes.contributions.labels import parted_losses
from rnnjax.probes.contributions.pairs import PairSums, pair_sums
from rnnjax.probes.contributions.signal import Parts, joined, signal
from rnnjax.probes.contributions.spread import coherence
from rnnjax.probes.contributions.to_kernels import Uses, kernels
from rnnjax.probes.dynamics.lyapunov import lyapunov
from rnnjax.recurrence import scaled
from rnnjax.recurrence.scaled import NO_EXPONENT, Scaled
from rnnjax.tasks.base import TaskSpec
from rnnjax.training.build import heldout, signature
from rnnjax.training.config import RunConfig
from rnnjax.types import Batch, Params


MEASURED = (
    "update",
    "own",
    "projected",
    "coherence",
    "ratio",
    "exponent",
    "horizon",
    "resolution",
)
"""log10 of N*_up, of N* and of N*_projected; the coherence of what the answers send
back to the deciding step; log10 of ‖λ‖ there over ‖λ‖ at the last step (root mean
squares); λ₁ in nats per step; the memory horizon, T if none is seen; ‖E S‖² of the
deciding step over its standard error. All kernels are taken as one parameter."""

DROPPED, AVERAGED, WALKS = 100, 400, 8
"""Steps of a walk that λ₁ leaves out, those it averages over, and number of walks."""

Measure = Callable[[Params], np.ndarray]
"""Maps parameters to the numbers in `MEASURED`."""


def measure_of(config: RunConfig, examples: int) -> Measure:
    """A function that measures parameters of a run on held-out examples of its task.

    Configurations that differ only in numbers of the start share a compiled program.
    """
    made = signature(config)
    batch = heldout(config.task, config.task_options, "validation", examples)

    def measure(params: Params) -> np.ndarray:
        found = _seen(made.model, params, batch, made.spec)
        return _numbers(jax.device_get(found), examples)

    return measure


@functools.partial(kept_jit, static_argnames=("model", "spec"))
def _seen(
    model: SequenceModel, params: Params, batch: Batch, spec: TaskSpec
) -> dict[str, Any]:
    """All that `_numbers` needs."""
    first = jnp.argmax(batch.informative, axis=0)
    passed = forward(model, params, batch, spec)
    weights = loss_weights(spec, batch, "total")
    label = dataclasses.replace(passed, losses=parted_losses(spec, batch)[0])
    total = backward(passed, weights)
    whole = [turned(kernel, first) for kernel in kernels(total)]
    labels = kernels(backward(label, weights))
    added = [turned(kernel, first, steps=1) for kernel in labels]
    norms = log10_norms(total.walks[0], total.valid)[0]
    return {
        "whole": [pair_sums(kernel) for kernel in whole],
        "added": [pair_sums(kernel) for kernel in added],
        "noise": log10_noise_along(whole, added),
        "coherence": _answers_coherence(passed, spec, weights, first),
        "norms": norms,
        "first": jnp.take_along_axis(norms, first[None], axis=0),
        "last": batch.lengths - 1,
        "exponent": _largest_exponent(passed.walked[0]),
    }


def turned(kernel: Uses, first: Int[Array, "B"], steps: int | None = None) -> Uses:
    """The uses of a kernel with the deciding step of each example in row 0.

    Args:
        kernel: its uses ``(T, B, ·)``; all examples have T steps.
        first: the deciding steps.
        steps: number of rows to keep; None: all.
    """
    length = kernel.uses[0].delta.exponent.shape[0]
    rows = jnp.arange(length if steps is None else steps)[:, None]
    places = (rows + first[None]) % length
    columns = jnp.arange(first.shape[0])[None]
    some = jax.tree.map(lambda x: x[places, columns], kernel.uses)
    return dataclasses.replace(kernel, uses=some)


def _answers_coherence(
    passed: Forward, spec: TaskSpec, weights: Array, first: Array
) -> Array:
    """Coherence of ∂ŷ/∂h at the deciding step, all answers of an example as one vector.

    The answers of a classifier are taken less their mean, on which no loss depends. The
    adjoints of the loss itself would cancel between examples of unlike labels.
    """
    columns = jnp.arange(first.shape[0])

    def of(answer: Array) -> Scaled:
        def one(answers: Array) -> Array:
            if spec.loss == "cross_entropy":
                answers = answers - jnp.mean(answers, axis=-1, keepdims=True)
            return answers[..., answer]

        seen = backward(dataclasses.replace(passed, losses=one), weights)
        return jax.tree.map(lambda x: x[first, columns], seen.walks[0].adjoint)

    each = lax.map(of, jnp.arange(spec.output_size))
    top = jnp.max(each.exponent, axis=0)
    shifted = scaled.shift(each.mantissa, each.exponent - top[None])
    vectors = jax.tree.map(
        lambda x: jnp.reshape(jnp.moveaxis(x, 0, 1), (1, x.shape[1], -1)), shifted
    )
    return coherence(Scaled(vectors, top[None]))[0]


def _largest_exponent(walked: Walked) -> Array:
    """λ₁ on inputs drawn at random from those of the task, from states of its walks."""
    flat = lambda x: jnp.reshape(x, (-1, *x.shape[2:]))
    states = jax.tree.map(flat, walked.states)
    steps, some = flat(walked.inputs), jax.tree.leaves(states)[0].shape[0]
    draw = np.random.default_rng(0).integers
    drive = steps[draw(0, some, (DROPPED + AVERAGED, WALKS))]
    starts = draw(0, some, WALKS)
    start = jax.tree.map(lambda x: x[starts], states)
    walk = walk_forward(walked.cell, walked.weights, walked.name, drive, start)[0]
    return lyapunov(walk, k=1, transient=DROPPED).mean[0]


def _numbers(found: dict[str, Any], examples: int) -> np.ndarray:
    whole, added = joined(found["whole"]), joined(found["added"])
    rows = len(whole.step_exponent)
    alone = _with_empty_steps(added, rows)
    # the offset enters only shares that are not read here
    seen = signal(Parts(whole, alone, alone), examples, batch=1)
    curve = mean_log(relative(by_lag(found["norms"], found["last"])))
    ratio = np.concatenate([found["first"], found["norms"][-1:]]).astype(np.float64)
    near, far = log_root_mean_square(ratio)[::-1]
    noise = float(found["noise"])
    numbers = {
        "update": seen.log10_examples_in_update[0, 0],
        "own": seen.log10_examples[0, 0],
        "projected": log10_projected_examples(noise, added, examples)[0],
        "coherence": found["coherence"],
        "ratio": far - near,
        "exponent": found["exponent"],
        "horizon": min(horizon(curve), float(rows)),
        "resolution": seen.resolution,
    }
    return np.array([float(numbers[name]) for name in MEASURED])


def _with_empty_steps(one: PairSums, rows: int) -> PairSums:
    """The inner products at one step, followed by steps that contribute nothing."""

    def longer(x: Any, fill: float = 0) -> Any:
        empty = np.full((rows - 1, *np.shape(x)[1:]), fill, np.asarray(x).dtype)
        return np.concatenate([x, empty])

    return PairSums(
        longer(one.at_step),
        longer(one.with_whole),
        longer(one.own_at_step),
        longer(one.own_with_whole),
        longer(one.step_exponent, NO_EXPONENT),
        one.exponent,
    )
