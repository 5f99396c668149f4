"""Runs of a figure that trains: the same sweeps as on the command line."""

import dataclasses
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from rnnjax.devices import keep_compiled_programs, use_every_core
from rnnjax.errors import UserError
from rnnjax.run import Run, open_run
from rnnjax.sweeps.compose import compose_sweep, plan
from rnnjax.sweeps.launch import launch
from rnnjax.sweeps.progress import LiveProgress
from rnnjax.training.build import initial_params
from rnnjax.training.config import RunConfig


def sweep(pool: Path, *sweeps: Iterable[str]) -> list[Run]:
    """Train all jobs of some sweeps that the pool does not hold, packed together.

    Runs of other numeric code are computed again: results are of one commit.

    Args:
        pool: of the runs.
        sweeps: overrides of each, as behind ``rnnjax train -m``.

    Returns:
        The runs, in the order of the sweeps and of their jobs.

    Raises:
        UserError: anything wrong with a configuration, or a run failed.
    """
    use_every_core()
    keep_compiled_programs()
    own = [f"out={pool}", "stale=rerun"]
    made = [plan([*overrides, *own], multirun=True) for overrides in sweeps]
    jobs = [job for one in made for job in one.jobs]
    progress = LiveProgress(Console(stderr=True))
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
    """A network before and after training.

    Attributes:
        config: of its run.
        untrained, trained: parameters.
        metric: on held-out examples, after training; NaN without any.
    """

    config: RunConfig
    untrained: Any
    trained: Any
    metric: float


def before_and_after(pool: Path, steps: int, overrides: Sequence[str]) -> list[Trained]:
    """The networks of a sweep before and after `steps` updates.

    With no updates nothing is launched, and both are the same.

    Raises:
        UserError: see `sweep`.
    """
    if steps == 0:
        configs = [job.config for job in compose_sweep(overrides)]
        starts = [initial_params(config) for config in configs]
        return [
            Trained(config, start, start, math.nan)
            for config, start in zip(configs, starts, strict=True)
        ]
    runs = sweep(pool, [*overrides, f"steps={steps}", "probe=full", "probe.steps=[0]"])
    return [
        Trained(run.config, run.params_at(0), run.params, run.results["test_metric"])
        for run in runs
    ]
