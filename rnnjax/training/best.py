"""The parameters with which each run of a pack did best on the validation examples."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import Bool, Float

from rnnjax.tasks.base import TaskSpec


class Best:
    """The best parameters so far, kept on the host and updated at each evaluation.

    Args:
        params: parameters of all runs, NumPy arrays with a leading axis of runs.
        spec: specification of the task; decides which of two metrics is better.
    """

    def __init__(self, params: Any, spec: TaskSpec) -> None:
        runs = jax.tree.leaves(params)[0].shape[0]
        self._spec = spec
        self.step = np.full(runs, -1, np.int64)
        self.metric = np.full(runs, np.nan)
        self.params = jax.tree.map(np.array, params)

    def offer(
        self,
        step: int,
        metrics: Float[np.ndarray, "runs"],
        params: Any,
        which: Bool[np.ndarray, "runs"],
    ) -> None:
        """Keep the parameters of those chosen runs that did better than ever before."""
        sign = 1 if self._spec.metric == "accuracy" else -1
        better = (self.step < 0) | (sign * metrics > sign * self.metric)
        chosen = which & better & ~np.isnan(metrics)
        self.step[chosen], self.metric[chosen] = step, metrics[chosen]
        for kept, new in zip(
            jax.tree.leaves(self.params), jax.tree.leaves(params), strict=True
        ):
            kept[chosen] = new[chosen]

    def tree(self) -> dict[str, Any]:
        """Steps, metrics and parameters, as arrays with a leading axis of runs."""
        return {"step": self.step, "metric": self.metric, "params": self.params}

    def restore(self, tree: Mapping[str, Any]) -> None:
        """Restore the result of `tree`."""
        copied = jax.tree.map(np.array, dict(tree))
        self.step, self.metric = copied["step"], copied["metric"]
        self.params = copied["params"]

    def restore_runs(self, trees: Sequence[Mapping[str, Any]]) -> None:
        """Restore from one tree per run, each without the axis of runs (see `of`)."""
        self.restore(jax.tree.map(lambda *leaves: np.stack(leaves), *trees))

    def of(self, run: int) -> dict[str, Any]:
        """The part of `tree` that belongs to one run, without the axis of runs."""
        return jax.tree.map(lambda leaf: np.array(leaf[run]), self.tree())

    def results(self, run: int, test: float) -> dict[str, float | None]:
        """Final numbers of a run; None if it was never evaluated.

        Args:
            run: index of the run in the pack.
            test: metric on the test examples with the parameters kept here.
        """
        known, metric = self.step[run] >= 0, self._spec.metric
        return {
            "best_step": int(self.step[run]) if known else None,
            f"best_validation_{metric}": float(self.metric[run]) if known else None,
            f"best_test_{metric}": test if known else None,
        }
