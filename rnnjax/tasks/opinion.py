"""Sentences whose label depends on one word at a chosen distance from the end."""

import dataclasses
import math
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import PRNGKeyArray

from rnnjax.checks import LONGEST, check_choice, check_int
from rnnjax.errors import UserError
from rnnjax.tasks.base import TASKS, Data, Split, Task, TaskSpec
from rnnjax.tasks.grammar import (
    CHOICES,
    FIRST,
    FIRST_VERDICT,
    VERDICTS,
    WORDS,
    sentence_parts,
)
from rnnjax.tasks.held_out import SMALL, keep_apart, of_part
from rnnjax.tasks.masks import last_step
from rnnjax.types import Batch


@TASKS.register("opinion")
@dataclasses.dataclass(frozen=True)
class Opinion(Task):
    """ "good food came today": only the adjective matters, all other words are noise.

    The deciding word is one of 8 negative and 8 positive adjectives. The other words
    (fillers) are drawn independently of it and of each other, from 8 words for each
    part of speech, so they contain no information about the label. The vocabulary does
    not depend on the fields.

    Two forms:
    ``sentiment``: the label (0 negative, 1 positive) is asked for at the last word.
    Baseline: accuracy 1/2, loss ln 2.
    ``next_word``: every step predicts the next word, and the last step predicts the
    verdict that would follow ("smiled" after a positive adjective, "frowned" after a
    negative one). The verdict is a target and never an input, and only the verdict is
    scored. Baseline accuracy 1/2. `baseline_loss` is the loss of a predictor that knows
    only the position in the sentence: the mean over the steps of the entropy of the
    next word, which is ln 8 for a filler, ln 16 for the opinion (if it is not the first
    word) and ln 2 for the verdict.

    Solved if the accuracy is at least .95 (our choice).

    There are so few sentences of up to 6 words (8192 of 4 words) that training would
    see all of them. Therefore a quarter of them is held out, an eighth for validation
    and an eighth for test (see `rnnjax.tasks.held_out`; its digits are the indices of
    the words in their lists).

    Attributes:
        distance: position of the deciding word counted from the end, at least 2.
        length: words per sentence; None: `distance`, so that the deciding word is the
            first one. In longer sentences fillers precede it.
        form: ``sentiment`` or ``next_word``.
    """

    name: ClassVar[str] = "opinion"
    distance: int = 4
    length: int | None = None
    form: str = "sentiment"

    def __post_init__(self) -> None:
        check_int("task.distance", self.distance, 2, LONGEST)
        check_choice("task.form", self.form, ("sentiment", "next_word"))
        if self.length is not None:
            check_int("task.length", self.length, 2, LONGEST)
            if self.length < self.distance:
                raise UserError(
                    f"task.length={self.length} is not at least task.distance "
                    f"({self.distance})"
                )

    @property
    def steps(self) -> int:
        """Number of words in a sentence, T."""
        return self.distance if self.length is None else self.length

    @property
    def _is_small(self) -> bool:
        """Whether there are few sentences; fillers have 8 choices, the opinion 16."""
        return self.steps < 10 and 2 * CHOICES**self.steps < SMALL

    def spec(self, data: Data) -> TaskSpec:
        """Sizes and baselines, see the class."""
        every = self.form == "next_word"
        fillers = (self.steps - 1) * math.log(CHOICES)
        opinion = math.log(2) if self.distance < self.steps else 0.0
        predicted = (fillers + opinion + math.log(2)) / self.steps
        return TaskSpec(
            length=self.steps,
            vocabulary=len(WORDS),
            input_size=1,
            output_size=len(WORDS) if every else len(VERDICTS),
            loss="cross_entropy",
            readout="every" if every else "last",
            metric="accuracy",
            baseline=0.5,
            baseline_loss=predicted if every else math.log(2),
            solved=0.95,
            ragged=False,
            scored=1 if every else None,
        )

    def sample(self, key: PRNGKeyArray, batch: int, data: Data) -> Batch:
        """Fresh sentences; the label is a fair coin."""
        # one draw of bits, taken modulo powers of two, is exactly uniform and compiles
        # much faster than a draw of integers for each part
        bits = jax.random.bits(key, (self.steps + 1, batch))
        parts = sentence_parts(self.distance, self.steps)
        first = np.array([FIRST[part] for part in parts], np.int32)
        place = self.steps - self.distance
        shape = (self.steps, batch)
        fillers = (bits[:-1] % np.uint32(CHOICES)).astype(jnp.int32)
        opinion = (bits[-1] % np.uint32(2 * CHOICES)).astype(jnp.int32)
        if self._is_small:
            digits = fillers.at[place].set(opinion % CHOICES)
            fillers = keep_apart(data, digits, bits[-2], CHOICES)
        words = jnp.asarray(first)[:, None] + fillers
        label = opinion // CHOICES
        words = words.at[place].set(FIRST["negative"] + opinion)
        lengths = jnp.full((batch,), self.steps, jnp.int32)
        if self.form == "next_word":
            verdict = FIRST_VERDICT + label
            targets = jnp.concatenate([words[1:], verdict[None, :]])
            mask = jnp.ones(shape, jnp.float32)
        else:
            targets, mask = label, last_step(lengths, self.steps)
        informative = jnp.zeros(shape, bool).at[place].set(True)
        return Batch(words, targets, mask, lengths, informative)

    def twins(self, batch: Batch) -> Batch:
        """The sentences with the deciding word of the other opinion."""
        place, first = self.steps - self.distance, FIRST["negative"]
        other = (batch.inputs[place] - first + CHOICES) % (2 * CHOICES) + first
        words = batch.inputs.at[place].set(other)
        if self.form != "next_word":
            return dataclasses.replace(batch, inputs=words, targets=1 - batch.targets)
        verdict = 2 * FIRST_VERDICT + 1 - batch.targets[-1:]
        targets = jnp.concatenate([words[1:], verdict])
        return dataclasses.replace(batch, inputs=words, targets=targets)

    def heldout(self, split: Split, size: int, data: Data) -> Batch:
        """See `Task.heldout`; if there are few sentences, the splits are disjoint."""
        kept = of_part(split, data) if self._is_small else data
        return super().heldout(split, size, kept)

    def words(self, tokens: ArrayLike) -> list[str]:
        """The words of a sentence."""
        return [WORDS[token] for token in np.asarray(tokens).tolist()]
