"""Convert a user's numbers to 32-bit arrays; errors name the entry at fault."""

from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from rnnjax.errors import UserError


LARGEST = 2**20
"""Ids up to this one are always accepted: a table of that many rows can be trained."""

Axes = Sequence[str]
"""Name of what each axis counts, such as ``("example", "step")``."""


def check_kind(where: str, name: str, array: np.ndarray) -> None:
    """Reject arrays that are not integers or floats: booleans, text, objects.

    Raises:
        UserError: the array is of another kind; the message names the dtype.
    """
    if array.dtype.kind not in "iuf" and array.dtype != jnp.bfloat16:
        raise UserError(f"{where}: {name} has dtype {array.dtype}, not numbers")


def ids(where: str, name: str, array: np.ndarray, axes: Axes) -> np.ndarray:
    """Tokens or classes as int32.

    An id refers to a row of a table, so an id far larger than the amount of data is a
    mistake (a measured value used as an id, or an overflow). The largest permitted id
    is `LARGEST`, or the number of entries of the array if that is larger.

    Raises:
        UserError: a negative id, or one beyond that bound; the message names the entry.
    """
    refuse_where(
        array < 0,
        lambda place, value: (
            f"{where}: {name} are whole numbers and must not be negative "
            f"({place}: {value})"
        ),
        array,
        axes,
    )
    bound = min(max(LARGEST, array.size), 2**31 - 2)
    if array.size and (largest := int(array.max())) > bound:
        refuse_where(
            array == array.max(),
            lambda place, value: (
                f"{where}: {name} contains the id {value} ({place}), which requires a "
                f"table of {largest + 1} rows for {array.size} entries; number the "
                "ids from 0 without gaps"
            ),
            array,
            axes,
        )
    return array.astype(np.int32)


def values(where: str, name: str, array: np.ndarray, axes: Axes) -> np.ndarray:
    """Numbers as float32.

    Raises:
        UserError: NaN or infinity, a number that is infinite in 32 bits, or numbers
            that differ in 64 bits but are all equal in 32; the message names the entry.
    """
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        single = array.astype(np.float32)
    refuse_where(
        ~np.isfinite(single),
        lambda place, value: (
            f"{where}: {name} contains {value:g} ({place}), which is infinite in 32 "
            "bits; scale the numbers"
            if np.isfinite(value)
            else f"{where}: {name} contains NaN or infinity ({place}: {value})"
        ),
        array,
        axes,
    )
    if array.size and array.min() != array.max() and single.min() == single.max():
        raise UserError(
            f"{where}: {name} contains numbers from {array.min():.17g} to "
            f"{array.max():.17g}, which are all {single.flat[0]:g} in 32 bits; "
            "subtract their mean or scale them"
        )
    return single


def refuse_where(
    wrong: np.ndarray,
    sentence: Callable[[str, Any], str],
    array: np.ndarray,
    axes: Axes,
) -> None:
    """Raise `UserError` for the first wrong entry of an array, if there is any.

    Args:
        wrong: boolean, with the shape of `array`.
        sentence: makes the message from the position and the value of that entry.
        array: the numbers.
        axes: names of at least the axes of `array`; positions are counted from 0.
    """
    if wrong.any():
        index = np.unravel_index(int(wrong.argmax()), wrong.shape)
        place = ", ".join(f"{axis} {i}" for axis, i in zip(axes, index, strict=False))
        raise UserError(sentence(f"{place}, counted from 0", array[index]))
