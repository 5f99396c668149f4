"""What is known of a kernel whose gradients are wrong, and how arguments change it."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from rnnjax.checking.comparison import (
    ByLag,
    Difference,
    first_wrong,
    from_last,
    gradients,
)
from rnnjax.checking.pullbacks import ALL, Measured, Pair


Change = Callable[[list[Any]], list[Any]]
"""A function of the leaves of the arguments that gives changed ones."""


@dataclasses.dataclass(frozen=True)
class Mistake:
    """A mistake that explains a wrong gradient.

    Attributes:
        kind: in a few words, such as ``truncated``.
        sentence: what was seen, and where to look.
    """

    kind: str
    sentence: str


@dataclasses.dataclass(frozen=True)
class Evidence:
    """What is known of a kernel whose gradients are wrong.

    Attributes:
        pair: the kernel and its reference.
        seen: both at the largest length at which they differ.
        at_one: whether gradients are right for T = 1; None: that was not measured.
        lags: the gradients by lag from the last output.
        right_lag: the largest lag with a gradient in sequences of lengths at which
            nothing is wrong.
    """

    pair: Pair
    seen: Measured
    at_one: bool | None
    lags: Sequence[ByLag]
    right_lag: int

    def of(self, projection: int) -> list[Difference]:
        """The gradients of a projection."""
        return gradients(self.seen, self.pair.at, projection)

    @property
    def wrong(self) -> list[Difference]:
        """The wrong gradients of all outputs."""
        return [one for one in self.of(ALL) if one.wrong]

    @functools.cached_property
    def at_rest(self) -> Measured:
        """Kernel and reference after one step from a state of zeros."""
        states = self.pair.at.state_leaves

        def rest(leaves: list[Any]) -> list[Any]:
            return [
                np.zeros_like(x) if i in states else x for i, x in enumerate(leaves)
            ]

        return self.pair.measure(1, rest)

    @property
    def from_lag(self) -> int | None:
        """The first lag at which the gradient is wrong; None: at none."""
        return first_wrong(self.lags)

    def after(self, change: Change) -> "Evidence":
        """The same with changed arguments."""
        seen = self.pair.measure(self.seen.steps, change)
        return dataclasses.replace(self, seen=seen, lags=from_last(seen, self.pair.at))
