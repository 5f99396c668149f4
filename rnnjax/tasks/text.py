"""Predict the next character or word of any text file."""

import dataclasses
import functools
from pathlib import Path
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Int, PRNGKeyArray

from rnnjax.checks import LONGEST, check_choice, check_int, check_path
from rnnjax.errors import UserError
from rnnjax.paths import user_path
from rnnjax.tasks.base import TASKS, Data, Split, Task, TaskSpec, best_constant
from rnnjax.tasks.dataset import entropy
from rnnjax.tasks.readers.text_files import (
    DATA_VARIABLE,
    Stamp,
    data_folder,
    read_text,
    stamp,
)
from rnnjax.tasks.vocabulary import (
    SPECIAL,
    check_known,
    encode,
    most_frequent,
    token_of,
    words_and_marks,
)
from rnnjax.types import Batch


DEFAULT_FILE = "tinyshakespeare.txt"


@TASKS.register("text")
@dataclasses.dataclass(frozen=True)
class Text(Task):
    """Predict the next token at every step of a window of text.

    The file is cut into contiguous parts: 90 % training, 5 % validation, 5 % test.
    Training windows start anywhere in their part (drawn with replacement); held-out
    windows follow one another without overlap. The vocabulary is taken from the
    training part: the most frequent characters, or the most frequent words and
    punctuation marks. All other tokens are mapped to the unknown token.

    Baseline: order 0, always the most frequent token of the training part, with the
    entropy of its tokens as the loss. The task is solved at the validation accuracy of
    the bigram table (the most frequent successor of each token in the training part),
    measured on the file, or at the baseline if that is higher. A network that beats the
    bigram table uses more than the current token.

    Attributes:
        path: a UTF-8 text file; None: tinyshakespeare.txt in the data folder.
        unit: ``char`` or ``word``.
        length: number of steps T of a window, at least 2.
        max_vocabulary: largest number of tokens, including the special ones.
    """

    name: ClassVar[str] = "text"
    path: str | None = None
    unit: str = "char"
    length: int = 64
    max_vocabulary: int = 5000

    def __post_init__(self) -> None:
        check_path("task.path", self.path)
        check_choice("task.unit", self.unit, ("char", "word"))
        check_int("task.length", self.length, 2, LONGEST)
        check_int("task.max_vocabulary", self.max_vocabulary, len(SPECIAL) + 1, LONGEST)

    def load(self) -> Data:
        """Token streams of the three parts, counts and successors ``(V,)``.

        Raises:
            UserError: there is no file, it is not UTF-8, or it is too short for one
                window in each part.
        """
        return self._corpus()[0]

    def words(self, tokens: ArrayLike) -> list[str]:
        """The characters or words of a window."""
        vocabulary = self._corpus()[1]
        return [vocabulary[token] for token in np.asarray(tokens).tolist()]

    def spec(self, data: Data) -> TaskSpec:
        """Sizes and baselines, see the class."""
        counts = np.asarray(data["counts"])
        shares = counts / counts.sum()
        stream, test, successor = (
            np.asarray(data[part]) for part in ("validation", "test", "successor")
        )
        bigram = float(np.mean(successor[stream[:-1]] == stream[1:]))
        return TaskSpec(
            length=self.length,
            vocabulary=len(counts),
            input_size=1,
            output_size=len(counts),
            loss="cross_entropy",
            readout="every",
            metric="accuracy",
            baseline=float(shares.max()),
            baseline_loss=entropy(shares),
            solved=max(bigram, float(shares.max())),
            ragged=False,
            constant=best_constant("accuracy", test[1:]),
        )

    def sample(self, key: PRNGKeyArray, batch: int, data: Data) -> Batch:
        """Windows that start at random positions in the training part."""
        stream = jnp.asarray(data["train"])
        places = stream.shape[0] - self.length
        starts = jax.random.randint(key, (batch,), 0, places, jnp.int32)
        return self._windows(starts, stream)

    def heldout(self, split: Split, size: int, data: Data) -> Batch:
        """The first `size` windows of the part, or all if it has fewer."""
        stream = jnp.asarray(data[split])
        count = min(size, (stream.shape[0] - 1) // self.length)
        return self._windows(jnp.arange(count, dtype=jnp.int32) * self.length, stream)

    def _windows(self, starts: Int[Array, "B"], stream: Int[Array, "N"]) -> Batch:
        steps = jnp.arange(self.length, dtype=jnp.int32)[:, None] + starts[None, :]
        return Batch(
            inputs=stream[steps],
            targets=stream[steps + 1],
            mask=jnp.ones(steps.shape, jnp.float32),
            lengths=jnp.full(starts.shape, self.length, jnp.int32),
            informative=jnp.ones(steps.shape, bool),
        )

    def _corpus(self) -> tuple[Data, tuple[str, ...]]:
        if self.path is not None:
            return _read(self, stamp(user_path(self.path)))
        folder = data_folder("text")
        if folder is None:
            raise UserError(
                f"task text has no file: set task.path, or put {DEFAULT_FILE} into the "
                f"folder ${DATA_VARIABLE}/text"
            )
        return _read(self, stamp(folder / DEFAULT_FILE))


def successors(stream: np.ndarray, size: int) -> np.ndarray:
    """The most frequent successor of each token, ``(size,)``; 0 if it has none.

    >>> successors(np.array([1, 2, 1, 2, 1, 1]), 3).tolist()
    [0, 2, 1]
    """
    pairs, counts = np.unique(
        stream[:-1].astype(np.int64) * size + stream[1:], return_counts=True
    )
    table = np.zeros(size, np.int32)
    order = np.argsort(counts, kind="stable")
    table[pairs[order] // size] = pairs[order] % size
    return table


@functools.lru_cache(maxsize=4)
def _read(task: Text, file: Stamp) -> tuple[Data, tuple[str, ...]]:
    """Streams and vocabulary; cached as long as the file does not change."""
    text = read_text(Path(file[0]))
    units = words_and_marks(text) if task.unit == "word" else text
    first, second = len(units) * 90 // 100, len(units) * 95 // 100
    parts = {
        "train": units[:first],
        "validation": units[first:second],
        "test": units[second:],
    }
    shortest = min(map(len, parts.values()))
    if shortest <= task.length:
        raise UserError(
            f"{file[0]} is too short: its shortest part has {shortest} {task.unit}s, "
            f"but task.length is {task.length}"
        )
    known = most_frequent(parts["train"], task.max_vocabulary - len(SPECIAL))
    vocabulary = (*SPECIAL, *known)
    tokens = token_of(vocabulary)
    streams = {
        part: np.array(encode(content, tokens), np.int32)
        for part, content in parts.items()
    }
    check_known(file[0], streams["train"], (streams["validation"], streams["test"]))
    size = len(vocabulary)
    arrays = {
        "counts": np.bincount(streams["train"], minlength=size),
        "successor": successors(streams["train"], size),
    }
    return {**streams, **arrays}, vocabulary
