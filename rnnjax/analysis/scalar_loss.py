"""A loss that is one number for the batch: of which steps and examples is it a sum?"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Int

from rnnjax.analysis.batch_loss import (
    BatchLoss,
    example_axes,
    floats,
    is_by_step,
    of_batch,
)
from rnnjax.analysis.flax_calls import Called
from rnnjax.errors import UserError
from rnnjax.probes.backward.marked_program import Program
from rnnjax.probes.backward.segments import no_cotangent
from rnnjax.probes.backward.trace import Forward, open_up
from rnnjax.xla_options import ONCE


def examined(
    called: Called,
    program: Program,
    loss: Callable[[Any], Array],
    lengths: Int[Array, "B"],
    steps: int,
    time_major: bool,
) -> BatchLoss:
    """The loss of a batch, after a look at what it reads and mixes.

    If it reads the recurrences at their ends alone, it is as the mean of a loss per
    example. So it is if it reads earlier steps, but mixes the steps of the answers, as
    a mean over time before a cross-entropy does. If it is a sum over steps, it is as
    one loss per step, so that lags are counted from the last one. Whether parts are
    mixed is found out by changing the answers of some and looking at the gradient of
    the others.

    Args:
        called: the model.
        program: its trace.
        loss: maps the answers to one number.
        lengths: valid steps ``(B,)``.
        steps: T.
        time_major: the layout of inputs and answers.

    Raises:
        UserError: the loss reads several steps, and cannot be taken apart.
    """
    size = lengths.shape[0]
    answers = floats(called.answers)
    by_step = bool(answers) and all(
        is_by_step(x, steps, size, time_major) for x in answers
    )
    axes = example_axes(called.answers, steps, size, time_major)
    valid = jnp.arange(steps)[:, None] < lengths[None]
    last = jnp.arange(steps)[:, None] == lengths[None] - 1

    @functools.partial(jax.jit, compiler_options=dict(ONCE))
    def facts(params: Any, inputs: Array) -> dict[str, Array]:
        options: Any = {"time_major": time_major}
        passed = open_up(program, params, inputs, loss, loss, valid, **options)
        answers = passed.segments.answers
        gradient = jax.grad(loss, allow_int=True)(answers)
        found = {"early": _before_the_end(passed, gradient, last)}
        if by_step:
            at_end = last if time_major else last.T
            found["stray"] = _before_the_end(passed, _masked(gradient, at_end), last)
            time = [0 if time_major else 1] * len(floats(answers))
            found["mixes steps"] = _mixes(loss, answers, time, steps)
        if axes:
            found["mixes examples"] = _mixes(loss, answers, axes, size)
        return found

    told = {k: bool(x) for k, x in facts(called.params, called.inputs).items()}
    apart = by_step and told["early"] and not told["mixes steps"]
    if told["early"] and (not axes or (apart and told["stray"])):
        raise UserError(
            "the loss is one number for the batch and reads the recurrences at several "
            "steps, so it is not known from which step lags are to be counted; return "
            f"one loss per example ({size},) or per step ({steps}, {size}) instead, "
            "without the mean"
        )
    mixed = told.get("mixes examples", False)
    layout = time_major, called.answers
    return of_batch(loss, lengths, steps, *layout, by_step=apart, mixed=mixed)


def _before_the_end(passed: Forward, gradient: Any, last: Array) -> Array:
    """Whether answers read a recurrence anywhere but at its last valid step.

    Of one that walks backwards, step 0 is an end as well.
    """
    segments = passed.segments
    leaves = segments.pull(no_cotangent(segments.entered), gradient)
    first = jnp.arange(len(last))[:, None] == 0
    found = jnp.zeros((), bool)
    for site, leaf in zip(segments.sites, leaves, strict=True):
        if site.walked is None:
            continue
        ends = last | first if site.walked.backwards else last
        for x in jax.tree.leaves(leaf):
            read = jnp.any(jnp.reshape(jnp.abs(x) > 0, (*last.shape, -1)), axis=2)
            found |= jnp.any(read & ~ends)
    return found


def _masked(gradient: Any, kept: Array) -> Any:
    def one(x: Any) -> Any:
        if not jnp.issubdtype(x.dtype, jnp.inexact):
            return x
        where = jnp.reshape(kept, kept.shape + (1,) * (x.ndim - 2))
        return jnp.where(where, x, jnp.zeros_like(x))

    return jax.tree.map(one, gradient)


def _mixes(
    loss: Callable[[Any], Array], answers: Any, axes: list[int], count: int
) -> Array:
    """Whether the gradient at one place along an axis depends on the other places.

    Places are parted by each bit of their number, so that any two are apart once.
    """
    bits = range(max(count - 1, 0).bit_length())
    if not bits:
        return jnp.zeros((), bool)
    place = jnp.arange(count)
    masks = jnp.stack([((place >> b) & 1) == side for b in bits for side in (0, 1)])
    leaves, tree = jax.tree.flatten(answers)
    at = [i for i, x in enumerate(leaves) if jnp.issubdtype(x.dtype, jnp.inexact)]
    keys = jax.random.split(jax.random.key(0), len(at))
    wide = lambda mask, x, axis: jnp.reshape(
        mask, [count if i == axis else 1 for i in range(x.ndim)]
    )

    def gradient(values: list[Array]) -> list[Array]:
        full = list(leaves)
        for i, x in zip(at, values, strict=True):
            full[i] = x
        return floats(jax.grad(loss, allow_int=True)(jax.tree.unflatten(tree, full)))

    usual = [leaves[i] for i in at]
    before = gradient(usual)
    top = jnp.max(jnp.stack([jnp.max(jnp.abs(g)) for g in before]))

    def changed(mask: Array) -> Array:
        others = []
        for key, x, axis in zip(keys, usual, axes, strict=True):
            noise = jax.random.normal(key, x.shape, x.dtype) * (1 + jnp.abs(x))
            others.append(x + jnp.where(wide(mask, x, axis), noise, 0))
        found = jnp.zeros((), bool)
        for a, b, axis in zip(before, gradient(others), axes, strict=True):
            near = jnp.abs(a - b) <= jnp.sqrt(jnp.finfo(a.dtype).eps) * top
            found |= jnp.any(~wide(mask, a, axis) & jnp.isfinite(a) & ~near)
        return found

    return jnp.any(lax.map(changed, masks))
