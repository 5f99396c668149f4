"""Runs of a figure that trains: the same sweeps as on the command line."""

import dataclasses
import functools
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rnnjax.devices import use_every_core
from rnnjax.errors import UserError
from rnnjax.executables.functions import jit_unoptimised
from rnnjax.run import Run, open_run
from rnnjax.sweeps.compose import compose_sweep, plan
from rnnjax.sweeps.launch import launch
from rnnjax.sweeps.progress import LiveProgress
from rnnjax.terminal import error_screen
from rnnjax.training.build import build_hyper, heldout, initial_params, signature
from rnnjax.training.config import RunConfig
from rnnjax.training.hyper import Hyper
from rnnjax.training.program import Program, Signature
from rnnjax.types import Batch


def sweep(pool: Path, *sweeps: Iterable[str]) -> list[Run]:
    """Train all jobs of some sweeps that are not in the pool yet, packed together.

    Runs made by different numeric code are repeated: all results are from one commit.

    Args:
        pool: pool of the runs.
        sweeps: overrides of each sweep, as after ``rnnjax train -m``.

    Returns:
        The runs, in the order of the sweeps and of their jobs.

    Raises:
        UserError: anything wrong with a configuration, or a run failed.
    """
    use_every_core()
    own = [f"out={pool}", "stale=rerun"]
    made = [plan([*overrides, *own], multirun=True) for overrides in sweeps]
    jobs = [job for one in made for job in one.jobs]
    progress = LiveProgress(error_screen())
    runs = [
        open_run(run.path)
        for run in launch(jobs, made[0].settings, progress=progress).runs
    ]
    for run in runs:
        if run.manifest.status == "failed":
            raise UserError(f"{run.path}: the run failed: {run.manifest.error}")
    return runs


@dataclasses.dataclass(frozen=True)
class Trained:
    """A network at some stages of its training.

    Attributes:
        config: configuration of its run.
        stages: parameters at each of them.
        metric: on held-out examples, after training; NaN without any.
    """

    config: RunConfig
    stages: tuple[Any, ...]
    metric: float


def at_stages(
    pool: Path, updates: Sequence[int], *sweeps: Sequence[str]
) -> list[Trained]:
    """The networks of some sweeps after each of several numbers of updates.

    For stages that a diverged run did not reach, its last finite parameters are used.
    If all `updates` are 0, nothing is launched.

    Args:
        pool: pool of the runs.
        updates: numbers of updates, ascending; training ends at the last one.
        sweeps: overrides of each sweep.

    Raises:
        UserError: see `sweep`.
    """
    steps = updates[-1]
    if steps == 0:
        configs = [job.config for own in sweeps for job in compose_sweep(own)]
        starts = [initial_params(config) for config in configs]
        return [
            Trained(config, (start,) * len(updates), math.nan)
            for config, start in zip(configs, starts, strict=True)
        ]
    looks = ",".join(map(str, updates[:-1]))
    more = (f"steps={steps}", "probe=full", f"probe.steps=[{looks}]")
    runs = sweep(pool, *([*own, *more] for own in sweeps))
    return [
        Trained(
            run.config,
            tuple(run.params_at(min(u, run.manifest.steps)) for u in updates),
            run.results[f"test_{run.manifest.metric}"],
        )
        for run in runs
    ]


@dataclasses.dataclass(frozen=True)
class Scores:
    """A run, seen from outside.

    Attributes:
        config: configuration of the run.
        params: final parameters.
        curve: metric on validation examples after 0, `every`, 2 · `every`, … updates;
            NaN after the run ended, and at the start of a run that was trained.
        loss, metric: on test examples at the end.
        updates: number of updates made.
        diverged: whether it ended because a number was not finite.
    """

    config: RunConfig
    params: Any
    curve: np.ndarray
    loss: float
    metric: float
    updates: int
    diverged: bool


def scores(pool: Path, steps: int, every: int, *sweeps: Sequence[str]) -> list[Scores]:
    """Train the jobs of some sweeps and evaluate them; without updates, only evaluate.

    Args:
        pool: pool of the runs.
        steps: number of updates of every run.
        every: updates between two evaluations.
        sweeps: overrides of each sweep, without steps and evaluation.

    Returns:
        Scores of each job, in the order of the sweeps and of their jobs.

    Raises:
        UserError: see `sweep`.
    """
    often = [f"steps={steps}", f"eval.every={every}", f"log_every={every}"]
    if steps == 0:
        jobs = [job for one in sweeps for job in compose_sweep(one)]
        return [_untrained(job.config) for job in jobs]
    runs = sweep(pool, *([*one, *often] for one in sweeps))
    return [_trained(one, steps // every + 1, every) for one in runs]


def _trained(run: Run, looks: int, every: int) -> Scores:
    curve = np.full(looks, np.nan)
    manifest = run.manifest
    table = run.metrics.select("step", f"validation_{manifest.metric}").drop_nulls()
    for step, value in table.iter_rows():
        if step % every == 0:
            curve[step // every] = value
    loss, metric = (run.results[f"test_{key}"] for key in ("loss", manifest.metric))
    return Scores(
        config=run.config,
        params=run.params,
        curve=curve,
        loss=math.nan if loss is None else loss,
        metric=math.nan if metric is None else metric,
        updates=manifest.steps,
        diverged=manifest.status == "diverged",
    )


def _untrained(config: RunConfig) -> Scores:
    params, hyper = initial_params(config), build_hyper(config)
    batch = heldout(config.task, config.task_options, "test", config.eval.size)
    loss, metric = map(float, _evaluated(signature(config), params, hyper, batch))
    return Scores(config, params, np.array([metric]), loss, metric, 0, False)


@functools.partial(jit_unoptimised, static_argnames=("of",))
def _evaluated(of: Signature, params: Any, hyper: Hyper, batch: Batch) -> Any:
    """Loss and metric."""
    return Program(of).evaluate(params, hyper, batch)[:2]
