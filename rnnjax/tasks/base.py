"""What a task is: data with a known dependency length.

A task is a frozen dataclass: its fields are its configuration, so that two equal
tasks give the same examples. Synthetic tasks generate inside `jit`; data sets are
loaded once into host arrays and indexed by key.
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
"""Arrays that a data set brings along; empty for a task that generates."""

TASKS: Registry[type["Task"]] = Registry("task")
"""Tasks by name."""

register_task = TASKS.register
"""Decorator ``@register_task("name")``, which a configuration finds the class by."""


@dataclasses.dataclass(frozen=True)
class TaskSpec:
    """Everything a model and a report need to know of a task.

    Attributes:
        length: number of time steps T of every batch.
        vocabulary: number of tokens, or None when the inputs are vectors.
        input_size: size m of an input vector (1 for tokens, unused).
        output_size: classes, or size q of a regression target.
        loss: `cross_entropy` (nats) or `squared_error`, averaged over masked steps.
        readout: whether the model answers once, from its last states, or at every step.
        metric: `accuracy` (higher is better) or `mean_squared_error` (lower is better).
        baseline: the metric of the best predictor without memory of earlier steps.
        baseline_loss: its loss.
        solved: the metric from which on the task counts as solved.
        scored: the metric counts this many last loss steps of each example (None: all).
        constant: the metric of the best constant answer on the test split, for a data
            set whose `baseline` is a constant answer; None: `baseline` is exact.
        way: `solved` lies this share of the way from the constant answer to a perfect
            one; None: it is fixed.
        classes: names of the classes in the order of the outputs; None: their numbers.
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

    def is_solved(self, value: float) -> bool:
        """Whether a value of the metric reaches `solved` and beats `constant`."""
        sign = 1 if self.metric == "accuracy" else -1
        beaten = self.constant is None or sign * value > sign * self.constant
        return beaten and sign * value >= sign * self.solved

    def judged_on(self, targets: np.ndarray) -> "TaskSpec":
        """The same for these held-out examples and no others.

        Where `constant` is known it becomes the best constant answer to these targets,
        the baseline too, and `solved` lies `way` from there to a perfect answer.

        Args:
            targets: classes ``(N,)`` or values ``(N, q)`` of the scored steps.
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
    """The metric of the best answer that is the same for every example.

    The share of the most frequent class ``(N,)``, or the variance of values ``(N, q)``,
    averaged over q.

    >>> best_constant("accuracy", np.array([0, 2, 2, 1]))
    0.5
    >>> best_constant("mean_squared_error", np.array([[1.0], [3.0]]))
    1.0
    """
    if metric == "accuracy":
        return float(np.bincount(targets).max() / len(targets))
    return float(targets.var(axis=0, dtype=np.float64).mean())


def part_way(metric: Metric, start: float, share: float) -> float:
    """The metric that lies `share` of the way from `start` to a perfect answer.

    >>> part_way("accuracy", 0.5, 0.9)
    0.95
    """
    return start + share * (1 - start) if metric == "accuracy" else start * (1 - share)


@dataclasses.dataclass(frozen=True)
class Task:
    """Base of all tasks.

    A subclass states its fields, `spec`, `sample`, and for a data set `load` and
    `heldout`. `sample` must work under `jit`: its shapes depend on the fields, the
    shapes of the data and `batch` alone.
    """

    name: ClassVar[str] = ""

    def load(self) -> Data:
        """Host arrays of the data set (read once, then kept on the device)."""
        return {}

    def spec(self, data: Data) -> TaskSpec:
        """Sizes, loss, metric, memoryless baseline, and when it counts as solved."""
        raise NotImplementedError

    def sample(self, key: PRNGKeyArray, batch: int, data: Data) -> Batch:
        """A training batch, a pure function of its arguments."""
        raise NotImplementedError

    def heldout(self, split: Split, size: int, data: Data) -> Batch:
        """A fixed batch of held-out examples, the same for every run of this task.

        For a generator: `size` fresh examples from a key of their own (a generator of
        few examples holds some out, see `rnnjax.tasks.held_out`). For a data set:
        the first `size` examples of the split, or all if it has fewer.
        """
        purpose = {"train": 0, "validation": 1, "test": 2}[split]
        key = jax.random.fold_in(jax.random.key(20_261_122), purpose)
        return compiled_sample(self, key, size, data)

    def references(self) -> dict[str, float]:
        """Test figures of simpler methods on the same data, by name."""
        return {}

    def words(self, tokens: ArrayLike) -> list[str]:
        """Human-readable labels of the steps of one example, ``tokens (T,)``."""
        return [str(token) for token in np.asarray(tokens).tolist()]


@functools.partial(jax.jit, static_argnames=("task", "batch"))
def compiled_sample(task: Task, key: PRNGKeyArray, batch: int, data: Data) -> Batch:
    """`Task.sample` as one program; a task is hashable, being frozen."""
    return task.sample(key, batch, data)
