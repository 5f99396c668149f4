"""What about a user's model may make its numbers mean something else than expected."""

from collections.abc import Iterator

import numpy as np

from rnnjax.probes.backward.trace import Trace
from rnnjax.recurrence.scaled import NO_EXPONENT


TINY = 0.01
"""The largest share of the gradient past all recurrences that is not worth a word."""


def doubts(lagged: Trace, seen: Trace, bypass: float, loops: bool) -> Iterator[str]:
    """One sentence for each doubt.

    Args:
        lagged: walked back from the losses at the last valid steps.
        seen: walked back from the whole loss.
        bypass: see `untouched.bypass`.
        loops: whether the model loops over its steps outside of what is measured.
    """
    names = ", ".join(walk.name for walk in seen.walks)
    if loops:
        yield (
            f"the model loops over its {len(seen.valid)} steps outside of the "
            f"recurrences that are measured ({names}): a recurrence that is not seen "
            "(nn.scan, lax.scan, flax.nnx) is part of what lies between them"
        )
    if bypass > TINY:
        yield (
            f"{100 * bypass:.2g} % of the gradient at the inputs passes by every "
            f"recurrence that is measured ({names}): by a skip connection, or through "
            "a recurrence that is not seen (nn.scan, flax.nnx, a loop over a cell)"
        )
    silent = _without_adjoint(lagged) & ~_without_adjoint(seen)
    if silent.any():
        yield (
            f"in {silent.sum()} of {silent.size} examples the loss at the last valid "
            f"step reaches no recurrence that is measured ({names}), so that all "
            "adjoints by lag are exactly zero there; where the loss masks steps of its "
            "own, give lengths"
        )


def _without_adjoint(trace: Trace) -> np.ndarray:
    """``(B,)``: whether every adjoint of the example is exactly zero."""
    exponents = [np.asarray(walk.adjoint.exponent) for walk in trace.walks]
    return np.all([np.all(x == NO_EXPONENT, axis=0) for x in exponents], axis=0)
