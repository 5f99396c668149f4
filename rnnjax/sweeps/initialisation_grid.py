"""Probes of many untrained networks at once: gain × bias × T × seed in a few programs.

Every point of a sweep is a network at initialisation. Points that differ only in
numbers and seeds share one program. It draws the parameters, runs a held-out batch
forward, propagates the loss of the last loss step back with exponents, and keeps the
norms by lag. Numbers of initialisers and cells are inputs of the program, so that, for
example, an axis of gains needs no further compilation.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float

from rnnjax.executables.lookup import compiled
from rnnjax.probes.adjoints.decay import decay
from rnnjax.probes.adjoints.norms import lags_forward, log10_norms
from rnnjax.probes.adjoints.relative import relative
from rnnjax.probes.backward.trace import backward, forward, last_loss_step, loss_weights
from rnnjax.probes.contributions.spread import at_lags
from rnnjax.probes.dynamics.explosion import first_nonfinite
from rnnjax.probes.measure import turned_layers
from rnnjax.quantities import QUANTITIES
from rnnjax.sweeps.jobs import Job
from rnnjax.sweeps.progress import PackSize, Progress
from rnnjax.training.build import build_hyper, draw_params, heldout
from rnnjax.training.config import RunConfig, options
from rnnjax.training.keys import PARAMS, key_for
from rnnjax.training.pack import Pack, over_runs, run_mesh
from rnnjax.training.program import Program
from rnnjax.types import Batch
from rnnjax.xla_options import OFTEN


CAPACITY = 128
"""Largest number of points per device in one call."""

OF_LAYERS = ("decay_of_mean", "horizon_of_mean", "exploded", "earliest_nonfinite_step")
"""The quantities that have one number for each layer."""


class Point(NamedTuple):
    """The measurements of one network, see
    `rnnjax.quantities.initialisation`; NumPy arrays on the host."""

    loss: Float[Array, ""]
    log10_adjoint_mean: Float[Array, "layer lag"]
    exploded: Float[Array, "layer"]
    earliest_nonfinite_step: Float[Array, "layer"]


def landscape(
    jobs: Sequence[Job], varied: Sequence[str], progress: Progress | None = None
) -> xr.Dataset:
    """Probe the network of every job before training.

    Progress is notified of each point as if it were a run with one update.

    Returns:
        Its quantities over the axes of the sweep (the keys in `varied`), then layer and
        lag. If the jobs are not a full product, ``point`` replaces the axes.
    """
    told = progress or Progress()
    groups: dict[RunConfig, list[int]] = {}
    for number, job in enumerate(jobs):
        groups.setdefault(_frame(job.config), []).append(number)
    told.begin([PackSize(1, len(members)) for members in groups.values()], 0)
    found: dict[int, Point] = {}
    with told:
        for frame, members in groups.items():
            points = _measured(frame, [jobs[number] for number in members])
            for number, point in zip(members, points, strict=True):
                found[number] = point
                told.advance(1, 1)
    return _dataset([found[number] for number in range(len(jobs))], jobs, varied)


def _numbers(config: RunConfig) -> dict[str, dict[str, float]]:
    """The inputs of the program: numbers of the cell and of its initialiser."""
    return {
        "cell": {k: v for k, v in config.cell_options if isinstance(v, float)},
        "init": {k: v for k, v in config.init.options if isinstance(v, float)},
    }


def _with(config: RunConfig, numbers: Mapping[str, Mapping[str, Any]]) -> RunConfig:
    cell = options(dict(config.cell_options) | dict(numbers["cell"]))
    init = options(dict(config.init.options) | dict(numbers["init"]))
    start = dataclasses.replace(config.init, options=init)
    return dataclasses.replace(config, cell_options=cell, init=start)


def _frame(config: RunConfig) -> RunConfig:
    """The configuration without numbers and seed: equal if a program can be shared."""
    zeros = {part: dict.fromkeys(kept, 0.0) for part, kept in _numbers(config).items()}
    return dataclasses.replace(_with(config, zeros), seed=0)


def _measured(frame: RunConfig, jobs: Sequence[Job]) -> Iterator[Point]:
    """The point of each job, in order."""
    mesh = run_mesh()
    task, size = (frame.task, frame.task_options), frame.probe.batch
    batch = heldout(*task, "validation", size)
    configs, signature = [job.config for job in jobs], jobs[0].signature
    whole = over_runs(partial(_point, frame, signature), mesh)
    on_cpu = mesh.devices.flat[0].platform == "cpu"
    options = OFTEN if on_cpu else None
    program = None
    slots, number = CAPACITY * mesh.devices.size, partial(jnp.asarray, dtype=float)
    for first in range(0, len(configs), slots):
        some = configs[first : first + slots]
        pack = Pack(mesh, len(some), CAPACITY)
        runs = pack.stack(
            [(build_hyper(one), jax.tree.map(number, _numbers(one))) for one in some]
        )
        given = pack.counts, runs, pack.share(batch)
        program = program or compiled(
            lambda given=given: jax.jit(whole, keep_unused=True).lower(*given),
            (over_runs, _point, frame, signature, mesh),
            given,
            options,
        )
        yield from pack.unstack(program(*given))


def _point(frame: RunConfig, signature: Any, run: Any, batch: Batch) -> Point:
    hyper, numbers = run
    key = key_for(hyper, PARAMS, 0)
    params = draw_params(_with(frame, numbers), signature.spec, key)
    model = Program(signature).model(hyper)
    passed = forward(model, params, batch, signature.spec)
    seen = backward(passed, loss_weights(signature.spec, batch, "last"))
    last = last_loss_step(signature.spec, batch)
    norms = [log10_norms(walk, seen.valid)[0] for walk in seen.walks]
    lost = [jnp.any(~(rows < jnp.inf) & seen.valid, axis=0) for rows in norms]
    first = jnp.stack([first_nonfinite(walk.forward)[0] for walk in seen.walks])
    along = jnp.array([-1.0 if walk.forward.backwards else 1.0 for walk in seen.walks])
    turned = turned_layers(signature.spec, [walk.name for walk in seen.walks])
    curves = [
        _by_lag(*lags_forward(rows, last, walk.name in turned))
        for rows, walk in zip(norms, seen.walks, strict=True)
    ]
    point: Any = Point(
        loss=seen.loss,
        log10_adjoint_mean=jnp.stack(curves),
        exploded=jnp.mean(jnp.stack(lost) | ~jnp.isnan(first), axis=1),
        earliest_nonfinite_step=along * jnp.nanmin(along[:, None] * first, axis=1),
    )
    return point


def _by_lag(norms: Float[Array, "T B"], last: Array) -> Float[Array, "T"]:
    """Means over examples at equal lag, without norms that are exactly zero.

    NaN if one of them is NaN, because an exploded example has no known norm.
    """
    values, measured = at_lags(norms, last)
    counted = measured & ~jnp.isneginf(values)
    total = jnp.sum(jnp.where(counted, values, 0.0), axis=1)
    count = jnp.sum(counted, axis=1)
    mean = total / jnp.maximum(count, 1).astype(total.dtype)
    empty = jnp.where(jnp.any(measured, axis=1), -jnp.inf, jnp.nan)
    return jnp.where(count > 0, mean, empty)


def _dataset(
    points: Sequence[Point], jobs: Sequence[Job], varied: Sequence[str]
) -> xr.Dataset:
    layers = max(point.log10_adjoint_mean.shape[0] for point in points)
    lags = max(point.log10_adjoint_mean.shape[1] for point in points)
    curves = np.full((len(points), layers, lags), np.nan, np.float32)
    each = {name: np.full((len(points), layers), np.nan) for name in OF_LAYERS}
    for i, point in enumerate(points):
        norms, sound = point.log10_adjoint_mean, point.exploded == 0
        own = slice(norms.shape[0])
        curves[i, own, : norms.shape[1]] = norms
        fits = [decay(relative(curve[:, None])[:, 0]) for curve in norms]
        each["decay_of_mean"][i, own] = np.where(sound, [f.slope for f in fits], np.nan)
        horizons = [f.horizon for f in fits]
        each["horizon_of_mean"][i, own] = np.where(sound, horizons, np.nan)
        for name in ("exploded", "earliest_nonfinite_step"):
            each[name][i, own] = getattr(point, name)
    values = {
        "loss": (np.array([point.loss for point in points], np.float32), ()),
        "log10_adjoint_mean": (curves, ("layer", "lag")),
        **{name: (rows, ("layer",)) for name, rows in each.items()},
    }
    axes = {key: [value_of(job, key) for job in jobs] for key in varied}
    names = {key: list(dict.fromkeys(axis)) for key, axis in axes.items()}
    sizes = tuple(map(len, names.values()))
    places = [
        tuple(names[key].index(axes[key][i]) for key in names) for i in range(len(jobs))
    ]
    whole = len(set(places)) == len(jobs) == int(np.prod(sizes))
    data = xr.Dataset()
    for name, (flat, rest) in values.items():
        about = QUANTITIES[name].attributes
        if whole:
            array = np.empty((*sizes, *flat.shape[1:]), flat.dtype)
            array[tuple(np.array(places).reshape(len(jobs), -1).T)] = flat
            data[name] = ((*names, *rest), array, about)
        else:
            data[name] = (("point", *rest), flat, about)
    for key, axis in (names if whole else axes).items():
        data = data.assign_coords({key: (key if whole else "point", _column(axis))})
    return data.assign_coords(layer=np.arange(layers), lag=np.arange(lags))


def value_of(job: Job, key: str) -> Any:
    """The value of a job at a key of a sweep; for a group, the name of the option."""
    if key in ("variant", "experiment"):
        return job.label
    value: Any = job.resolved
    for part in key.split("."):
        value = value[part]
    if isinstance(value, Mapping):
        return value.get("name", value.get("preset"))
    return tuple(value) if isinstance(value, list) else value


def _column(values: Sequence[Any]) -> np.ndarray:
    if all(isinstance(v, int | float) and not isinstance(v, bool) for v in values):
        return np.array(values)
    return np.array([str(value) for value in values], object)
