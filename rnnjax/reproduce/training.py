"""Runs of a figure that trains: the same sweeps as on the command line."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rnnjax.devices import use_every_core
from rnnjax.errors import UserError
from rnnjax.run import Run, open_run
from rnnjax.sweeps.compose import plan
from rnnjax.sweeps.job_data import with_data
from rnnjax.sweeps.launch import launch
from rnnjax.sweeps.progress import LiveProgress
from rnnjax.terminal import error_screen


def sweep(pool: Path, *sweeps: Iterable[str]) -> list[Run]:
    """Train all jobs of some sweeps that are not in the pool yet, packed together.

    Runs made by different numeric code are repeated: all results are from one commit.

    Args:
        pool: pool of the runs.
        sweeps: overrides of each sweep, as after ``rnnjax train -m``.

    Returns:
        The runs, in the order of the sweeps and of their jobs; one that several jobs
        ask for comes several times.

    Raises:
        UserError: anything wrong with a configuration, or a run failed.
    """
    use_every_core()
    own = [f"out={pool}", "stale=rerun"]
    made = [plan([*overrides, *own], multirun=True) for overrides in sweeps]
    jobs = with_data([job for one in made for job in one.jobs])
    progress = LiveProgress(error_screen())
    done = launch(jobs, made[0].settings, progress=progress).runs
    runs = [open_run(run.path) for run in done]
    for run in runs:
        if run.manifest.status == "failed":
            raise UserError(f"{run.path}: the run failed: {run.manifest.error}")
    by_id = {run.manifest.run_id: run for run in runs}
    return [by_id[job.run_id] for job in jobs]


def at_stages(pool: Path, updates: Sequence[int], *sweeps: Sequence[str]) -> list[Run]:
    """Train the jobs of some sweeps, and keep their parameters at some stages.

    Args:
        pool: pool of the runs.
        updates: numbers of updates, ascending; training ends at the last one.
        sweeps: overrides of each sweep.

    Raises:
        UserError: see `sweep`.
    """
    looks = ",".join(map(str, updates[:-1]))
    more = (f"steps={updates[-1]}", "probe=full", f"probe.steps=[{looks}]")
    return sweep(pool, *([*own, *more] for own in sweeps))


def stages(run: Run, updates: Sequence[int]) -> list[Any]:
    """The parameters of a run of `at_stages` after these numbers of updates.

    For stages that a diverged run did not reach, these are its last finite parameters.
    """
    return [run.params_at(min(number, run.manifest.steps)) for number in updates]


def evaluated(pool: Path, steps: int, every: int, *sweeps: Sequence[str]) -> list[Run]:
    """Train the jobs of some sweeps, and evaluate them often.

    Args:
        pool: pool of the runs.
        steps: number of updates of every run.
        every: updates between two evaluations.
        sweeps: overrides of each sweep, without steps and evaluation.

    Raises:
        UserError: see `sweep`.
    """
    often = [f"steps={steps}", f"eval.every={every}", f"log_every={every}"]
    return sweep(pool, *([*one, *often] for one in sweeps))


def curves(runs: Sequence[Run], steps: int, every: int) -> np.ndarray:
    """Metric on validation examples after 0, `every`, 2 · `every`, … updates.

    One row for each run of `evaluated`. NaN after the run ended, and at the start of a
    run that was trained.
    """
    found = np.full((len(runs), steps // every + 1), np.nan)
    for run, curve in zip(runs, found, strict=True):
        name = run.manifest.metric
        if steps == 0:  # the best parameters are the initial ones
            curve[0] = run.results[f"best_validation_{name}"]
        rows = run.metrics.select("step", f"validation_{name}").drop_nulls()
        for step, value in rows.iter_rows():
            if step % every == 0:
                curve[step // every] = value
    return found


def result(runs: Sequence[Run], name: str) -> np.ndarray:
    """A final result of each run, such as ``test_accuracy``; NaN if it has none."""
    return np.array([run.results[name] for run in runs], float)
