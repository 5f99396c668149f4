"""Read the recorded numbers of runs, each with its step, and find where two differ."""

import math
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
from flax.serialization import msgpack_restore

from rnnjax.errors import one_line
from rnnjax.store import rundir
from rnnjax.store.index import flatten
from rnnjax.store.rundir import RunDir


PARTS = (
    *("manifest", "metrics", "probes", "probed parameters", "parameters"),
    *("best parameters", "state", "results"),
)
"""The parts of a run's record, in the order in which they are compared."""


class Place(NamedTuple):
    """The location of an array in the record of a run.

    Attributes:
        step: number of updates after which it was recorded.
        part: one of `PARTS`.
        name: name of a column or probe variable, or path of a parameter.
    """

    step: int
    part: str
    name: str


Numbers = dict[Place, np.ndarray]
Arrays = Iterator[tuple[Place, np.ndarray]]


def files_of(run: RunDir) -> set[str]:
    """Files with numbers that the run has, or should have according to its manifest."""
    return {file for file in READERS if file in run.manifest().files or run.has(file)}


def recorded(run: RunDir, files: Collection[str]) -> tuple[Numbers, dict[str, str]]:
    """All numbers of a finished run, and the reasons why files cannot be read.

    Args:
        run: the run directory.
        files: files to read in addition to the manifest.

    Returns:
        Arrays by place; and a sentence for each missing or damaged file, by file.

    Raises:
        UserError: the manifest cannot be read.
    """
    found, damage = dict(_manifest(run)), {}
    for file, read in READERS.items():
        if file in files:
            try:
                found.update(read(run))
            except Exception as error:  # raised by the library that reads it
                damage[file] = f"{file}: {one_line(error)}"
    return found, damage


def _manifest(run: RunDir) -> Arrays:
    manifest = run.manifest()
    for name in ("status", "steps", "diverged_at"):
        value = getattr(manifest, name)
        yield Place(manifest.steps, "manifest", name), np.asarray(value)
    for field in ("metric", "seeds", "task", "definitions"):
        for name, value in flatten({field: getattr(manifest, field)}):
            yield Place(0, "manifest", name), np.asarray(value)
    for name, value in manifest.results.items():
        yield Place(manifest.steps, "results", name), np.asarray(value)


def _metrics(run: RunDir) -> Arrays:
    frame = run.metrics()
    steps = frame["step"].to_list()
    yield Place(run.manifest().steps, "metrics", "rows"), np.asarray(len(steps))
    for name in frame.columns:
        for step, value in zip(steps, frame[name].to_numpy(), strict=True):
            yield Place(step, "metrics", name), np.asarray(value)


def _probes(run: RunDir) -> Arrays:
    data = run.probes()
    steps = data["train_step"].values.tolist()
    for name, variable in data.variables.items():
        if "train_step" not in variable.dims:  # such as words or names of layers
            yield Place(0, "probes", str(name)), variable.values
            continue
        values = variable.transpose("train_step", ...).values
        for step, value in zip(steps, values, strict=True):
            yield Place(step, "probes", str(name)), np.asarray(value)


def _params_at(run: RunDir) -> Arrays:
    kept: Any = msgpack_restore(run.params_at_bytes())
    for step, params in kept.items():
        yield from _leaves(int(step), "probed parameters", params)


def _params(part: str, read: Callable[[RunDir], bytes], run: RunDir) -> Arrays:
    # The step of the best ones, too, is only known at the end of the run.
    return _leaves(run.manifest().steps, part, msgpack_restore(read(run)))


def _state(run: RunDir) -> Arrays:
    """The state, without the digest of the code, which is also in the manifest."""
    entries: Any = msgpack_restore(run.state_bytes())
    kept: Any = msgpack_restore(entries["run"])
    yield from _leaves(int(kept["step"]), "state", kept | {"probe": entries["probe"]})


def _leaves(step: int, part: str, tree: Any) -> Arrays:
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        yield Place(step, part, name), np.asarray(leaf)


READERS: dict[str, Callable[[RunDir], Arrays]] = {
    rundir.METRICS: _metrics,
    rundir.PROBES: _probes,
    rundir.PARAMS_AT: _params_at,
    rundir.PARAMS: partial(_params, "parameters", RunDir.params_bytes),
    rundir.BEST: partial(_params, "best parameters", RunDir.best_params_bytes),
    rundir.STATE: _state,
}
"""Functions that read the numbers of a file, by file."""


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
