"""Find where the numbers of two runs differ, and by how much."""

import math
from collections import defaultdict
from dataclasses import dataclass

import numpy as np

from rnnjax.sweeps.recorded import PARTS, Numbers, Place


SMALLEST = 1e-3
"""Differences are relative to the array's largest number, or to this if larger."""


@dataclass(frozen=True)
class Difference:
    """An array that is not the same in two runs.

    Attributes:
        place: which array it is.
        here, stored: the two corresponding numbers that are furthest apart, as text;
            for arrays that cannot be compared, their types and sizes.
        relative: the difference, divided by the largest number of the array up to this
            step; inf for text, if shapes or non-finite numbers differ, and if only one
            run has the array.
    """

    place: Place
    here: str
    stored: str
    relative: float


def differences(
    stored: Numbers, here: Numbers, updates: int | None
) -> list[Difference]:
    """All arrays that differ in at least one bit, the earliest step first.

    Args:
        stored: the numbers of the run on disk.
        here: the numbers of the same run, computed again.
        updates: `Difference.relative` is in units of the largest number that the array
            has in the first `updates` updates, or up to the step if that is later;
            None: in the whole run.
    """
    units = _units(stored, updates)
    found = []
    order = lambda place: (place.step, PARTS.index(place.part), place.name)
    for place in sorted({*stored, *here}, key=order):
        old, new = stored.get(place), here.get(place)
        if old is None or new is None:
            found.append(Difference(place, _kind(new), _kind(old), math.inf))
        elif not same_bits(old, new):
            found.append(_difference(place, old, new, units[place]))
    return found


def same_bits(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether two arrays have the same type, shape and bytes."""
    if one.dtype != other.dtype or one.shape != other.shape:
        return False
    if one.dtype.hasobject:
        return bool(np.array_equal(one, other))
    return one.tobytes() == other.tobytes()


def _units(numbers: Numbers, updates: int | None) -> dict[Place, float]:
    series: dict[tuple[str, str], list[Place]] = defaultdict(list)
    for place in sorted(numbers):
        series[place.part, place.name].append(place)
    units = {}
    for places in series.values():
        last = math.inf if updates is None else updates
        largest = SMALLEST
        early = [place for place in places if place.step <= last]
        for place in early:
            largest = max(largest, _largest(numbers[place]))
        units |= dict.fromkeys(early, largest)
        for place in places[len(early) :]:
            units[place] = largest = max(largest, _largest(numbers[place]))
    return units


def _largest(array: np.ndarray) -> float:
    if array.dtype.kind not in "iufc":
        return 0.0
    return float(np.abs(array[np.isfinite(array)]).max(initial=0.0))


def _difference(
    place: Place, old: np.ndarray, new: np.ndarray, unit: float
) -> Difference:
    if old.shape != new.shape or not old.size:
        return Difference(place, _kind(new), _kind(old), math.inf)
    flat, other = old.ravel(), new.ravel()
    gaps = _gaps(flat, other)
    at = int(gaps.argmax())
    if not gaps[at] and flat.dtype == other.dtype:  # 0 and −0, or NaN of other bits
        changed = flat.view(np.uint8) != other.view(np.uint8)
        at = int(changed.argmax()) // flat.itemsize
    return Difference(place, str(other[at]), str(flat[at]), float(gaps[at]) / unit)


def _gaps(old: np.ndarray, new: np.ndarray) -> np.ndarray:
    """Absolute differences; 0 if equal or both NaN, inf if they cannot be compared."""
    if any(array.dtype.kind not in "iufc" for array in (old, new)):
        return np.where(old == new, 0.0, np.inf)
    with np.errstate(invalid="ignore", over="ignore"):
        gaps = np.abs(np.subtract(old, new, dtype=complex))
    alike = (old == new) | (np.isnan(old) & np.isnan(new))
    return np.where(alike, 0.0, np.where(np.isnan(gaps), np.inf, gaps))


def _kind(array: np.ndarray | None) -> str:
    """Type and size of an array whose numbers cannot be compared; "none" if missing."""
    if array is None:
        return "none"
    sizes = " × ".join(map(str, array.shape))
    return f"{array.dtype} of size {sizes}" if array.shape else str(array)
