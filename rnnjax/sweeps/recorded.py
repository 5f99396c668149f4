"""Read all recorded numbers of a run, each with its training step."""

from collections.abc import Callable, Collection, Iterator
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


def _params(run: RunDir) -> Arrays:
    params = msgpack_restore(run.params_bytes())
    return _leaves(run.manifest().steps, "parameters", params)


def _best(run: RunDir) -> Arrays:
    # The best step is only known at the end of the run.
    best = msgpack_restore(run.best_params_bytes())
    return _leaves(run.manifest().steps, "best parameters", best)


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
    rundir.PARAMS: _params,
    rundir.BEST: _best,
    rundir.STATE: _state,
}
"""Functions that read the numbers of a file, by file."""
