"""Warnings that the numbers of a user's model may not mean what they seem to mean."""

from collections.abc import Iterator

import numpy as np

from rnnjax.probes.backward.trace import Trace
from rnnjax.recurrence.scaled import NO_EXPONENT


TINY = 0.01
"""Largest share of the gradient that may bypass all recurrences without a warning."""


def doubts(lagged: Trace, seen: Trace, bypass: float, loops: bool) -> Iterator[str]:
    """One sentence for each warning.

    Args:
        lagged: the backward pass from the losses at the last valid steps.
        seen: the backward pass from the whole loss.
        bypass: see `agreement.bypass`.
        loops: whether the model loops over its steps outside of what is measured.
    """
    names = ", ".join(walk.name for walk in seen.walks)
    if loops:
        yield (
            f"the model loops over its {len(seen.valid)} steps outside of the "
            f"measured recurrences ({names}): a recurrence that is not detected "
            "(nn.scan, lax.scan, flax.nnx) is treated as part of the layers between "
            "them"
        )
    if bypass > TINY:
        yield (
            f"{100 * bypass:.2g} % of the gradient at the inputs bypasses every "
            f"measured recurrence ({names}): by a skip connection, or through a "
            "recurrence that is not detected (nn.scan, flax.nnx, a loop over a cell)"
        )
    silent = _without_adjoint(lagged) & ~_without_adjoint(seen)
    if silent.any():
        yield (
            f"in {silent.sum()} of {silent.size} examples the loss at the last valid "
            f"step reaches no measured recurrence ({names}), so all adjoints by lag "
            "are exactly zero there; if the loss masks the last steps itself, pass "
            "lengths"
        )


def _without_adjoint(trace: Trace) -> np.ndarray:
    """``(B,)``: whether every adjoint of the example is exactly zero."""
    exponents = [np.asarray(walk.adjoint.exponent) for walk in trace.walks]
    return np.all([np.all(x == NO_EXPONENT, axis=0) for x in exponents], axis=0)
