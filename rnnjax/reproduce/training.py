"""Runs of a figure that trains: the same sweeps as on the command line."""

import dataclasses
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from rnnjax.devices import use_every_core
from rnnjax.errors import UserError
from rnnjax.run import Run, open_run
from rnnjax.sweeps.compose import compose_sweep, plan
from rnnjax.sweeps.launch import launch
from rnnjax.sweeps.progress import LiveProgress
from rnnjax.terminal import error_screen
from rnnjax.training.build import initial_params
from rnnjax.training.config import RunConfig


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
        config: of its run.
        stages: parameters at each of them.
        metric: on held-out examples, after training; NaN without any.
    """

    config: RunConfig
    stages: tuple[Any, ...]
    metric: float

    @property
    def untrained(self) -> Any:
        """Parameters of the first stage."""
        return self.stages[0]

    @property
    def trained(self) -> Any:
        """Parameters of the last stage."""
        return self.stages[-1]


def before_and_after(pool: Path, steps: int, overrides: Sequence[str]) -> list[Trained]:
    """The networks of a sweep before and after `steps` updates.

    Without updates nothing is launched, and the two are the same.

    Raises:
        UserError: see `sweep`.
    """
    return at_stages(pool, (0, steps), overrides)


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
            run.results["test_metric"],
        )
        for run in runs
    ]
