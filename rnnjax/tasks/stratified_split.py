"""Stratified splits: which examples of each class go to validation and test."""

import warnings
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Int


MIN_COUNT = 3
"""Number of examples that a class needs to be in training, validation and test."""


def stratified(
    order: Int[np.ndarray, "N"], labels: Int[np.ndarray, "N"], part: int
) -> dict[str, np.ndarray]:
    """The rows of each split; each part has the class shares of the whole.

    A class has ``part / N`` of its examples in each held-out part, rounded so that the
    parts have the right size. A class with three or more examples has at least one in
    each part, if the part is large enough for one example of every class. Rarer classes
    go to training first.

    Args:
        order: row numbers in the order in which they are assigned.
        labels: the class of each row, ``0 … classes − 1``.
        part: number of examples for validation, and the same number for test.

    >>> rows = stratified(np.arange(20), np.repeat([0, 1], [16, 4]), 2)
    >>> rows["validation"].tolist(), rows["test"].tolist()
    ([0, 16], [1, 17])
    """
    classes = labels[order]
    counts = np.bincount(labels)
    validation = _quota(counts, part, counts >= MIN_COUNT)
    test = _quota(counts - validation, part, counts >= MIN_COUNT)
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
    """Warn about classes that are too rare to be in every part of a split.

    Args:
        what: name of the data.
        labels: the class of each row.
        rows: row numbers of each part.
        names: names of the classes; None: their numbers.
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
            f"{what}: some classes have too few examples to occur in training, "
            f"validation and test: {', '.join(shown)}{more}",
            stacklevel=2,
        )


def _quota(
    counts: Int[np.ndarray, "C"], part: int, wanted: Bool[np.ndarray, "C"]
) -> Int[np.ndarray, "C"]:
    """How many examples each class gives to `part`, in proportion to `counts`.

    First, each `wanted` class gives one example, the most frequent classes first; then
    the rest is distributed. Where possible, a class keeps its last example for
    training.
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
    """How many entries of the same class precede each entry.

    >>> _place_in_class(np.array([1, 0, 1, 1, 0])).tolist()
    [0, 0, 1, 2, 1]
    """
    by_class = np.argsort(classes, kind="stable")
    starts = np.searchsorted(classes[by_class], classes[by_class])
    place = np.empty(len(classes), np.int64)
    place[by_class] = np.arange(len(classes)) - starts
    return place
