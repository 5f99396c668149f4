"""Real sentences with a sentiment: does the opinion reach the end?"""

import dataclasses
import functools
from pathlib import Path
from typing import ClassVar

import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Int

from rnnjax.errors import UserError
from rnnjax.tasks.base import TASKS, Data, TaskSpec
from rnnjax.tasks.checks import LONGEST, SEEDS, check_choice, check_int, check_path
from rnnjax.tasks.dataset import IndexedTask, class_shares, entropy, split_rows
from rnnjax.tasks.files import Stamp, stamp
from rnnjax.tasks.labelled import read_labelled
from rnnjax.tasks.masks import last_step, valid_steps
from rnnjax.tasks.sentiment_files import CHOICES, sentence_files
from rnnjax.tasks.vocabulary import (
    SPECIAL,
    UNKNOWN,
    encode,
    most_frequent,
    token_of,
    words_of,
)
from rnnjax.types import Batch


NEUTRAL = tuple(f"({word})" for word in "and then it was there so here also".split())
"""Words that `pad` appends; they have tokens of their own, whatever a review says."""

FIRST_WORD = len(SPECIAL) + len(NEUTRAL)


@TASKS.register("reviews")
@dataclasses.dataclass(frozen=True)
class Reviews(IndexedTask):
    """Sentences from a file, label 0 (negative) or 1 (positive) asked at the last word.

    By default the UCI "Sentiment Labelled Sentences" (Kotzias et al., KDD 2015), 1000
    sentences each from amazon, imdb and yelp; see `labelled.read_labelled` for other
    files and `sentiment_files.sentence_files` for where they are looked for. Words are
    lower case, see `vocabulary.words_of`; the vocabulary is taken from the training
    split alone, by frequency, and its size in the specification is `max_vocabulary`
    whatever the split. A sentence without any word (two say 10/10) is one unknown
    token. Every file and sentence is used; the split is by line, and a few lines occur
    twice. `informative` marks the words of the review, not the ones that `pad` adds.

    Baseline: always the more frequent class of the training split, about .5, with the
    entropy of the classes as its loss. Solved from accuracy .75 on: our choice, near
    what a bag of words reaches (`bag_of_words.bag_of_words_accuracy`).

    Attributes:
        path: a file or a folder; None: the data folder, else a download.
        files: ``all``, or the files of a folder whose name starts so.
        max_vocabulary: tokens, the special and the neutral ones included.
        pad: neutral words put after each sentence, so that its end lies far back.
        split: seed of the split into 80, 10 and 10 %.
        length: steps T; None: the longest sentence plus `pad`. Longer sentences are cut
            at their end to ``length − pad`` words.
    """

    name: ClassVar[str] = "reviews"
    path: str | None = None
    files: str = "all"
    max_vocabulary: int = 4000
    pad: int = 0
    split: int = 0
    length: int | None = None

    def __post_init__(self) -> None:
        check_path("path", self.path)
        check_choice("files", self.files, CHOICES)
        check_int("max_vocabulary", self.max_vocabulary, FIRST_WORD + 1, LONGEST)
        check_int("pad", self.pad, 0, LONGEST)
        check_int("split", self.split, 0, SEEDS)
        if self.length is not None:
            check_int("length", self.length, max(2, self.pad + 1), LONGEST)

    def load(self) -> Data:
        """Tokens ``(N, T)``, word counts and labels ``(N,)``, rows of each split.

        Raises:
            UserError: see `labelled.read_labelled` and `sentiment_files`.
        """
        return self._corpus()[0]

    def vocabulary(self) -> tuple[str, ...]:
        """The words by token."""
        return self._corpus()[1]

    def references(self) -> dict[str, float]:
        """The logistic regression on word counts, see `bag_of_words`."""
        from rnnjax.tasks.bag_of_words import bag_of_words_accuracy

        return {"bag_of_words": bag_of_words_accuracy(self).test}

    def words(self, tokens: ArrayLike) -> list[str]:
        """The words of a sentence."""
        vocabulary = self.vocabulary()
        return [vocabulary[token] for token in np.asarray(tokens).tolist()]

    def spec(self, data: Data) -> TaskSpec:
        """Sizes and baselines, see the class."""
        shares = class_shares(np.asarray(data["labels"])[np.asarray(data["train"])])
        return TaskSpec(
            length=data["tokens"].shape[1],
            vocabulary=self.max_vocabulary,
            input_size=1,
            output_size=2,
            loss="cross_entropy",
            readout="last",
            metric="accuracy",
            baseline=float(shares.max()),
            baseline_loss=entropy(shares),
            solved=0.75,
        )

    def gather(self, rows: Int[Array, "B"], data: Data) -> Batch:
        """These sentences; T is the padded length of all."""
        inputs = jnp.asarray(data["tokens"])[rows].T
        words = jnp.asarray(data["words"])[rows]
        lengths = words + self.pad
        return Batch(
            inputs=inputs,
            targets=jnp.asarray(data["labels"])[rows],
            mask=last_step(lengths, inputs.shape[0]),
            lengths=lengths,
            informative=valid_steps(words, inputs.shape[0]),
        )

    def _corpus(self) -> tuple[Data, tuple[str, ...]]:
        files = sentence_files(self.path, self.files)
        return _read(self, tuple(map(stamp, files)))


@functools.lru_cache(maxsize=8)
def _read(task: Reviews, files: tuple[Stamp, ...]) -> tuple[Data, tuple[str, ...]]:
    """Arrays and vocabulary; kept as long as the files do not change."""
    lines = [line for file in files for line in read_labelled(Path(file[0]))]
    sentences = [words_of(text) for text, _ in lines]
    longest = max(1, *map(len, sentences))
    steps = task.length or max(2, longest + task.pad)
    sentences = [sentence[: steps - task.pad] for sentence in sentences]
    where = ", ".join(file[0] for file in files)
    rows = split_rows(len(lines), task.split, where)
    known = most_frequent(
        (word for row in rows["train"] for word in sentences[row]),
        task.max_vocabulary - FIRST_WORD,
    )
    vocabulary = (*SPECIAL, *NEUTRAL, *known)
    neutral = np.random.default_rng(0).integers(
        len(SPECIAL), FIRST_WORD, (len(lines), task.pad)
    )
    tokens = np.zeros((len(lines), steps), np.int32)
    words = np.zeros(len(lines), np.int32)
    known_tokens = token_of(vocabulary)
    for row, sentence in enumerate(sentences):
        ids = encode(sentence, known_tokens) or [UNKNOWN]
        words[row] = len(ids)
        tokens[row, : len(ids) + task.pad] = [*ids, *neutral[row].tolist()]
    labels = np.array([label for _, label in lines], np.int32)
    if len(np.unique(labels[rows["train"]])) < 2:
        raise UserError(
            f"{where}: all {len(rows['train'])} training sentences have label "
            f"{labels[rows['train'][0]]}; both 0 and 1 must occur"
        )
    return {"tokens": tokens, "words": words, "labels": labels, **rows}, vocabulary
