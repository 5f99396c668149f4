"""Generated examples of a small space, divided between training and the held-out parts.

Where fewer examples exist than a run may draw, a held-out example would have been seen
in training. An example whose free choices are digits d₁ … d_k of one base belongs to
validation if their sum leaves the remainder base − 2, to test if it leaves base − 1,
and to training else. Any k − 1 of the digits are independent and uniform in every part,
so that no part is easier, and a label drawn beside them stays as likely in each.
"""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, UInt32

from rnnjax.tasks.base import Data, Split


SMALL = 2**20
"""Spaces of fewer examples are divided; a million is more than most runs draw."""

PART = "part"
PARTS: Mapping[Split, int] = {"train": 0, "validation": 1, "test": 2}


def of_part(split: Split, data: Data) -> dict[str, Any]:
    """Data that tell `Task.sample` to draw from one part; without it from training."""
    return {**data, PART: np.int32(PARTS[split])}


def keep_apart(
    data: Data, digits: Int[Array, "k B"], bits: UInt32[Array, "B"], base: int
) -> Int[Array, "k B"]:
    """The same digits with a last one that puts the example into a part.

    Args:
        data: from `of_part`; else the part is training.
        digits: uniform in ``0 … base − 1``.
        bits: random, independent of the other digits.
        base: at least 4.

    >>> bits = jnp.zeros(1, "uint32")
    >>> keep_apart(of_part("test", {}), jnp.array([[3], [0]]), bits, 8).T.tolist()
    [[3, 4]]
    """
    part = jnp.asarray(data.get(PART, 0), jnp.uint32)
    of_training = bits % jnp.uint32(base - 2)
    remainder = jnp.where(part == 0, of_training, base - 3 + part)
    others = jnp.sum(digits[:-1], axis=0, dtype=digits.dtype)
    return digits.at[-1].set((remainder.astype(digits.dtype) - others) % base)
