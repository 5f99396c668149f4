"""Held-out metric of networks while they train, on one grid of updates."""

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rnnjax.analysis.datasets import jit_unoptimised
from rnnjax.reproduce.training import sweep
from rnnjax.run import Run
from rnnjax.sweeps.compose import compose_sweep
from rnnjax.training.build import build_hyper, heldout, initial_params, signature
from rnnjax.training.config import RunConfig
from rnnjax.training.program import Program, Signature


@dataclasses.dataclass(frozen=True)
class Scores:
    """A run, seen from outside.

    Attributes:
        config: of the run.
        params: final parameters.
        curve: metric on validation examples after 0, `every`, 2 · `every`, … updates;
            NaN after the run ended, and at the start of a run that was trained.
        loss, metric: on test examples at the end.
        updates: that were made.
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
        UserError: see `rnnjax.reproduce.training.sweep`.
    """
    often = [f"steps={steps}", f"eval.every={every}", f"log_every={every}"]
    if steps == 0:
        jobs = [job for one in sweeps for job in compose_sweep(one)]
        return [_untrained(job.config) for job in jobs]
    runs = sweep(pool, *([*one, *often] for one in sweeps))
    return [_trained(one, steps // every + 1, every) for one in runs]


def _trained(run: Run, looks: int, every: int) -> Scores:
    curve = np.full(looks, np.nan)
    rows = run.metrics.select("step", "validation_metric").drop_nulls().iter_rows()
    for step, value in rows:
        if step % every == 0:
            curve[step // every] = value
    manifest = run.manifest
    return Scores(
        config=run.config,
        params=run.params,
        curve=curve,
        loss=_number(run.results["test_loss"]),
        metric=_number(run.results["test_metric"]),
        updates=manifest.steps,
        diverged=manifest.status == "diverged",
    )


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)


def _untrained(config: RunConfig) -> Scores:
    params, hyper = initial_params(config), build_hyper(config)
    batch = heldout(config.task, config.task_options, "test", config.eval.size)
    look = _evaluator(signature(config))
    loss, metric = map(float, look(params, hyper, batch))
    return Scores(config, params, np.array([metric]), loss, metric, 0, False)


@functools.cache
def _evaluator(of: Signature) -> Callable[..., Any]:
    """A function from parameters, numbers and a batch to loss and metric."""
    program = Program(of)
    return jit_unoptimised(lambda *given: program.evaluate(*given)[:2])
