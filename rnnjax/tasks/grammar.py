"""An English-like grammar in which one word decides and all others are fillers.

Every part of speech has `CHOICES` words, so the entropy of every filler is ln 8 nats at
any position, and a sentence of n words consists of n independent uniform draws.
"""

CHOICES = 8

PARTS: dict[str, str] = {
    "negative": "terrible awful bad horrible poor dreadful nasty disappointing",
    "positive": "good great excellent wonderful lovely superb delicious fantastic",
    "noun": "food soup bread table room garden street window",
    "verb": "came arrived waited stayed appeared stood remained lay",
    "preposition": "from near behind beside under above outside across",
    "determiner": "the a this that every each one some",
    "adjective": "old small round wooden brown tall wide narrow",
    "manner": "quietly slowly silently steadily briefly openly separately together",
    "degree": "rather quite fairly very somewhat almost equally partly",
    "time": "today yesterday again later early tonight then once",
}
VERDICTS = ("frowned", "smiled")
PADDING = "·"

WORDS: tuple[str, ...] = (PADDING, *" ".join(PARTS.values()).split(), *VERDICTS)
"""The vocabulary; a word's token is its index. 0 is padding."""

FIRST: dict[str, int] = {part: 1 + CHOICES * i for i, part in enumerate(PARTS)}
"""Token of the first word of each part of speech; the other seven follow."""

FIRST_VERDICT = len(WORDS) - len(VERDICTS)

_PHRASE = ("preposition", "determiner", "adjective", "noun")
_REST = ((), ("manner",), ("degree", "manner"), ("preposition", "determiner", "noun"))


def _fillers(count: int) -> tuple[str, ...]:
    """Parts of speech of adverbs and prepositional phrases with `count` words."""
    return _REST[count % 4] + _PHRASE * (count // 4)


def sentence_parts(distance: int, length: int) -> tuple[str, ...]:
    """Parts of speech of a sentence, with the deciding word `distance` from the end.

    The deciding word is always listed as ``negative``, whose words are the first of the
    sixteen opinions.

    Args:
        distance: position of the deciding word counted from the end, at least 2.
        length: number of words, at least `distance`.

    >>> sentence_parts(4, 4)
    ('negative', 'noun', 'verb', 'time')
    >>> sentence_parts(2, 3)
    ('determiner', 'negative', 'noun')
    """
    before = length - distance
    prefix = (*_fillers(before - 1), "determiner") if before else ()
    core = ("negative", "noun", "verb")
    if distance <= len(core):
        return prefix + core[:distance]
    return (*prefix, *core, *_fillers(distance - 4), "time")
