"""Pass adjoints from one recurrence back to the earlier ones, with exponents."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array

from rnnjax.probes.backward.bands import through_bands
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
        parts = [inputs, back.initial] if given else [inputs]
        image = lambda parts: pull(*parts) if given else pull(parts[0], None)
        leaves[:number] = through_bands(image, parts, leaves[:number])
        return
    add(pull(inputs.mantissa, None), inputs.exponent)
    if given:
        initial = scaled.normalise(back.initial)
        exponent = jnp.broadcast_to(initial.exponent[None], inputs.exponent.shape)
        add(pull(None, initial.mantissa), exponent)
