"""Errors meant for the person at the keyboard: one sentence, no traceback."""

import difflib
from collections.abc import Iterable


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
