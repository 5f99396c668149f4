"""Paired batches: every example beside its twin.

A twin differs from its example in the deciding input and in the target, and in nothing
else. In the sum of the two gradients what the other inputs contribute largely cancels,
while what tells the two targets apart adds up.
"""

import jax.numpy as jnp
from jaxtyping import PRNGKeyArray

from rnnjax.errors import UserError
from rnnjax.tasks.base import TASKS, Data, Task, TaskSpec
from rnnjax.types import Batch


def check_twins(kind: type[Task]) -> None:
    """Raise a `UserError` unless the examples of a task have twins."""
    if kind.twins is Task.twins:
        able = sorted(k for k, task in TASKS.items() if task.twins is not Task.twins)
        raise UserError(
            f"pairs=true: examples of task {kind.name} have no twins; those of "
            f"{', '.join(able)} have"
        )


def training_batch(
    task: Task, spec: TaskSpec, key: PRNGKeyArray, size: int, data: Data, pairs: bool
) -> Batch:
    """A training batch; with `pairs` half of it, and then the twins of that half."""
    if not pairs:
        return task.sample(key, size, data)
    ones = task.sample(key, size // 2, data)
    others = task.twins(ones)
    example = 0 if spec.readout == "last" else 1

    def join(name: str, axis: int) -> jnp.ndarray:
        return jnp.concatenate([getattr(b, name) for b in (ones, others)], axis=axis)

    return Batch(
        inputs=join("inputs", 1),
        targets=join("targets", example),
        mask=join("mask", 1),
        lengths=join("lengths", 0),
        informative=join("informative", 1),
    )
