"""Find the batch axis of the arrays of a loop, from what depends on what.

If the step of one example depends on no other, its vector-Jacobian product commutes
with factors of each example: pull(D c) = D pull(c). The factors are powers of two,
which change no digit, so that any difference is a dependence. It is looked for at every
step, with other factors each time, at the states that the program goes through.
"""

import dataclasses
import functools
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from rnnjax.errors import UserError, one_line
from rnnjax.probes.programs.loop_run import (
    Axes,
    Ran,
    advance,
    as_given,
    emit,
    examples_first,
    picked,
)
from rnnjax.recurrence import scaled
from rnnjax.xla_options import ONCE


ROUNDING = 1e-3
"""Differences up to it, relative to the largest entry of an example, are rounding."""


def find_axes(ran: Ran, likely: int | None = None) -> Axes:
    """The axes of the examples in the arrays of a loop.

    Args:
        ran: the loop after its forward pass.
        likely: the number of examples, if it is known.

    Returns:
        of size 1, with None everywhere, where examples are not treated apart.

    Raises:
        UserError: a derivative rule in the step is not linear in its cotangent, or JAX
            cannot differentiate the step.
    """
    parts = list(_shapes(ran))
    for size in _sizes(parts[0], likely):
        axes = Axes(size, *(tuple(_axis(x, size) for x in part) for part in parts))
        if None in (*axes.carry, *axes.outputs):
            continue
        apart = _tested(ran, axes)
        if apart[0]:
            kept = zip(axes.inputs, apart[1], strict=True)
            found = tuple(axis if own else None for axis, own in kept)
            return dataclasses.replace(axes, inputs=found)
    nowhere = undivided(ran)
    if not _tested(ran, nowhere)[0]:
        raise UserError(
            f"{ran.loop.place}: a derivative rule in this loop is not linear in the "
            "cotangent, such as one that clips gradients, so that adjoints cannot be "
            "rescaled on their way back; leave the rule out for the probe"
        )
    return nowhere


def undivided(ran: Ran) -> Axes:
    """No axis of examples: one exponent a step."""
    return Axes(1, *((None,) * len(part) for part in _shapes(ran)))


def _tested(ran: Ran, axes: Axes) -> Any:
    """`_apart`, with what JAX refuses in one sentence."""
    try:
        return jax.device_get(_apart(ran, axes))
    except (NotImplementedError, TypeError, ValueError) as error:
        raise UserError(
            f"{ran.loop.place}: JAX cannot differentiate this loop: {one_line(error)}"
        ) from error


@functools.partial(jax.jit, static_argnums=1, compiler_options=dict(ONCE))
def _apart(ran: Ran, axes: Axes) -> tuple[Array, list[Array]]:
    """Whether all steps commute with factors of each example; and for each input."""
    carry, outputs, _ = _shapes(ran)

    def step(key: Array, now: Any) -> Any:
        before, x, after = now
        onward, emitted = advance(ran, before, x), emit(ran, before, x, after)
        both = lambda *given: (onward(*given[:3]), emitted(*given))
        given = picked(ran.constants), picked(before), picked(x), picked(after)
        pull = jax.vjp(both, *given)[1]
        key, of_signs, of_factors = jax.random.split(key, 3)
        signs = jax.random.split(of_signs, len(carry) + len(outputs))
        cotangent = [
            jax.random.normal(k, x.shape, x.dtype)
            for k, x in zip(signs, (*carry, *outputs), strict=True)
        ]
        wide = min(jnp.finfo(x.dtype).bits for x in cotangent) > 16
        factors = jax.random.randint(of_factors, (axes.size,), 1, 20 if wide else 6)
        places = (*axes.carry, *axes.outputs)
        spread = [_times(c, factors, a) for c, a in zip(cotangent, places, strict=True)]
        parts = lambda c: (c[: len(carry)], c[len(carry) :])
        _, one, one_x, one_after = pull(parts(cotangent))
        _, two, two_x, two_after = pull(parts(spread))
        same = lambda a, b, axis: _close(_times(a, factors, axis), b, axis)
        pairs = zip(one + one_after, two + two_after, axes.carry * 2, strict=True)
        whole = jnp.all(jnp.stack([same(*row) for row in pairs]))
        known = [axis is not None or axes.size == 1 for axis in axes.inputs]
        rows = zip(known, one_x, two_x, axes.inputs, strict=True)
        inputs = [same(a, b, axis) if own else False for own, a, b, axis in rows]
        return key, (whole, [jnp.asarray(x) for x in inputs])

    _, (whole, inputs) = lax.scan(
        step, jax.random.key(0), (ran.before, ran.inputs, ran.after)
    )
    return jnp.all(whole), [jnp.all(x) for x in inputs]


def _times(x: Array, exponents: Array, axis: int | None) -> Array:
    """Each example times its power of two."""
    return as_given(scaled.shift(examples_first(x, axis), exponents), axis)


def _close(a: Array, b: Array, axis: int | None) -> Array:
    """Whether each example is equal up to rounding; NaN equals NaN."""
    a, b = (examples_first(x, axis) for x in (a, b))
    size = jnp.expand_dims(scaled.largest(a, 1), tuple(range(1, a.ndim)))
    near = jnp.abs(a - b) <= ROUNDING * size + jnp.finfo(a.dtype).tiny
    return jnp.all(near | (a == b) | (jnp.isnan(a) & jnp.isnan(b)))


def _shapes(ran: Ran) -> Iterator[list[Any]]:
    """Float arrays of one step: of the carry, the outputs and the inputs."""
    for arrays in (ran.before, ran.outputs, ran.inputs):
        yield [jax.ShapeDtypeStruct(x.shape[1:], x.dtype) for x in picked(arrays)]


def _sizes(carry: Sequence[Any], likely: int | None) -> list[int]:
    """Sizes that an axis of every array of the carry has, the likely ones first."""
    common = set.intersection(*(set(x.shape) for x in carry)) - {0, 1}
    leading = [x.shape[0] for x in carry if x.ndim]
    order = [likely, *leading, *sorted(common)]
    return [n for n in dict.fromkeys(order) if n in common]


def _axis(x: Any, size: int) -> int | None:
    """The first axis of a size; None: there is none."""
    return x.shape.index(size) if size in x.shape else None
