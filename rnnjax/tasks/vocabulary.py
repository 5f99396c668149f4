"""Words of a text, and the numbers that stand for them."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence


PADDING, UNKNOWN = 0, 1
SPECIAL = ("·", "<unknown>")
"""Tokens 0 and 1 of every vocabulary made from text."""

_WORD = re.compile(r"[a-z0-9']*[a-z][a-z0-9']*")


def words_of(text: str) -> list[str]:
    """Lower-case words: runs of a–z, 0–9 and ' that hold at least one letter.

    >>> words_of("Don't waste $20, 10/10 on MP3s!")
    ["don't", 'waste', 'on', 'mp3s']
    """
    return _WORD.findall(text.lower())


def most_frequent(words: Iterable[str], size: int) -> list[str]:
    """The `size` most frequent words; equal counts in alphabetical order.

    >>> most_frequent("b a c b c d".split(), 3)
    ['b', 'c', 'a']
    """
    counts = Counter(words)
    return sorted(counts, key=lambda word: (-counts[word], word))[:size]


def token_of(vocabulary: Sequence[str]) -> dict[str, int]:
    """The inverse of a vocabulary: a word's token is its place."""
    return {word: token for token, word in enumerate(vocabulary)}


def encode(words: Iterable[str], tokens: Mapping[str, int]) -> list[int]:
    """Tokens of words; a word that the vocabulary lacks is `UNKNOWN`.

    >>> encode(["good", "cat"], token_of([*SPECIAL, "good"]))
    [2, 1]
    """
    return [tokens.get(word, UNKNOWN) for word in words]
