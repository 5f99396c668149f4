"""Split text into words, and map words to tokens."""

import re
import unicodedata
import warnings
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from rnnjax.errors import UserError


PADDING, UNKNOWN = 0, 1
SPECIAL = ("·", "<unknown>")
"""Tokens 0 and 1 of every vocabulary made from text."""

BREAK = re.compile(r"<br\s*/?>", re.IGNORECASE)
"""A line break in HTML, as it occurs in texts from web pages."""

APOSTROPHES = "\u2019\u02bc\uff07"
"""Characters that are replaced by '; the first one is the typographic apostrophe."""

ZERO_WIDTH_SPACE = "\u200b"
"""Separates words, unlike the other invisible characters."""


class _Letters(dict[int, str]):
    """A table for `str.translate` that turns all but words into spaces.

    Letters, digits, combining marks and ' are kept. Invisible characters that do not
    separate words, such as a soft hyphen, are deleted.
    """

    def __missing__(self, code: int) -> str:
        char = chr(code)
        kind = unicodedata.category(char)
        if char in APOSTROPHES:
            char = "'"
        elif kind == "Cf" and char != ZERO_WIDTH_SPACE:
            char = ""
        elif not (char.isalnum() or char == "'" or kind.startswith("M")):
            char = " "
        self[code] = char
        return char


class _Marks(dict[int, str]):
    """The same, but every other visible character is kept, with spaces around it."""

    def __missing__(self, code: int) -> str:
        char, kept = chr(code), _LETTERS[code]
        mark = kept == " " and not char.isspace() and char != ZERO_WIDTH_SPACE
        self[code] = f" {char} " if mark else kept
        return self[code]


_LETTERS, _MARKS = _Letters(), _Marks()


def words_of(text: str) -> list[str]:
    """Lower-case words: runs of letters, digits and ' with at least one letter.

    Letters of all scripts count, including combining marks. The text is composed (NFC),
    U+2019 counts as an apostrophe and ``<br />`` as a space. Text in scripts without
    spaces between words is not split.

    >>> words_of("Don't waste $20, 10/10 on MP3s!")
    ["don't", 'waste', 'on', 'mp3s']
    >>> words_of("Фильм<br />отличный, café d’Or")
    ['фильм', 'отличный', 'café', "d'or"]
    """
    runs = _composed(BREAK.sub(" ", text), _LETTERS)
    return [run for run in runs if any(map(str.isalpha, run))]


def words_and_marks(text: str) -> list[str]:
    """Lower-case runs of letters, digits and ', and every other character separately.

    Letters and apostrophes are as in `words_of`; white space is left out.

    >>> words_and_marks("Non, c’est 10/10!")
    ['non', ',', "c'est", '10', '/', '10', '!']
    """
    return _composed(text, _MARKS)


def _composed(text: str, table: dict[int, str]) -> list[str]:
    # compose last, because a deleted character may have preceded a combining accent
    return unicodedata.normalize("NFC", text.lower().translate(table)).split()


def check_known(
    where: str, training: np.ndarray, heldout: Sequence[np.ndarray]
) -> None:
    """Reject a text if most of its words are the unknown token.

    If most words of the held-out parts are unknown, there is only a warning.

    Args:
        where: name of the file.
        training: tokens of the training part, including padding.
        heldout: tokens of the other parts.

    Raises:
        UserError: most words of all parts together are not in the vocabulary.
    """
    counts = np.array(
        [
            [np.sum(part != PADDING), np.sum(part == UNKNOWN)]
            for part in (training, *heldout)
        ]
    )
    words, unknown = counts.sum(axis=0)
    if 2 * unknown > words:
        raise UserError(
            f"{where}: {unknown} of {words} words are not in the vocabulary; raise "
            "task.max_vocabulary, or put spaces between the words"
        )
    words, unknown = counts[1:].sum(axis=0)
    if 2 * unknown > words:
        warnings.warn(
            f"{where}: {unknown} of {words} words in the validation and test parts do "
            "not occur in the training part",
            stacklevel=2,
        )


def most_frequent(words: Iterable[str], size: int) -> list[str]:
    """The `size` most frequent words; ties are in alphabetical order.

    >>> most_frequent("b a c b c d".split(), 3)
    ['b', 'c', 'a']
    """
    counts = Counter(words)
    return sorted(counts, key=lambda word: (-counts[word], word))[:size]


def token_of(vocabulary: Sequence[str]) -> dict[str, int]:
    """The inverse of a vocabulary: a word's token is its index."""
    return {word: token for token, word in enumerate(vocabulary)}


def encode(words: Iterable[str], tokens: Mapping[str, int]) -> list[int]:
    """Tokens of words; words outside the vocabulary become `UNKNOWN`.

    >>> encode(["good", "cat"], token_of([*SPECIAL, "good"]))
    [2, 1]
    """
    return [tokens.get(word, UNKNOWN) for word in words]
