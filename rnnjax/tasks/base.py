"""The base of tasks: data with a known dependency length.

A task is a frozen dataclass whose fields are its configuration, so two equal tasks give
the same examples. Synthetic tasks generate examples inside `jit`; data sets are loaded
once into host arrays, from which rows are drawn with a random key.
"""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import jax
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import PRNGKeyArray

from rnnjax.registry import Registry
from rnnjax.types import Batch


Split = Literal["train", "validation", "test"]
Data = Mapping[str, Any]
"""Arrays of a data set; empty for a task that generates its examples."""

TASKS: Registry[type["Task"]] = Registry("task")
"""Tasks by name."""

register_task = TASKS.register
"""Decorator ``@register_task("name")``; configurations select the class by its name."""


@dataclasses.dataclass(frozen=True)
class TaskSpec:
    """Everything that models and reports need to know about a task.

    Attributes:
        length: number of time steps T of every batch.
        vocabulary: number of tokens, or None if the inputs are vectors.
        input_size: size m of an input vector (1 and unused for tokens).
        output_size: number of classes, or size q of a regression target.
        loss: `cross_entropy` (nats) or `squared_error`, averaged over the steps in the
            mask.
        readout: whether the model answers once, from its last states, or at every step.
        metric: `accuracy` (higher is better) or `mean_squared_error` (lower is better);
            files and tables call it by this name, as in ``test_accuracy``.
        baseline: the metric of the best predictor without memory of earlier steps.
        baseline_loss: the loss of that predictor.
        solved: the value of the metric at which the task counts as solved.
        scored: the metric uses only this many last loss steps of each example (None:
            all).
        constant: the metric of the best constant answer on the test split, for a data
            set whose `baseline` is a constant answer; None: `baseline` is exact.
        way: `solved` is this fraction of the way from the best constant answer to a
            perfect one; None: `solved` is fixed.
        classes: names of the classes in the order of the outputs; None: the classes are
            numbered.
        ragged: whether examples may have fewer than `length` steps. If not, training
            computes no masks.
    """

    length: int
    vocabulary: int | None
    input_size: int
    output_size: int
    loss: Literal["cross_entropy", "squared_error"]
    readout: Literal["last", "every"]
    metric: Literal["accuracy", "mean_squared_error"]
    baseline: float
    baseline_loss: float
    solved: float
    scored: int | None = None
    constant: float | None = None
    way: float | None = None
    classes: tuple[str, ...] | None = None
    ragged: bool = True

    def is_solved(self, value: float) -> bool:
        """Whether a value of the metric reaches `solved` and beats `constant`."""
        sign = 1 if self.metric == "accuracy" else -1
        beaten = self.constant is None or sign * value > sign * self.constant
        return beaten and sign * value >= sign * self.solved

    def judged_on(self, targets: np.ndarray) -> "TaskSpec":
        """The specification with the baselines of the given held-out examples.

        If `constant` is set, `constant` and `baseline` become the metric of the best
        constant answer to these targets, and `solved` is recomputed with `way`.

        Args:
            targets: classes ``(N,)`` or values ``(N, q)`` at the scored steps.
        """
        if self.constant is None:
            return self
        best = best_constant(self.metric, targets)
        solved = (
            self.solved if self.way is None else part_way(self.metric, best, self.way)
        )
        return dataclasses.replace(self, baseline=best, constant=best, solved=solved)


Metric = Literal["accuracy", "mean_squared_error"]


def best_constant(metric: Metric, targets: np.ndarray) -> float:
    """The metric of the best constant answer, the same for every example.

    It is the share of the most frequent class for classes ``(N,)``, or the variance,
    averaged over q, for values ``(N, q)``.

    >>> best_constant("accuracy", np.array([0, 2, 2, 1]))
    0.5
    >>> best_constant("mean_squared_error", np.array([[1.0], [3.0]]))
    1.0
    """
    if metric == "accuracy":
        return float(np.bincount(targets).max() / len(targets))
    return float(targets.var(axis=0, dtype=np.float64).mean())


def part_way(metric: Metric, start: float, share: float) -> float:
    """The metric a fraction `share` of the way from `start` to a perfect answer.

    >>> part_way("accuracy", 0.5, 0.9)
    0.95
    """
    return start + share * (1 - start) if metric == "accuracy" else start * (1 - share)


@dataclasses.dataclass(frozen=True)
class Task:
    """Base of all tasks.

    A subclass defines its fields, `spec`, `sample`, and for a data set also `load` and
    `heldout`. `sample` must work under `jit`: its shapes may depend only on the fields,
    the shapes of the data, and `batch`.
    """

    name: ClassVar[str] = ""

    def load(self) -> Data:
        """Host arrays of the data set (read once, then kept on the device)."""
        return {}

    def spec(self, data: Data) -> TaskSpec:
        """Sizes, loss, metric, memoryless baseline, and the threshold for solved."""
        raise NotImplementedError

    def sample(self, key: PRNGKeyArray, batch: int, data: Data) -> Batch:
        """A training batch, a pure function of its arguments."""
        raise NotImplementedError

    def heldout(self, split: Split, size: int, data: Data) -> Batch:
        """A fixed batch of held-out examples, the same for every run of this task.

        For a generated task: `size` fresh examples drawn with a separate random key (if
        only few examples exist, some are held out, see `rnnjax.tasks.held_out`). For a
        data set: the first `size` examples of the split, or all if it has fewer.
        """
        purpose = {"train": 0, "validation": 1, "test": 2}[split]
        key = jax.random.fold_in(jax.random.key(20_261_122), purpose)
        return compiled_sample(self, key, size, data)

    def twins(self, batch: Batch) -> Batch:
        """The same examples with the deciding input exchanged, and their targets.

        Optional, for `pairs=true` (`rnnjax.tasks.twins`). A pure function.
        """
        raise NotImplementedError

    def references(self) -> dict[str, float]:
        """Test results of simpler methods on the same data, by name."""
        return {}

    def words(self, tokens: ArrayLike) -> list[str]:
        """Human-readable labels of the steps of one example, ``tokens (T,)``."""
        return [str(token) for token in np.asarray(tokens).tolist()]


@functools.partial(jax.jit, static_argnames=("task", "batch"))
def compiled_sample(task: Task, key: PRNGKeyArray, batch: int, data: Data) -> Batch:
    """`Task.sample`, compiled; tasks are hashable because they are frozen."""
    return task.sample(key, batch, data)
