"""Search for good configurations: optuna proposes, packs compute, runs are kept.

A trial is a configuration that is run with all requested seeds; its value is the mean
over the seeds. All trials of a round are packed together. The runs are ordinary runs of
the pool: a search that is started again finds them there, and in successive halving the
longer runs of later rounds resume from the shorter ones.
"""

import dataclasses
import itertools
import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import optuna
import polars as pl
from optuna.trial import TrialState

from rnnjax.errors import UserError, unknown
from rnnjax.store.rundir import RunDir, run_id_in
from rnnjax.sweeps.compose import Plan, plan
from rnnjax.sweeps.grid import ZIP, check_count
from rnnjax.sweeps.launch import launch
from rnnjax.sweeps.progress import Progress
from rnnjax.sweeps.quoting import quoted
from rnnjax.sweeps.schema import as_text
from rnnjax.sweeps.search_space import SearchConfig, Space, space_of
from rnnjax.training.build import signature
from rnnjax.training.pack import run_mesh


def search(
    overrides: Sequence[str],
    config: SearchConfig,
    config_dir: str | None = None,
    command: str = "",
    progress: Progress | None = None,
) -> "Search":
    """Search the space defined by the overrides.

    Args:
        overrides: as for ``rnnjax train -m``; in addition, ``lr=interval(1e-4,1e-1)``
            searches an interval, and ``tag(log,interval(…))`` does so on a log scale.
            Several seeds are averaged over, not searched. Probes are off by default.
        config: the method of the search.
        config_dir, command, progress: as of `plan` and `launch`.

    Raises:
        UserError: there is nothing to search, or a trial is invalid.
    """
    space = space_of(overrides, config_dir)
    made = Search(space, config, config_dir, command, progress or Progress())
    made.run()
    return made


@dataclasses.dataclass
class _Trial:
    asked: optuna.trial.Trial
    values: dict[str, Any]
    runs: tuple[RunDir, ...] = ()
    value: float | None = None
    steps: int = 0
    state: str = "done"


@dataclasses.dataclass
class Search:
    """A search: its arguments are those of `search`."""

    space: Space
    config: SearchConfig
    config_dir: str | None
    command: str
    progress: Progress

    def __post_init__(self) -> None:
        space, config = self.space, self.config
        first = self._plan([space.values(dict.fromkeys(space.lists, 0))])
        self.steps = first.jobs[0].config.steps
        self.seeds = len(first.jobs)
        self.settings = first.settings
        check_count(space.trials(config) * self.seeds, self.settings.max_jobs)
        metric = signature(first.jobs[0].config).spec.metric
        chosen = config.objective
        self.objective = f"best_validation_{metric}" if chosen is None else chosen
        self.larger = "loss" not in self.objective and metric == "accuracy"
        self.known: list[_Trial] = []
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        sampler = optuna.samplers.RandomSampler(seed=config.sampler_seed)
        if config.method == "tpe":
            sampler = optuna.samplers.TPESampler(
                seed=config.sampler_seed, constant_liar=True
            )
        self.study = optuna.create_study(
            direction="maximize" if self.larger else "minimize", sampler=sampler
        )

    def run(self) -> None:
        """Compute all trials."""
        config = self.config
        if config.method == "halving":
            left = self._ask(config.trials)
            for later in reversed(range(config.rounds)):  # number of rounds to come
                self._compute(left, max(1, round(self.steps / config.factor**later)))
                if later:
                    left = self._best(left, max(1, len(left) // config.factor))
        elif config.method == "tpe":
            slots = run_mesh().devices.size * self.settings.pack.places
            batch = max(1, slots // self.seeds)
            for first in range(0, config.trials, batch):
                some = self._ask(min(batch, config.trials - first))
                self._compute(some, self.steps)
                for trial in some:  # where to look next depends on what was found
                    lost = None if trial.state == "done" else TrialState.FAIL
                    self.study.tell(trial.asked, trial.value, lost)
        else:
            count = config.trials
            if config.method == "grid":
                grid = self.space.grid(config.points)
                points = list(itertools.product(*grid.values()))
                for point in points:
                    self.study.enqueue_trial(dict(zip(grid, point, strict=True)))
                count = len(points)
            self._compute(self._ask(count), self.steps)

    @property
    def trials(self) -> pl.DataFrame:
        """One row per trial, the best first: the searched keys, ``value``, ``steps``,
        ``state`` (done, stopped, failed), and ``runs``, their run ids.
        """
        rows: list[dict[str, Any]] = []
        for trial in self._best(self.known, len(self.known)):
            row = {
                key: as_text(value) if isinstance(value, list | Mapping) else value
                for key, value in trial.values.items()
            }
            row |= {key: getattr(trial, key) for key in ("value", "steps", "state")}
            runs = " ".join(run_id_in(run.path.name) for run in trial.runs)
            rows.append(row | {"runs": runs})
        return pl.DataFrame(rows, infer_schema_length=None)

    def _ask(self, count: int) -> list[_Trial]:
        made = []
        for _ in range(count):
            asked = self.study.ask(self.space.distributions)
            made.append(_Trial(asked, self.space.values(asked.params)))
        self.known += made
        return made

    def _compute(self, trials: Sequence[_Trial], steps: int) -> None:
        """Train trials up to `steps` updates; those with equal values share runs."""
        distinct = {as_text(trial.values): trial.values for trial in trials}
        made = self._plan(list(distinct.values()), steps)
        if len(made.jobs) != len(distinct) * self.seeds:
            raise UserError("two trials are the same run; a searched key has no effect")
        result = launch(made.jobs, made.settings, self.command, self.progress)
        starts = range(0, len(result.runs), self.seeds)
        parts = [result.runs[start : start + self.seeds] for start in starts]
        runs = dict(zip(distinct, parts, strict=True))
        for trial in trials:
            trial.runs, trial.steps = runs[as_text(trial.values)], steps
            trial.value = self._value(trial)
            trial.state = "stopped" if steps < self.steps else "done"
            if trial.value is None:
                trial.state = "failed"

    def _value(self, trial: _Trial) -> float | None:
        """Mean over the seeds; None if a run failed, diverged or lacks the result."""
        found = []
        for run in trial.runs:
            manifest = run.manifest()
            if manifest.status != "done":
                return None
            if self.objective not in manifest.results:
                raise unknown("objective", self.objective, manifest.results)
            found.append(manifest.results[self.objective])
            if found[-1] is None:
                return None
        value = statistics.fmean(found)
        return value if math.isfinite(value) else None

    def _best(self, trials: Sequence[_Trial], count: int) -> list[_Trial]:
        """The best `count` trials, best first; those with more steps rank higher."""
        worst = -math.inf

        def rank(trial: _Trial) -> tuple[int, float]:
            value = worst if trial.value is None else trial.value
            return trial.steps, value if self.larger or value == worst else -value

        return sorted(trials, key=rank, reverse=True)[:count]

    def _plan(
        self, values: Sequence[Mapping[str, Any]], steps: int | None = None
    ) -> Plan:
        fixed = list(self.space.fixed)
        if any(values):
            fixed = [f"{ZIP}={quoted([*values])}", *fixed]
        if steps is not None:
            fixed = [text for text in fixed if not text.startswith("steps=")]
            fixed.append(f"steps={steps}")
        return plan(fixed, multirun=True, config_dir=self.config_dir)
