"""The adding problem: remember two marked numbers and give their sum."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import PRNGKeyArray

from rnnjax.checks import LONGEST, check_int
from rnnjax.tasks.base import TASKS, Data, Task, TaskSpec
from rnnjax.tasks.masks import last_step
from rnnjax.types import Batch


@TASKS.register("adding")
@dataclasses.dataclass(frozen=True)
class Adding(Task):
    """Add the values at two marked steps; inputs are a value from U(0, 1) and a marker.

    One step is marked in each half of the sequence, uniformly (Hochreiter & Schmidhuber
    1997, experiment 4, in the form of Le, Jaitly & Hinton 2015 and Arjovsky, Shah &
    Bengio 2016). The target at the last step is the sum of the two marked values.

    Baseline: the constant 1 has a mean squared error of 2 · 1/12 = 1/6 (one paper gives
    .1767, which is a mistake). Solved if the error is at most a tenth of the baseline,
    1/60 (our choice).

    Attributes:
        length: number of steps T, at least 2.
    """

    name: ClassVar[str] = "adding"
    length: int = 100

    def __post_init__(self) -> None:
        check_int("task.length", self.length, 2, LONGEST)

    def spec(self, data: Data) -> TaskSpec:
        """Sizes and baselines, see the class."""
        return TaskSpec(
            length=self.length,
            vocabulary=None,
            input_size=2,
            output_size=1,
            loss="squared_error",
            readout="last",
            metric="mean_squared_error",
            baseline=1 / 6,
            baseline_loss=1 / 6,
            solved=1 / 60,
            ragged=False,
        )

    def sample(self, key: PRNGKeyArray, batch: int, data: Data) -> Batch:
        """Fresh sequences: inputs ``(T, B, 2)``, targets ``(B, 1)``."""
        key_values, key_first, key_second = jax.random.split(key, 3)
        half = self.length // 2
        values = jax.random.uniform(key_values, (self.length, batch))
        first = jax.random.randint(key_first, (batch,), 0, half)
        second = jax.random.randint(key_second, (batch,), half, self.length)
        step = jnp.arange(self.length)[:, None]
        marked = (step == first[None, :]) | (step == second[None, :])
        lengths = jnp.full((batch,), self.length, jnp.int32)
        return Batch(
            inputs=jnp.stack([values, marked.astype(values.dtype)], axis=-1),
            targets=jnp.where(marked, values, 0.0).sum(axis=0)[:, None],
            mask=last_step(lengths, self.length),
            lengths=lengths,
            informative=marked,
        )

    def twins(self, batch: Batch) -> Batch:
        """The sequences with 1 − v in the place of the first marked number v."""
        first = jnp.argmax(batch.informative, axis=0)
        columns = jnp.arange(batch.inputs.shape[1])
        value = batch.inputs[first, columns, 0]
        return dataclasses.replace(
            batch,
            inputs=batch.inputs.at[first, columns, 0].set(1 - value),
            targets=batch.targets + (1 - 2 * value)[:, None],
        )
