"""Pass adjoints from one recurrence back to the earlier ones, with exponents."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from rnnjax.probes.backward.segments import Segments, no_cotangent
from rnnjax.probes.backward.walk import Back
from rnnjax.recurrence import scaled
from rnnjax.recurrence.scaled import Scaled


def pass_on(
    segments: Segments,
    leaves: list[Scaled],
    number: int,
    order: int,
    back: Back,
    pointwise: bool,
) -> None:
    """Add the cotangent that one recurrence passes back to the earlier `leaves`.

    Args:
        segments: the model.
        leaves: cotangents so far, one for each site; changed in place.
        number: index of the recurrence among the sites.
        order: its index among the recurrences.
        back: the result of its backward pass.
        pointwise: see `trace.Forward`.
    """
    given = segments.sites[number].given

    def pull(x: Any, initial: Any) -> list[Any]:
        entered = no_cotangent(list(segments.entered))
        x_zero, initial_zero = entered[order]
        entered[order] = (
            x_zero if x is None else x,
            initial_zero if initial is None else initial,
        )
        return segments.pull(entered, no_cotangent(segments.answers))[:number]

    def add(more: list[Any], exponent: Array) -> None:
        for earlier, leaf in enumerate(more):
            one = scaled.normalise(Scaled(leaf, exponent))
            leaves[earlier] = scaled.normalise(scaled.add(leaves[earlier], one))

    if number == 0:
        return
    inputs = scaled.normalise(back.inputs)
    if not pointwise:
        initial = scaled.normalise(back.initial) if given else None
        leaves[:number] = _in_bands(pull, inputs, initial, leaves[:number])
        return
    add(pull(inputs.mantissa, None), inputs.exponent)
    if given:
        initial = scaled.normalise(back.initial)
        exponent = jnp.broadcast_to(initial.exponent[None], inputs.exponent.shape)
        add(pull(None, initial.mantissa), exponent)


def _in_bands(
    pull: Callable[[Any, Any], list[Any]],
    inputs: Scaled,
    initial: Scaled | None,
    leaves: list[Scaled],
) -> list[Scaled]:
    """`leaves` plus the image of two cotangents under the linear map `pull`.

    `pull` may mix steps and examples, which have different exponents. The cotangents
    therefore go through it in bands of similar exponents; costs one pass for each band
    that occurs.
    """
    parts = [inputs] if initial is None else [inputs, initial]
    arrays = jax.tree.leaves([part.mantissa for part in parts])
    # half of the exponent range, which leaves room below for a map that shrinks
    width = min(-jnp.finfo(x.dtype).minexp for x in arrays) // 2
    exponents = jnp.concatenate([jnp.ravel(part.exponent) for part in parts])
    top = jnp.max(exponents)
    low = jnp.min(jnp.where(exponents == scaled.NO_EXPONENT, top, exponents))

    def one(band: Array, leaves: list[Scaled]) -> list[Scaled]:
        level = top - band * width

        def within(part: Scaled) -> Any:
            inside = (top - part.exponent) // width == band
            away = jnp.where(inside, part.exponent - level, -width)
            own = scaled.shift(part.mantissa, away)
            return jax.tree.map(lambda x: jnp.where(_like(inside, x), x, 0), own)

        more = pull(within(inputs), None if initial is None else within(initial))
        grown = []
        for leaf, new in zip(leaves, more, strict=True):
            exponent = jnp.full_like(leaf.exponent, level)
            new = scaled.normalise(Scaled(new, exponent))
            grown.append(scaled.normalise(scaled.add(leaf, new)))
        return grown

    return lax.fori_loop(0, (top - low) // width + 1, one, leaves)


def _like(where: Array, x: Array) -> Array:
    return jnp.reshape(where, where.shape + (1,) * (x.ndim - where.ndim))
