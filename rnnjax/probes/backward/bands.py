"""A linear map of cotangents with very different exponents, band by band.

Within a band all share one exponent, and the results are added up with exponents.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from rnnjax.recurrence import scaled
from rnnjax.recurrence.scaled import Scaled


def through_bands(
    pull: Callable[[list[Any]], list[Any]],
    parts: Sequence[Scaled],
    leaves: Sequence[Scaled],
) -> list[Scaled]:
    """`leaves` plus the image of cotangents under a linear map.

    The map may mix steps and examples, which have different exponents. Costs one call
    of `pull` for each band that occurs.

    Args:
        pull: maps the mantissas of the parts to those of the leaves.
        parts: the cotangents.
        leaves: what is added to, one for each result.
    """
    parts = [scaled.normalise(part) for part in parts]
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

        more = pull([within(part) for part in parts])
        grown = []
        for leaf, new in zip(leaves, more, strict=True):
            exponent = jnp.full_like(leaf.exponent, level)
            new = scaled.normalise(Scaled(new, exponent))
            grown.append(scaled.normalise(scaled.add(leaf, new)))
        return grown

    return lax.fori_loop(0, (top - low) // width + 1, one, list(leaves))


def _like(where: Array, x: Array) -> Array:
    return jnp.reshape(where, where.shape + (1,) * (x.ndim - where.ndim))
