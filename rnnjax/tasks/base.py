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

    def is_solved(self, value: float) -> bool:
        """Whether a value of the metric reaches `solved`."""
        return (
            value >= self.solved if self.metric == "accuracy" else value <= self.solved
        )


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

        For a generator: `size` fresh examples from a key of their own. For a data set:
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
