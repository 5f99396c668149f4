"""Temporal order: in which order did X and Y occur among distractors?"""

import dataclasses
import math
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import PRNGKeyArray

from rnnjax.checks import LONGEST, check_choice, check_int
from rnnjax.tasks.base import TASKS, Data, Split, Task, TaskSpec
from rnnjax.tasks.held_out import SMALL, keep_apart, of_part
from rnnjax.tasks.masks import last_step
from rnnjax.types import Batch


LETTERS = "·abcdXYEB"
"""A letter's token is its index: padding, distractors a–d, X, Y, start E, trigger B."""
DISTRACTOR, SYMBOL, START, TRIGGER = (LETTERS.index(letter) for letter in "aXEB")

DISTRACTORS = 4

WINDOWS = {2: (0.10, 0.50), 3: (0.10, 0.33, 0.66)}
"""Where the windows of the symbols start, as fractions of the length."""


@TASKS.register("temporal_order")
@dataclasses.dataclass(frozen=True)
class TemporalOrder(Task):
    """Classify by the order of two (three) symbols X or Y far back in the sequence.

    Hochreiter & Schmidhuber 1997, experiments 6a and 6b: the sequence starts with E,
    ends with the trigger B, and consists of random distractors a, b, c, d except for
    one X or Y in each window: [.1, .2) and [.5, .6) of the length for 2 symbols,
    [.1, .2), [.33, .43) and [.66, .76) for 3. All sequences have the same length, as in
    Pascanu, Mikolov & Bengio 2013 (the original draws it from 100 to 110). The class is
    the symbols read as a binary number, X = 0, Y = 1, first symbol first.

    Baseline: accuracy 1/4 and loss ln 4 (1/8 and ln 8 for 3 symbols). Partial solutions
    are possible: a network that remembers all symbols but the first reaches accuracy
    1/2 and stays on a plateau with loss ln 2. Solved if the accuracy is at least .99.

    There are so few sequences of up to 12 steps (13 with 3 symbols) that training would
    see all of them. Therefore half of them is held out, a quarter for validation and a
    quarter for test (see `rnnjax.tasks.held_out`; its digits are the distractors).

    Attributes:
        length: number of steps T, at least 10.
        symbols: 2 (four classes) or 3 (eight classes).
    """

    name: ClassVar[str] = "temporal_order"
    length: int = 100
    symbols: int = 2

    def __post_init__(self) -> None:
        check_int("task.length", self.length, 10, LONGEST)
        check_choice("task.symbols", self.symbols, (2, 3))

    @property
    def _is_small(self) -> bool:
        """Whether there are few sequences; each symbol then has a fixed position."""
        if self.length >= 20:
            return False
        free = self.length - 2 - self.symbols
        return DISTRACTORS**free * 2**self.symbols < SMALL

    def spec(self, data: Data) -> TaskSpec:
        """Sizes and baselines, see the class."""
        classes = 2**self.symbols
        return TaskSpec(
            length=self.length,
            vocabulary=len(LETTERS),
            input_size=1,
            output_size=classes,
            loss="cross_entropy",
            readout="last",
            metric="accuracy",
            baseline=1 / classes,
            baseline_loss=math.log(classes),
            solved=0.99,
            ragged=False,
        )

    def sample(self, key: PRNGKeyArray, batch: int, data: Data) -> Batch:
        """Fresh sequences; all classes are equally likely."""
        key_noise, key_bits, key_places = jax.random.split(key, 3)
        begins = [int(part * self.length) for part in WINDOWS[self.symbols]]
        bits = jax.random.randint(key_bits, (self.symbols, batch), 0, 2, jnp.int32)
        offsets = jax.random.randint(
            key_places, (self.symbols, batch), 0, self.length // 10, jnp.int32
        )
        places = jnp.array(begins, jnp.int32)[:, None] + offsets
        tokens = jax.random.randint(
            key_noise,
            (self.length, batch),
            DISTRACTOR,
            DISTRACTOR + DISTRACTORS,
            jnp.int32,
        )
        if self._is_small:
            free = np.delete(np.arange(self.length), [0, *begins, self.length - 1])
            bits_apart = jax.random.bits(jax.random.fold_in(key_noise, 1), (batch,))
            digits = keep_apart(
                data, tokens[free] - DISTRACTOR, bits_apart, DISTRACTORS
            )
            tokens = tokens.at[free].set(DISTRACTOR + digits)
        tokens = tokens.at[0].set(START).at[-1].set(TRIGGER)
        columns = jnp.broadcast_to(jnp.arange(batch)[None, :], places.shape)
        weights = jnp.array([2**i for i in reversed(range(self.symbols))], jnp.int32)
        lengths = jnp.full((batch,), self.length, jnp.int32)
        return Batch(
            inputs=tokens.at[places, columns].set(SYMBOL + bits),
            targets=(weights[:, None] * bits).sum(axis=0),
            mask=last_step(lengths, self.length),
            lengths=lengths,
            informative=jnp.zeros(tokens.shape, bool).at[places, columns].set(True),
        )

    def twins(self, batch: Batch) -> Batch:
        """The sequences with the other symbol in the first of the deciding places."""
        first = jnp.argmax(batch.informative, axis=0)
        columns = jnp.arange(batch.inputs.shape[1])
        bit = batch.inputs[first, columns] - SYMBOL
        return dataclasses.replace(
            batch,
            inputs=batch.inputs.at[first, columns].set(SYMBOL + 1 - bit),
            targets=batch.targets + (1 - 2 * bit) * 2 ** (self.symbols - 1),
        )

    def heldout(self, split: Split, size: int, data: Data) -> Batch:
        """See `Task.heldout`; if there are few sequences, the splits are disjoint."""
        kept = of_part(split, data) if self._is_small else data
        return super().heldout(split, size, kept)

    def words(self, tokens: ArrayLike) -> list[str]:
        """The letters of a sequence."""
        return [LETTERS[token] for token in np.asarray(tokens).tolist()]
