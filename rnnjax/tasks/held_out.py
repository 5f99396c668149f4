"""Disjoint splits for generated tasks with few possible examples.

If fewer examples exist than a run may draw, held-out examples would also be seen in
training. Therefore an example whose free choices are digits d₁ … d_k in a common base
belongs to validation if the sum of its digits is base − 2 modulo the base, to test if
it is base − 1, and to training otherwise. Within each part, any k − 1 of the digits are
independent and uniform, so no part is easier than another, and a label drawn
independently of the digits has the same distribution in every part.
"""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, UInt32

from rnnjax.tasks.base import Data, Split


SMALL = 2**20
"""Tasks with fewer possible examples are split; most runs draw fewer than a million."""

PART = "part"
PARTS: Mapping[Split, int] = {"train": 0, "validation": 1, "test": 2}


def of_part(split: Split, data: Data) -> dict[str, Any]:
    """Data that make `Task.sample` draw from one part; otherwise it is training."""
    return {**data, PART: np.int32(PARTS[split])}


def keep_apart(
    data: Data, digits: Int[Array, "k B"], bits: UInt32[Array, "B"], base: int
) -> Int[Array, "k B"]:
    """The digits, with the last one replaced so that the example is in a given part.

    Args:
        data: result of `of_part`; for other data the part is training.
        digits: uniform in ``0 … base − 1``.
        bits: random bits, independent of the other digits.
        base: base of the digits, at least 4.

    >>> bits = jnp.zeros(1, "uint32")
    >>> keep_apart(of_part("test", {}), jnp.array([[3], [0]]), bits, 8).T.tolist()
    [[3, 4]]
    """
    part = jnp.asarray(data.get(PART, 0), jnp.uint32)
    of_training = bits % jnp.uint32(base - 2)
    remainder = jnp.where(part == 0, of_training, base - 3 + part)
    others = jnp.sum(digits[:-1], axis=0, dtype=digits.dtype)
    return digits.at[-1].set((remainder.astype(digits.dtype) - others) % base)
