"""Which examples of each class go to validation and test."""

import warnings
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Int


LEAST = 3
"""Examples that a class needs to be in training, validation and test."""


def stratified(
    order: Int[np.ndarray, "N"], labels: Int[np.ndarray, "N"], part: int
) -> dict[str, np.ndarray]:
    """The rows of each split, with the shares of the classes as in the whole.

    A class has ``part / N`` of its examples in each held-out part, rounded so that the
    parts have their size, and at least one if it has three or more examples and the
    part has room for one of every class. A class with fewer goes to training first.

    Args:
        order: row numbers in the order in which they are taken.
        labels: the class of each row, ``0 … classes − 1``.
        part: examples of validation, and of test.

    >>> rows = stratified(np.arange(20), np.repeat([0, 1], [16, 4]), 2)
    >>> rows["validation"].tolist(), rows["test"].tolist()
    ([0, 16], [1, 17])
    """
    classes = labels[order]
    counts = np.bincount(labels)
    validation = _quota(counts, part, counts >= LEAST)
    test = _quota(counts - validation, part, counts >= LEAST)
    place = _place_in_class(classes)
    first, second = validation[classes], (validation + test)[classes]
    return {
        "train": order[place >= second],
        "validation": order[place < first],
        "test": order[(place >= first) & (place < second)],
    }


def warn_of_missing_classes(
    what: str,
    labels: np.ndarray,
    rows: Mapping[str, np.ndarray],
    names: Sequence[str] | None = None,
) -> None:
    """Warn of classes that are too rare to be in every part of a split.

    Args:
        what: names the data.
        labels: the class of each row.
        rows: of each part.
        names: of the classes; None: their numbers.
    """
    counts = np.bincount(labels)
    missing = np.zeros(len(counts), bool)
    for part in rows.values():
        missing |= np.bincount(labels[part], minlength=len(counts)) == 0
    rare = np.flatnonzero(missing & (counts > 0))
    if rare.size:
        shown = [
            f"{names[label] if names else label} ({counts[label]})"
            for label in rare[:5]
        ]
        more = f" and {rare.size - 5} more" if rare.size > 5 else ""
        warnings.warn(
            f"{what}: too few examples of some classes for training, validation and "
            f"test alike: {', '.join(shown)}{more}",
            stacklevel=2,
        )


def _quota(
    counts: Int[np.ndarray, "C"], part: int, wanted: Bool[np.ndarray, "C"]
) -> Int[np.ndarray, "C"]:
    """How many of each class make up `part` examples, in proportion to `counts`.

    Each class that is `wanted` gets one, the most frequent first, before the rest is
    shared out; a class keeps its last example for training where that is possible.
    """
    order = np.argsort(-np.where(wanted, counts, 0), kind="stable")
    found = np.zeros(len(counts), np.int64)
    found[order[: min(part, int(wanted.sum()))]] = 1
    left = part - int(found.sum())
    missing = np.maximum(counts * (part / counts.sum()) - found, 0)
    shares = missing * (left / max(missing.sum(), 1e-9))
    whole = np.floor(shares + 1e-9).astype(np.int64)
    found += whole
    due = np.where(found < counts - 1, shares - whole, -1.0)
    due[found >= counts] = -2.0
    found[np.argsort(-due, kind="stable")[: part - int(found.sum())]] += 1
    return found


def _place_in_class(classes: Int[np.ndarray, "N"]) -> Int[np.ndarray, "N"]:
    """How many of the same class stand before each entry.

    >>> _place_in_class(np.array([1, 0, 1, 1, 0])).tolist()
    [0, 0, 1, 2, 1]
    """
    by_class = np.argsort(classes, kind="stable")
    starts = np.searchsorted(classes[by_class], classes[by_class])
    place = np.empty(len(classes), np.int64)
    place[by_class] = np.arange(len(classes)) - starts
    return place
