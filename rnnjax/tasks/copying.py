"""The copy problem: repeat ten symbols after a delay."""

import dataclasses
import math
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import PRNGKeyArray

from rnnjax.checks import LONGEST, check_int
from rnnjax.tasks.base import TASKS, Data, Task, TaskSpec
from rnnjax.types import Batch


RECALLED = 10
SYMBOLS = 8
BLANK, GO = 0, SYMBOLS + 1


@TASKS.register("copy")
@dataclasses.dataclass(frozen=True)
class Copy(Task):
    """Recall ten symbols in order after a delay and a go signal.

    Layout of Arjovsky, Shah & Bengio 2016: 10 symbols from {1, …, 8}, delay − 1 blanks
    (0), the go signal 9, 10 blanks; T = delay + 20. The target is blank for delay + 10
    steps, followed by the 10 symbols. The loss is the mean over all T steps.

    Baseline: blanks until the go signal, then a guess among 8 symbols: loss
    10·ln 8/(delay + 20), accuracy 1/8 over the last ten steps, which are the scored
    ones. Solved if the accuracy is at least .99.

    Attributes:
        delay: at least 1; a symbol must be recalled delay + 10 steps after it was seen.
    """

    name: ClassVar[str] = "copy"
    delay: int = 100

    def __post_init__(self) -> None:
        check_int("task.delay", self.delay, 1, LONGEST)

    def spec(self, data: Data) -> TaskSpec:
        """Sizes and baselines, see the class."""
        steps = self.delay + 2 * RECALLED
        return TaskSpec(
            length=steps,
            vocabulary=SYMBOLS + 2,
            input_size=1,
            output_size=SYMBOLS + 1,
            loss="cross_entropy",
            readout="every",
            metric="accuracy",
            baseline=1 / SYMBOLS,
            baseline_loss=RECALLED * math.log(SYMBOLS) / steps,
            solved=0.99,
            ragged=False,
            scored=RECALLED,
        )

    def sample(self, key: PRNGKeyArray, batch: int, data: Data) -> Batch:
        """Fresh sequences, inputs and targets ``(T, B)``."""
        shape = (self.delay + 2 * RECALLED, batch)
        symbols = jax.random.randint(key, (RECALLED, batch), 1, SYMBOLS + 1, jnp.int32)
        blanks = jnp.full(shape, BLANK, jnp.int32)
        return Batch(
            inputs=blanks.at[:RECALLED].set(symbols).at[-RECALLED - 1].set(GO),
            targets=blanks.at[-RECALLED:].set(symbols),
            mask=jnp.ones(shape, jnp.float32),
            lengths=jnp.full((batch,), shape[0], jnp.int32),
            informative=jnp.zeros(shape, bool).at[:RECALLED].set(True),
        )

    def words(self, tokens: ArrayLike) -> list[str]:
        """Digits for symbols, a dot for a blank, ``go`` for the signal."""
        return [
            {BLANK: "·", GO: "go"}.get(token, str(token))
            for token in np.asarray(tokens).tolist()
        ]
