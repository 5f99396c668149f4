"""Errors that a user can cause and fix: one sentence, no traceback."""

import difflib
import re
import unicodedata
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any


LONGEST_WORD, LONGEST_MESSAGE = 400, 4000
"""Largest numbers of characters of a word, and of a message, that are printed."""

_HIDDEN = frozenset(("Cc", "Cf", "Cs", "Zl", "Zp"))
"""Unicode categories that control a terminal, reverse text, or are invisible."""

_JOINERS = "\u200c\u200d"
"""Invisible, but needed to write words of some scripts, and some emoji."""


class UserError(Exception):
    """Something in the input is wrong; the message says what, in one sentence.

    The command line prints the message and exits with status 2. Code that uses the
    library can catch it like any exception.
    """


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The end of a message: the valid names nearest to `name`, or else a list of all.

    >>> did_you_mean("sigmoyd", ["sigmoid", "tanh"])
    'did you mean sigmoid?'
    >>> did_you_mean("zzz", ["tanh", "relu"])
    'known: relu, tanh'
    """
    names = sorted(map(str, known))
    if not names:
        return "none exist"
    near = difflib.get_close_matches(str(name), names, n=3, cutoff=0.6)
    if near:
        return f"did you mean {' or '.join(near)}?"
    shown = ", ".join(names[:24]) + (", …" if len(names) > 24 else "")
    return f"known: {shown}"


def unknown(kind: str, name: str, known: Iterable[str]) -> UserError:
    """The error for a name that is in no registry or schema."""
    return UserError(f"unknown {kind} '{name}'; {did_you_mean(name, known)}")


def one_line(error: Exception) -> str:
    """Type and first line of an error; of a `UserError`, only its sentence.

    >>> one_line(ValueError("no such column\\nsee above"))
    'ValueError: no such column'
    >>> one_line(UserError("steps=-1 is out of range"))
    'steps=-1 is out of range'
    >>> one_line(TypeError("these differ:\\n\\n  float32 and float64"))
    'TypeError: these differ: float32 and float64'
    """
    kind = "" if isinstance(error, UserError) else type(error).__name__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    first = (lines or [""])[0]
    if first.endswith(":"):  # a heading, not a sentence
        first = " ".join(lines[:2])
    return ": ".join(part for part in (kind, first) if part)


def shown(text: str, keep: str = "", longest: int = LONGEST_MESSAGE) -> str:
    """Text made safe and short enough to show on a terminal or in a figure.

    Control characters are escaped as in Python. A word or text that is too long is cut
    in the middle. Any text that comes from a user, a file or a library goes through
    this function before it is printed.

    Args:
        text: any text.
        keep: control characters that are not escaped, such as our own line ends.
        longest: the largest number of characters of the result.

    >>> shown("lr=\\x1b[31m1"), shown("a\\nb"), shown("a\\nb", keep="\\n")
    ('lr=\\\\x1b[31m1', 'a\\\\nb', 'a\\nb')
    >>> len(shown("x" * 10_000)), shown("größe ∂h₁")
    (400, 'größe ∂h₁')
    """
    plain = "".join(
        repr(c)[1:-1] if _is_hidden(c) and c not in keep else c
        for c in _shortened(text, 2 * longest)
    )
    words = re.sub(r"\S+", lambda word: _shortened(word[0], LONGEST_WORD), plain)
    return _shortened(words, longest)


def _is_hidden(character: str) -> bool:
    if character.isprintable() or character in _JOINERS:
        return False
    return unicodedata.category(character) in _HIDDEN


def _shortened(text: str, longest: int) -> str:
    if len(text) <= longest:
        return text
    end = longest // 4
    return f"{text[: longest - end - 1]}…{text[-end:]}"


@contextmanager
def plain_warnings() -> Iterator[None]:
    """Print warnings as sentences, without the line of code that caused them."""

    def sentence(message: Warning | str, *_: Any, **__: Any) -> str:
        return f"rnnjax: warning: {shown(str(message))}\n"

    before, warnings.formatwarning = warnings.formatwarning, sentence
    try:
        yield
    finally:
        warnings.formatwarning = before
