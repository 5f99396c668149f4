"""Sentiment of real sentences: does the opinion reach the end of the sentence?"""

import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Int

from rnnjax.checks import LONGEST, SEEDS, check_choice, check_int, check_path
from rnnjax.errors import UserError
from rnnjax.tasks.bag_of_words import BagOfWords, bag_of_words_accuracy
from rnnjax.tasks.base import TASKS, Data, TaskSpec, best_constant, part_way
from rnnjax.tasks.dataset import IndexedTask, class_shares, entropy, split_rows
from rnnjax.tasks.masks import last_step, valid_steps
from rnnjax.tasks.readers.labelled import class_names, read_labelled
from rnnjax.tasks.readers.sentiment import CHOICES, sentence_files
from rnnjax.tasks.readers.text_files import Stamp, stamp
from rnnjax.tasks.vocabulary import (
    SPECIAL,
    UNKNOWN,
    check_known,
    encode,
    most_frequent,
    token_of,
    words_of,
)
from rnnjax.types import Batch


NEUTRAL = tuple(f"({word})" for word in "and then it was there so here also".split())
"""Words that `pad` appends; they have their own tokens, distinct from review words."""

FIRST_WORD = len(SPECIAL) + len(NEUTRAL)

WAY = 0.5
"""Solved: this fraction of the way from the best constant answer to a perfect one."""


@dataclasses.dataclass(frozen=True)
class Corpus:
    """Content of the files: arrays, the words by token, the classes by number."""

    data: Data
    vocabulary: tuple[str, ...]
    classes: tuple[str, ...]


@TASKS.register("reviews")
@dataclasses.dataclass(frozen=True)
class Reviews(IndexedTask):
    """Sentences from a file; their label is asked for at the last word.

    Labels are 0 (negative) and 1 (positive), or two or more names, which are numbered
    in alphabetical order (`TaskSpec.classes`). The default is the UCI "Sentiment
    Labelled Sentences" (Kotzias et al., KDD 2015), 1000 sentences each from amazon,
    imdb and yelp. See `readers.labelled.read_labelled` for other files, and
    `readers.sentiment.sentence_files` for where files are searched. Words are
    lower-cased, see `vocabulary.words_of`. The vocabulary consists of the most frequent
    words of the training split only; its size in the specification is always
    `max_vocabulary`, whatever the split. A sentence without any word (two say 10/10)
    becomes one unknown token. Every file and sentence is used; the split is by line,
    and a few lines occur twice. `informative` marks the words of the review, not those
    that `pad` adds.

    Baseline: always the most frequent class of the training split, by default .5, with
    the entropy of the classes as its loss. The task is solved halfway between that and
    1, by default at an accuracy of .75 (our choice, near the accuracy of a bag of
    words, `bag_of_words.bag_of_words_accuracy`). When a run is evaluated, the most
    frequent class among the evaluated sentences is used instead.

    Attributes:
        path: a file or a folder; None: the data folder if there is one, otherwise a
            download.
        files: ``all``, or the files of a folder whose names start with this word.
        max_vocabulary: number of tokens, including the special and neutral ones.
        pad: number of neutral words appended to each sentence, which moves the sentence
            away from the last step.
        split: seed of the split into 80, 10 and 10 %; the classes have the same shares
            in each part.
        length: number of steps T; None: the longest sentence plus `pad`. Longer
            sentences are truncated at their end to ``length − pad`` words.
        skip_empty: whether to leave out lines with a label but no text; otherwise such
            lines are an error.
    """

    name: ClassVar[str] = "reviews"
    path: str | None = None
    files: str = "all"
    max_vocabulary: int = 4000
    pad: int = 0
    split: int = 0
    length: int | None = None
    skip_empty: bool = False

    def __post_init__(self) -> None:
        check_path("task.path", self.path)
        check_choice("task.files", self.files, CHOICES)
        check_int("task.max_vocabulary", self.max_vocabulary, FIRST_WORD + 1, LONGEST)
        check_int("task.pad", self.pad, 0, LONGEST)
        check_int("task.split", self.split, 0, SEEDS)
        check_choice("task.skip_empty", self.skip_empty, (False, True))
        if self.length is not None:
            check_int("task.length", self.length, max(2, self.pad + 1), LONGEST)

    def load(self) -> Data:
        """Tokens ``(N, T)``, word counts and labels ``(N,)``, rows of each split.

        Raises:
            UserError: see `readers.labelled.read_labelled` and `readers.sentiment`.
        """
        return self._corpus().data

    def vocabulary(self) -> tuple[str, ...]:
        """The vocabulary: the word of each token."""
        return self._corpus().vocabulary

    def references(self) -> dict[str, float]:
        """Accuracy of logistic regression on word counts, see `bag_of_words`."""
        return {"bag_of_words": self.bag_of_words().test}

    def bag_of_words(self) -> BagOfWords:
        """Held-out accuracy with word counts only; `pad` has no effect on it."""
        return bag_of_words_accuracy(self.load(), self.max_vocabulary, FIRST_WORD)

    def words(self, tokens: ArrayLike) -> list[str]:
        """The words of a sentence."""
        vocabulary = self.vocabulary()
        return [vocabulary[token] for token in np.asarray(tokens).tolist()]

    def spec(self, data: Data) -> TaskSpec:
        """Sizes and baselines, see the class."""
        labels, classes = np.asarray(data["labels"]), self._corpus().classes
        shares = class_shares(labels[np.asarray(data["train"])])
        baseline = float(shares.max())
        return TaskSpec(
            length=data["tokens"].shape[1],
            vocabulary=self.max_vocabulary,
            input_size=1,
            output_size=len(classes),
            loss="cross_entropy",
            readout="last",
            metric="accuracy",
            baseline=baseline,
            baseline_loss=entropy(shares),
            solved=part_way("accuracy", baseline, WAY),
            constant=best_constant("accuracy", labels[np.asarray(data["test"])]),
            way=WAY,
            classes=classes,
        )

    def gather(self, rows: Int[Array, "B"], data: Data) -> Batch:
        """The batch of these sentences; T is the padded length of all sentences."""
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

    def _corpus(self) -> Corpus:
        files = sentence_files(self.path, self.files)
        return _read(self, tuple(map(stamp, files)))


@functools.lru_cache(maxsize=8)
def _read(task: Reviews, files: tuple[Stamp, ...]) -> Corpus:
    """Arrays and vocabulary; cached as long as the files do not change."""
    where = ", ".join(file[0] for file in files)
    lines = [
        line for file in files for line in read_labelled(Path(file[0]), task.skip_empty)
    ]
    classes = class_names(where, [label for _, label in lines])
    labels = np.array(
        [
            label if isinstance(label, int) else classes.index(label)
            for _, label in lines
        ],
        np.int32,
    )
    sentences = _sentences(where, [text for text, _ in lines])
    longest = max(1, *map(len, sentences))
    steps = task.length or max(2, longest + task.pad)
    sentences = [sentence[: steps - task.pad] for sentence in sentences]
    rows = split_rows(len(lines), task.split, where, labels, classes)
    if len(np.unique(labels[rows["train"]])) < 2:
        raise UserError(
            f"{where}: all {len(rows['train'])} training sentences have label "
            f"{classes[labels[rows['train'][0]]]}; at least two labels must occur"
        )
    known = most_frequent(
        (word for row in rows["train"] for word in sentences[row]),
        task.max_vocabulary - FIRST_WORD,
    )
    vocabulary = (*SPECIAL, *NEUTRAL, *known)
    tokens, words = _encoded(sentences, vocabulary, steps)
    check_known(
        where,
        tokens[rows["train"]],
        (tokens[rows["validation"]], tokens[rows["test"]]),
    )
    neutral = np.random.default_rng(0).integers(
        len(SPECIAL), FIRST_WORD, (len(lines), task.pad)
    )
    behind = words[:, None] + np.arange(task.pad)
    np.put_along_axis(tokens, behind, neutral.astype(np.int32), axis=1)
    data = {"tokens": tokens, "words": words, "labels": labels, **rows}
    return Corpus(data, vocabulary, classes)


def _sentences(where: str, texts: Sequence[str]) -> list[list[str]]:
    """The words of each text.

    Raises:
        UserError: most of the pieces between white space contain no word.
    """
    sentences = [words_of(text) for text in texts]
    pieces = sum(len(text.split()) for text in texts)
    words = sum(map(len, sentences))
    if 2 * words < pieces:
        raise UserError(
            f"{where}: only {words} of {pieces} pieces of text are words (contain a "
            "letter); for sequences of numbers use task=arrays"
        )
    return sentences


def _encoded(
    sentences: Sequence[Sequence[str]], vocabulary: Sequence[str], steps: int
) -> tuple[np.ndarray, np.ndarray]:
    """Tokens ``(N, T)`` and their count ``(N,)``; no words give one unknown token."""
    known = token_of(vocabulary)
    tokens = np.zeros((len(sentences), steps), np.int32)
    words = np.zeros(len(sentences), np.int32)
    for row, sentence in enumerate(sentences):
        ids = encode(sentence, known) or [UNKNOWN]
        words[row] = len(ids)
        tokens[row, : len(ids)] = ids
    return tokens, words
