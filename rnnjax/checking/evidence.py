"""What is known of a kernel whose gradients are wrong, and how arguments change it."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from rnnjax.checking.comparison import ByLag, Difference, by_lag, gradients
from rnnjax.checking.pullbacks import ALL, LAST, Measured, Subject


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
        subject: the kernel and its reference.
        seen: both at the largest length at which they differ.
        at_one: whether gradients are right for T = 1; None: that was not measured.
        lags: the gradients by lag from the last output.
    """

    subject: Subject
    seen: Measured
    at_one: bool | None
    lags: Sequence[ByLag]

    def of(self, projection: int) -> list[Difference]:
        """The gradients of a projection."""
        return gradients(self.seen, self.subject.at, projection)

    @property
    def wrong(self) -> list[Difference]:
        """The wrong gradients of all outputs."""
        return [one for one in self.of(ALL) if one.wrong]

    @property
    def from_lag(self) -> int | None:
        """The first lag at which the gradient is wrong; None: at none."""
        first = [int(np.argmax(x.wrong)) for x in self.lags if x.wrong.any()]
        return min(first) if first else None

    def after(self, change: Change) -> "Evidence":
        """The same with changed arguments."""
        seen = self.subject.measure(self.seen.steps, change)
        lags = by_lag(seen, self.subject.at, LAST, seen.steps - 1)
        return dataclasses.replace(self, seen=seen, lags=lags)
