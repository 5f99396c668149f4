"""What a pack has recorded so far, in arrays that a checkpoint can hold."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from rnnjax.tasks.base import TaskSpec
from rnnjax.tasks.length_classes import length_buckets
from rnnjax.training.config import RunConfig
from rnnjax.training.evaluation import by_class
from rnnjax.training.resume_state import ResumeState
from rnnjax.types import Batch


COLUMNS = (
    "loss",
    "{metric}",
    "grad_norm",
    "grad_norm_max",
    "clipped",
    "update_ratio",
    "validation_loss",
    "validation_{metric}",
)
"""Columns of the metrics; ``{metric}`` stands for the name of the task's metric."""


@dataclasses.dataclass(frozen=True)
class Outcome:
    """The outcome of one run.

    Attributes:
        status: `done` or `diverged`.
        steps: number of updates made.
        diverged_at: the update at which the run diverged, or None.
        metrics: columns of equal length: `step` and `COLUMNS` (NaN: not evaluated).
        measurements: what the probe returned, by training step.
        params_at: the parameters at these steps; None for a light probe.
        params: final parameters.
        best: parameters at the best validation metric; None if those are the final
            parameters or the run was never evaluated.
        kept: the state from which a longer run can resume; None for a run that ended
            early.
        results: validation and test figures, and whether the task was solved.
        seconds: this run's share of the wall time of the pack, in proportion to its
            updates.
        compile_seconds: compile time of the whole pack.
        resumed_from: number of updates made by the shorter run from which this run was
            resumed.
    """

    status: str
    steps: int
    diverged_at: int | None
    metrics: Mapping[str, np.ndarray]
    measurements: Mapping[int, Any]
    params_at: Mapping[int, Any]
    params: Any
    results: dict[str, float | bool | None]
    seconds: float
    compile_seconds: float
    best: Any = None
    kept: ResumeState | None = None
    resumed_from: int = 0


class History:
    """Rows of metrics, measurements, and which runs are still active."""

    def __init__(self, runs: int) -> None:
        self.runs = runs
        self.active = np.ones(runs, bool)
        self.ended_at = np.full(runs, -1, np.int64)
        self.diverged_at = np.full(runs, -1, np.int64)
        self.rows: list[dict[str, np.ndarray]] = []
        self.measured: dict[int, list[np.ndarray]] = {}
        self.chosen: dict[int, np.ndarray] = {}
        self._saved_rows = 0
        self._saved_measurements: set[int] = set()

    def add_row(
        self, step: int, meters: Sequence[Any], scores: Any, active: np.ndarray
    ) -> None:
        """Add one row for every active run; NaN for the others."""
        table = np.full((self.runs, len(COLUMNS)), np.nan)
        for i, meter in enumerate(meters):
            if not active[i]:
                continue
            count = max(int(meter.count), 1)
            means = (meter.loss, meter.metric, meter.grad_norm)
            table[i, :3] = [float(x) / count for x in means]
            table[i, 3] = float(meter.grad_norm_max)
            table[i, 4] = float(meter.clipped) / count
            table[i, 5] = float(meter.update_ratio) / count
            if scores is not None:
                table[i, 6:] = [float(x) for x in scores[i][:2]]
        row = {"step": np.array([step]), "table": table[None], "active": active[None]}
        self.rows.append({k: np.array(v) for k, v in row.items()})

    def add_measurement(
        self, step: int, found: Sequence[Any], chosen: np.ndarray
    ) -> None:
        """Add the measurements, with parameters, of the chosen runs at a training step.

        Runs that already have a measurement at this step keep it.
        """
        leaves = jax.tree.leaves(jax.tree.map(lambda *x: np.stack(x), *found))
        known = self.chosen.get(step, np.zeros(self.runs, bool))
        for leaf, old in zip(leaves, self.measured.get(step, leaves), strict=True):
            leaf[known] = old[known]
        self.measured[step] = leaves
        self.chosen[step] = known | chosen
        self._saved_measurements.discard(step)

    def lacks_measurement(self, steps: np.ndarray) -> np.ndarray:
        """Which runs have no measurement yet, each at its own training step."""
        none = np.zeros(self.runs, bool)
        found = [self.chosen.get(int(s), none)[i] for i, s in enumerate(steps)]
        return ~np.array(found, bool)

    def mark_diverged(self, which: np.ndarray, at: np.ndarray) -> None:
        """Mark runs as frozen because they diverged."""
        self.diverged_at[which] = at[which]
        self.ended_at[which] = at[which] - 1
        self.active &= ~which

    def mark_finished(self, which: np.ndarray, at: int) -> None:
        """Mark runs that have made their last update."""
        self.ended_at[which] = at
        self.active &= ~which

    def of(self, run: int, before: int) -> dict[str, Any]:
        """Rows and measurements of one run that were made before update `before`."""
        rows = [row for row in self.rows if row["active"][0, run]]
        rows = [row for row in rows if row["step"][0] < before]
        table = [row["table"][0, run] for row in rows]
        return {
            "rows": {
                "step": np.array([row["step"][0] for row in rows], np.int64),
                "table": np.array(table, np.float64).reshape(-1, len(COLUMNS)),
            },
            "measured": {
                step: [np.array(leaf[run]) for leaf in leaves]
                for step, leaves in self.measured.items()
                if self.chosen[step][run] and step < before
            },
        }

    @classmethod
    def continued(cls, runs: Sequence[ResumeState]) -> "History":
        """Merge the histories of runs that are resumed together in a pack."""
        history = cls(len(runs))
        everyone = np.ones(len(runs), bool)
        tables = np.stack([run.rows["table"] for run in runs], axis=1)
        for step, table in zip(runs[0].rows["step"], tables, strict=True):
            row = {"step": step[None], "table": table[None], "active": everyone[None]}
            history.rows.append({k: np.array(v) for k, v in row.items()})
        for step in runs[0].measured:
            pieces = zip(*(run.measured[step] for run in runs), strict=True)
            history.measured[step] = [np.stack(leaves) for leaves in pieces]
            history.chosen[step] = everyone.copy()
        return history

    def new_parts(self) -> dict[str, dict[str, np.ndarray]]:
        """The entries that are new since the last checkpoint."""
        parts: dict[str, dict[str, np.ndarray]] = {
            "flags": {
                "active": self.active[None],
                "ended_at": self.ended_at[None],
                "diverged_at": self.diverged_at[None],
            }
        }
        fresh = self.rows[self._saved_rows :]
        if fresh:
            parts["rows"] = {
                k: np.concatenate([row[k] for row in fresh]) for k in fresh[0]
            }
        for step in sorted(set(self.measured) - self._saved_measurements):
            leaves = {f"leaf{i}": x[None] for i, x in enumerate(self.measured[step])}
            parts[f"probe{step}"] = leaves | {"chosen": self.chosen[step][None]}
        self._saved_rows = len(self.rows)
        self._saved_measurements = set(self.measured)
        return parts

    @classmethod
    def resumed(cls, runs: int, parts: Mapping[str, Mapping[str, Any]]) -> "History":
        """Rebuild a history from the parts of a checkpoint."""
        history = cls(runs)
        flags = parts["flags"]
        history.active = np.array(flags["active"][-1])
        history.ended_at = np.array(flags["ended_at"][-1])
        history.diverged_at = np.array(flags["diverged_at"][-1])
        rows = parts.get("rows", {"step": np.zeros(0)})
        for i in range(len(rows["step"])):
            history.rows.append({k: np.array(v[i : i + 1]) for k, v in rows.items()})
        for name, part in parts.items():
            if name.startswith("probe"):
                step = int(name.removeprefix("probe"))
                count = len(part) - 1
                history.measured[step] = [part[f"leaf{i}"][-1] for i in range(count)]
                history.chosen[step] = np.array(part["chosen"][-1])
        history._saved_rows = len(history.rows)
        history._saved_measurements = set(history.measured)
        return history


def outcomes(
    history: History,
    configs: Sequence[RunConfig],
    params: Sequence[Any],
    tests: Sequence[Any],
    spec: TaskSpec,
    test: Batch,
    measured_as: Any,
    seconds: float,
    compile_seconds: float,
    start: int = 0,
) -> list[Outcome]:
    """One outcome per run, made from what was recorded.

    Args:
        history: history of the pack.
        configs: its runs.
        params: final parameters of each run.
        tests: (loss, metric, metric of each example) on the test examples, of each run.
        spec: specification of the task, with the baselines of the test examples.
        test: the test examples.
        measured_as: tree structure of a measurement with its parameters.
        seconds: wall time of the pack.
        compile_seconds: compile time of its program.
        start: the update at which the pack began.
    """
    made = np.maximum(np.asarray(history.ended_at) - start, 0)
    parts = made / made.sum() if made.sum() else np.full(len(configs), 1 / len(configs))
    found = []
    for i, config in enumerate(configs):
        rows = [row for row in history.rows if row["active"][0, i]]
        table = np.array([row["table"][0, i] for row in rows]).reshape(-1, len(COLUMNS))
        names = [name.format(metric=spec.metric) for name in COLUMNS]
        metrics = {name: table[:, j] for j, name in enumerate(names)}
        metrics = {"step": np.array([int(row["step"][0]) for row in rows])} | metrics
        diverged, ended = int(history.diverged_at[i]), int(history.ended_at[i])
        validation = metrics[f"validation_{spec.metric}"]
        validation = validation[~np.isnan(validation)]
        loss, metric = (float(x) for x in tests[i][:2])
        seen = {
            step: jax.tree.unflatten(measured_as, [leaf[i] for leaf in leaves])
            for step, leaves in sorted(history.measured.items())
            if history.chosen[step][i]
        }
        last = float(validation[-1]) if validation.size else None
        found.append(
            Outcome(
                status="diverged" if diverged >= 0 else "done",
                steps=ended,
                diverged_at=diverged if diverged >= 0 else None,
                metrics=metrics,
                measurements={step: pair[0] for step, pair in seen.items()},
                params_at={step: pair[1] for step, pair in seen.items()},
                params=params[i],
                results={
                    "test_loss": loss,
                    f"test_{spec.metric}": metric,
                    f"validation_{spec.metric}": last,
                    "solved": spec.is_solved(metric),
                    "baseline": spec.baseline,
                    "stopped_early": diverged < 0 and ended < config.steps,
                }
                | by_length(
                    spec.metric, np.asarray(tests[i][2]), np.asarray(test.lengths)
                )
                | by_class(spec, np.asarray(tests[i][2]), np.asarray(test.targets)),
                seconds=float(seconds * parts[i]),
                compile_seconds=compile_seconds,
            )
        )
    return found


def by_length(metric: str, scores: np.ndarray, lengths: np.ndarray) -> dict[str, float]:
    """Metric and count of short, middle and long examples; {} if all have one length.

    >>> found = by_length("accuracy", np.array([1.0, 0.0, 1.0]), np.array([3, 4, 30]))
    >>> found["test_accuracy.short"]
    0.5
    """
    if lengths.min() == lengths.max():
        return {}
    buckets = length_buckets(lengths)
    found: dict[str, float] = {}
    for i, name in enumerate(("short", "middle", "long")):
        chosen = scores[buckets.index == i]
        found[f"test_count.{name}"] = chosen.size
        if chosen.size:
            found[f"test_{metric}.{name}"] = float(chosen.mean())
    return found
