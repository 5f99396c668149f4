"""Classes of sentence length by which results are reported: short, middle, long."""

import dataclasses

import numpy as np
from jaxtyping import Int


SHORT, LONG = 8, 25
LABELS = (f"short (≤ {SHORT})", "middle", f"long (≥ {LONG})")


@dataclasses.dataclass(frozen=True)
class LengthBuckets:
    """The bucket of each example.

    Attributes:
        index: ``(N,)``, 0 short, 1 middle, 2 long.
        counts: number of examples in each bucket.
        labels: names of the buckets.
    """

    index: Int[np.ndarray, "N"]
    counts: tuple[int, ...]
    labels: tuple[str, ...] = LABELS


def length_buckets(lengths: Int[np.ndarray, "N"]) -> LengthBuckets:
    """Sort examples into short (≤ 8 words), middle, and long (≥ 25 words).

    >>> length_buckets(np.array([8, 9, 24, 25, 60])).counts
    (1, 2, 2)
    """
    index = np.digitize(np.asarray(lengths), [SHORT + 1, LONG])
    counts = np.bincount(index, minlength=len(LABELS))
    return LengthBuckets(index, tuple(counts.tolist()))
