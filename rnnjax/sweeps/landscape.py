"""Probes of many untrained networks at once: gain × bias × T × seed in a few programs.

Every point of a sweep is a network at initialisation. Points that differ in numbers and
seeds alone share one program, which draws the parameters, walks a held-out batch
forward and the loss at the last loss step back, with exponents, and keeps the norms by
lag. Numbers of initialisers and cells are arrays: an axis of gains compiles nothing.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float

from rnnjax.probes.adjoint import lags_forward, log10_norms
from rnnjax.probes.decay import decay
from rnnjax.probes.measure import turned_layers
from rnnjax.probes.trace import backward, forward, last_loss_step, loss_weights
from rnnjax.sweeps.jobs import Job
from rnnjax.sweeps.progress import Progress
from rnnjax.training.build import build_hyper, draw_params, heldout
from rnnjax.training.build import signature as signature_of
from rnnjax.training.config import RunConfig, options
from rnnjax.training.pack import Pack, over_runs, run_mesh
from rnnjax.training.program import PARAMS, Program, key_for
from rnnjax.types import Batch


CAPACITY = 128
"""Points on a device in one call."""

VARIABLES = {
    "loss": ("loss of the probed batch at initialisation", "nats or squared error"),
    "log10_adjoint": (
        "log10 of the Euclidean norm of the lagged adjoint of the joint state, mean "
        "over the examples where it is not exactly zero; -inf: zero in all of them, "
        "NaN: beyond the sequence",
        "log10",
    ),
    "decay": (
        "slope of log10_adjoint by lag after 5 steps, Theil and Sen",
        "log10 per step of lag",
    ),
    "horizon": (
        "largest lag with 1e-3 of the norm at lag 5; inf: the largest lag still has it",
        "steps",
    ),
}


def landscape(
    jobs: Sequence[Job], varied: Sequence[str], progress: Progress | None = None
) -> xr.Dataset:
    """Probe the network of every job before training.

    Args:
        jobs: composed and validated.
        varied: the keys of the sweep, which become the dimensions.
        progress: told of points as of runs of one update.

    Returns:
        `VARIABLES` over the axes of the sweep, then layer and lag; over ``point`` where
        the jobs are no product of their axes.
    """
    told = progress or Progress()
    groups: dict[RunConfig, list[int]] = {}
    for number, job in enumerate(jobs):
        groups.setdefault(_frame(job.config), []).append(number)
    told.begin([(1, len(members)) for members in groups.values()], 0)
    found: dict[int, tuple[float, np.ndarray]] = {}
    with told:
        for frame, members in groups.items():
            configs = [jobs[number].config for number in members]
            points = _measured(frame, configs)
            for number, point in zip(members, points, strict=True):
                found[number] = point
                told.advance(1, 1)
    return _dataset([found[number] for number in range(len(jobs))], jobs, varied)


# -- one program -------------------------------------------------------------------


def _numbers(config: RunConfig) -> dict[str, dict[str, float]]:
    """What is an input of the program: numbers of the cell and of its initialiser."""
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
    """Equal for configurations that share a program."""
    zeros = {part: dict.fromkeys(kept, 0.0) for part, kept in _numbers(config).items()}
    return dataclasses.replace(_with(config, zeros), seed=0)


def _measured(
    frame: RunConfig, configs: Sequence[RunConfig]
) -> Iterator[tuple[float, np.ndarray]]:
    """Loss and norms (layer, lag) of each configuration, in order."""
    mesh = run_mesh()
    task, size = (frame.task, frame.task_options), frame.probe.batch
    batch = heldout(*task, "validation", size)
    whole = over_runs(partial(_point, frame, signature_of(configs[0])), mesh)
    level: dict[str, str | bool] = {"xla_backend_optimization_level": "1"}
    on_cpu = mesh.devices.flat[0].platform == "cpu"
    program = jax.jit(whole, compiler_options=level if on_cpu else None)
    slots = CAPACITY * mesh.devices.size
    for first in range(0, len(configs), slots):
        some = configs[first : first + slots]
        pack = Pack(mesh, len(some), CAPACITY)
        runs = pack.stack(
            [(build_hyper(config), _float32(_numbers(config))) for config in some]
        )
        losses, norms = pack.gather(program(pack.counts, runs, pack.share(batch)))
        yield from zip(losses.tolist(), norms, strict=True)


def _float32(tree: Any) -> Any:
    return jax.tree.map(np.float32, tree)


def _point(frame: RunConfig, signature: Any, run: Any, batch: Batch) -> Any:
    hyper, numbers = run
    params = draw_params(
        _with(frame, numbers), signature.spec, key_for(hyper, PARAMS, 0)
    )
    model = Program(signature).model(hyper)
    passed = forward(model, params, batch, signature.spec)
    seen = backward(passed, loss_weights(signature.spec, batch, "last"))
    last = last_loss_step(signature.spec, batch)
    turned = turned_layers(signature.spec, [walk.name for walk in seen.walks])
    curves = []
    for walk in seen.walks:
        norms = log10_norms(walk, seen.valid)[0]
        curves.append(_by_lag(*lags_forward(norms, last, walk.name in turned)))
    return seen.loss, jnp.stack(curves)


def _by_lag(norms: Float[Array, "T B"], last: Array) -> Float[Array, "T"]:
    """Means over examples at equal lag; those that are exactly zero are left out."""
    steps = last[None, :] - jnp.arange(norms.shape[0])[:, None]
    values = jnp.take_along_axis(norms, jnp.maximum(steps, 0), axis=0)
    measured = (steps >= 0) & ~jnp.isnan(values)
    finite = measured & jnp.isfinite(values)
    total = jnp.sum(jnp.where(finite, values, 0.0), axis=1)
    count = jnp.sum(finite, axis=1)
    mean = total / jnp.maximum(count, 1).astype(total.dtype)
    empty = jnp.where(jnp.any(measured, axis=1), -jnp.inf, jnp.nan)
    return jnp.where(count > 0, mean, empty)


# -- one data set ------------------------------------------------------------------


def _dataset(
    points: Sequence[tuple[float, np.ndarray]],
    jobs: Sequence[Job],
    varied: Sequence[str],
) -> xr.Dataset:
    layers = max(norms.shape[0] for _, norms in points)
    lags = max(norms.shape[1] for _, norms in points)
    curves = np.full((len(points), layers, lags), np.nan, np.float32)
    for row, (_, norms) in zip(curves, points, strict=True):
        row[: norms.shape[0], : norms.shape[1]] = norms
    fits = [[decay(curve) for curve in row] for row in curves]
    values = {
        "loss": (np.array([loss for loss, _ in points], np.float32), ()),
        "log10_adjoint": (curves, ("layer", "lag")),
        "decay": (np.array([[f.slope for f in row] for row in fits]), ("layer",)),
        "horizon": (np.array([[f.horizon for f in row] for row in fits]), ("layer",)),
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
        definition, unit = VARIABLES[name]
        about = {"definition": definition, "units": unit}
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
    """What a job has at a key of a sweep; a choice of a group by its name."""
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
