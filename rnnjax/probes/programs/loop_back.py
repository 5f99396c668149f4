"""One loop of a program on its backward pass, with exponents.

The vector-Jacobian product of the loop's body is applied step by step. Adjoints are
mantissas times a power of two, one exponent for each example where the axis of examples
is known (`Axes`), else one for the whole carry; gradients of the constants sum over
examples and have one exponent a step.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jax import lax
from jaxtyping import Array, Float

from rnnjax.probes.programs.loop_run import (
    Axes,
    Ran,
    advance,
    emit,
    examples_first,
    examples_in_front,
    laid_out,
    picked,
)
from rnnjax.recurrence import scaled
from rnnjax.recurrence.scaled import Scaled


@struct.dataclass
class Back:
    """The result of the backward pass of a loop; float arrays only.

    Attributes:
        adjoint: ∂L/∂carry after each step, through later steps and through what its own
            step computes from it; exponents ``(T, B)``, mantissas ``(T, B, …)``.
        start: the same of the carry before the first step, exponents ``(B,)``.
        constants: the gradient of each constant, exponents ``()``.
        inputs: of each array of inputs, exponents ``(T, B)``, or ``(T,)`` where all
            examples share it.
        of_parameters: the gradient of each parameter through this loop, apart from its
            start, exponents ``()``; with `Attribution.along`, less that.
        by_step: log10 of the norm of what each step adds to it.
        along: its share along a gradient, ⟨G_t, G⟩ / |G|² (`Attribution.along`).
        left: log10 of the norm of what is missing of that gradient without the steps
            that come after this one on the way back.
    """

    adjoint: Scaled
    start: Scaled
    constants: list[Scaled]
    inputs: list[Scaled]
    of_parameters: list[Scaled]
    by_step: Float[Array, "parameters T"]
    along: Float[Array, "parameters T"]
    left: Float[Array, "parameters T"]


@dataclasses.dataclass(frozen=True)
class Attribution:
    """How gradients of a loop's operands become those of parameters.

    Attributes:
        pull: maps cotangents of the constants and of the inputs of one step, and the
            step, to those of each parameter.
        shapes: of the parameters.
        along: the gradients on which those of each step are projected, in units of
            their own length; None: no projections.
    """

    pull: Callable[[list[Array], list[Array], Array], list[Array]]
    shapes: Sequence[Any]
    along: list[Scaled] | None = None


def back(
    ran: Ran,
    last: Scaled,
    outputs: Scaled | None,
    axes: Axes,
    to: Attribution | None = None,
) -> Back:
    """The backward pass of a loop.

    Args:
        ran: its forward pass.
        last: cotangent of the carry after the loop, ``(B, …)``.
        outputs: cotangents of the outputs, ``(T, B, …)``; None: no float output.
        axes: where the examples are.
        to: the parameters whose gradients are told apart by step; None: of none.
    """
    shared = [i for i, axis in enumerate(axes.inputs) if axis is None]
    own = [i for i, axis in enumerate(axes.inputs) if axis is not None]

    def step(state: Any, now: Any) -> Any:
        adjoint, gradients, of_parameters = state
        time, carry, x, after, cotangent = now
        given = picked(ran.constants), picked(carry), picked(x)
        pull = jax.vjp(advance(ran, carry, x), *given)[1]
        emitted = emit(ran, carry, x, after)
        pull_out = jax.vjp(emitted, *given, picked(after))[1]
        exponent = adjoint.exponent
        if cotangent is not None:  # what the outputs of this step have of its new carry
            direct = pull_out(laid_out(cotangent.mantissa, axes.outputs))[3]
            read = Scaled(examples_in_front(direct, axes.carry), cotangent.exponent)
            adjoint = scaled.normalise(scaled.add(adjoint, scaled.normalise(read)))
            exponent = jnp.maximum(adjoint.exponent, cotangent.exponent)

        def pulled(level: Array) -> Any:
            """Cotangents, with the mantissas at this exponent."""
            carried = scaled.shift(adjoint.mantissa, adjoint.exponent - level)
            found = pull(laid_out(carried, axes.carry))
            if cotangent is None:
                return found
            seen = scaled.shift(cotangent.mantissa, cotangent.exponent - level)
            rest = pull_out(laid_out(seen, axes.outputs))[:3]
            return jax.tree.map(jnp.add, found, rest)

        d_constants, d_carry, d_x = pulled(exponent)
        before = examples_in_front(d_carry, axes.carry)
        mine = [Scaled(examples_first(d_x[i], axes.inputs[i]), exponent) for i in own]
        top = jnp.max(exponent)
        d_shared = d_x
        if axes.size > 1:  # sums over examples need a common exponent
            d_constants, _, d_shared = pulled(jnp.full_like(exponent, top))
        some = exponent != scaled.NO_EXPONENT
        any_some = jnp.any(some)
        added = [_or_zero(Scaled(d, top), any_some) for d in d_constants]
        gradients = [_sum(*pair) for pair in zip(gradients, added, strict=True)]
        norms, dots, left = [], [], []
        if to is not None:
            parts = to.pull(d_constants, d_shared, time)
            given = [_or_zero(Scaled(d, top), any_some) for d in parts]
            norms = [scaled.log10_norm(x) for x in given]
            if to.along is not None:
                dots = [_share(*p) for p in zip(given, to.along, strict=True)]
            pairs = zip(of_parameters, given, strict=True)
            of_parameters = [_sum(*pair) for pair in pairs]
            if to.along is not None:
                left = [scaled.log10_norm(x) for x in of_parameters]
        kept = (
            adjoint,
            [_or_zero(x, some) for x in mine],
            [_or_zero(Scaled(d_shared[i], top), any_some) for i in shared],
            norms,
            dots,
            left,
        )
        before = _or_zero(Scaled(before, exponent), some)
        return (before, gradients, of_parameters), kept

    none = [_zero(c) for c in picked(ran.constants)]
    options: Any = {"length": ran.loop.length, "reverse": not ran.loop.reverse}
    sums = [] if to is None else [_zero(x) for x in to.shapes]
    if to is not None and to.along is not None:  # what is left of the gradient
        sums = [Scaled(-x.mantissa, x.exponent) for x in to.along]
    begin = (scaled.normalise(last), none, sums)
    times = jnp.arange(ran.loop.length)
    (start, constants, of_parameters), kept = lax.scan(
        step, begin, (times, ran.before, ran.inputs, ran.after, outputs), **options
    )
    adjoint, mine, common, *rows = kept
    inputs = [common.pop(0) if a is None else mine.pop(0) for a in axes.inputs]
    rows = [jnp.stack(x) if x else jnp.zeros((0, len(times))) for x in rows]
    return Back(adjoint, start, constants, inputs, of_parameters, *rows)


def _zero(x: Any) -> Scaled:
    exponent = jnp.asarray(scaled.NO_EXPONENT, jnp.int32)
    return Scaled(jnp.zeros(x.shape, x.dtype), exponent)


def _sum(a: Scaled, b: Scaled) -> Scaled:
    return scaled.normalise(scaled.add(a, b))


def _share(part: Scaled, whole: Scaled) -> Array:
    """⟨part, whole⟩ / |whole|², NaN if the whole is zero; complex ones as pairs."""
    inner = lambda a, b: jnp.real(jnp.sum(scaled.wide(a) * jnp.conj(scaled.wide(b))))
    ratio = inner(part.mantissa, whole.mantissa) / inner(whole.mantissa, whole.mantissa)
    return scaled.shift(ratio, part.exponent - whole.exponent)


def _or_zero(value: Scaled, some: Array) -> Scaled:
    """Normalised; zero where the cotangent was, whatever the slope."""
    clean = jax.tree.map(
        lambda m: jnp.where(
            jnp.reshape(some, some.shape + (1,) * (m.ndim - some.ndim)), m, 0
        ),
        value.mantissa,
    )
    return scaled.normalise(Scaled(clean, value.exponent))
