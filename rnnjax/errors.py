"""Errors meant for the person at the keyboard: one sentence, no traceback."""

import difflib
import re
import unicodedata
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any


LONGEST_WORD, LONGEST_MESSAGE = 400, 4000
"""Letters of a word, and of a message, that a terminal is given."""

_HIDDEN = frozenset(("Cc", "Cf", "Cs", "Zl", "Zp"))
"""Kinds of characters that steer a terminal, turn text round, or show nothing."""

_JOINERS = "\u200c\u200d"
"""Show nothing, but words of some scripts, and some pictures, need them."""


class UserError(Exception):
    """Something in the input is wrong; the message names it in one sentence.

    The command line prints the message and exits with status 2. Library users can
    catch it like any exception.
    """


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A closing phrase with the nearest valid names, or all of them if few.

    >>> did_you_mean("sigmoyd", ["sigmoid", "tanh"])
    'did you mean sigmoid?'
    >>> did_you_mean("zzz", ["tanh", "relu"])
    'known: relu, tanh'
    """
    names = sorted(map(str, known))
    if not names:
        return "there is none"
    near = difflib.get_close_matches(str(name), names, n=3, cutoff=0.6)
    if near:
        return f"did you mean {' or '.join(near)}?"
    shown = ", ".join(names[:24]) + (", …" if len(names) > 24 else "")
    return f"known: {shown}"


def unknown(kind: str, name: str, known: Iterable[str]) -> UserError:
    """The error for a name that no registry or schema holds."""
    return UserError(f"unknown {kind} '{name}'; {did_you_mean(name, known)}")


def one_line(error: Exception) -> str:
    """Kind and first line of an error that is not ours; the sentence of one that is.

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
    """Text as a terminal or a picture can show it: harmless, and not too long.

    Control characters are written as Python writes them; of a word or a text that is
    too long the beginning and the end are left. Whatever a user, a file or a library
    put into a message goes through here before it is printed.

    Args:
        text: anything.
        keep: control characters that stand as they are: line ends of our own.
        longest: letters of the whole.

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
    """Print warnings as sentences, without the line of code that they come from."""

    def sentence(message: Warning | str, *_: Any, **__: Any) -> str:
        return f"rnnjax: warning: {shown(str(message))}\n"

    before, warnings.formatwarning = warnings.formatwarning, sentence
    try:
        yield
    finally:
        warnings.formatwarning = before
