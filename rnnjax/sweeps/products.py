"""All combinations of the axes of a sweep."""

import itertools
import math
from collections.abc import Iterator, Mapping

from rnnjax.sweeps import zipped
from rnnjax.sweeps.points import Axis, Point


def size(axes: Mapping[str, Axis]) -> int:
    """How many combinations there are."""
    return math.prod(len(axis.values) for axis in axes.values())


def product(axes: Mapping[str, Axis]) -> Iterator[Point]:
    """All combinations; the last axis runs fastest, entries of a zip stay together."""
    keys: list[str] = []
    for key, axis in axes.items():
        if key == zipped.ZIP:
            keys += zipped.varied(axis)
        elif len(axis.values) > 1:
            keys.append(key)
    for values in itertools.product(*(axis.values for axis in axes.values())):
        chosen = {}
        for key, value in zip(axes, values, strict=True):
            chosen |= value if key == zipped.ZIP else {key: value}
        yield Point(chosen, tuple(key for key in keys if key in chosen))
