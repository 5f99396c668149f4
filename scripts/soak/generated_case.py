"""One generated input: what is done with it, and whether the answer is good."""

import contextlib
import dataclasses
import io
import os
import re
import tempfile
import traceback
import unicodedata
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

from rnnjax.errors import UserError


MARKER = "executed"
"""A file that only code inside of data or of a configuration would write."""

STATUSES = (0, 1, 2)

FAULTS = ("traceback", "hang", "crash", "words", "status", "left", "executed")


@dataclasses.dataclass(frozen=True)
class Input:
    """What is thrown at the command line, or at a reader of the library.

    Attributes:
        kind: ``command lines``, ``data files`` or ``pool files``.
        words: of the command; what `read` reads, if that is given.
        read: called instead of a command; a `UserError` counts as a refusal.
        writes: whether a refusal may leave other files than there were: a launch that
            sets damaged runs aside does.
    """

    kind: str
    words: Sequence[str]
    read: Callable[[], object] | None = None
    writes: bool = False


@dataclasses.dataclass(frozen=True)
class Outcome:
    """``right``, ``refused`` or one of `FAULTS`, and the sentence or the reason."""

    verdict: str
    words: str = ""


def judged(make: Callable[[], Input], tell: Callable[[Input], object]) -> Outcome:
    """Make an input in an empty folder, do it there, and judge what comes of it.

    Args:
        make: fills the present folder.
        tell: called with the input before it is tried.
    """
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        given = make()
        tell(given)
        before = _files()
        said, complaint = io.StringIO(), io.StringIO()
        with warnings.catch_warnings(), contextlib.redirect_stdout(said):
            warnings.simplefilter("ignore")  # as Python does, but each of ours is said
            warnings.simplefilter("always", UserWarning)
            with contextlib.redirect_stderr(complaint):
                try:
                    status = _done(given)
                except BaseException as error:
                    lines = traceback.format_exception(error)[-8:]
                    return Outcome("traceback", "".join(lines)[-1500:])
        if _is_there(MARKER):
            return Outcome("executed", "code inside of data was executed")
        found = _judge(given, status, said.getvalue(), complaint.getvalue())
        if found.verdict == "refused" and not given.writes and _files() != before:
            return Outcome("left", f"{_files() ^ before} after: {found.words}")
        return found


def _is_there(name: str) -> bool:
    return any(Path().rglob(name))


def _done(given: Input) -> int:
    from rnnjax.cli.main import main

    if given.read is None:
        return main(given.words)
    try:
        given.read()
    except UserError as error:
        print(f"rnnjax: {error}", file=io.StringIO())
        return 2 if len(str(error).splitlines()) == 1 else -1
    return 0


def _files() -> set[str]:
    return {os.path.join(top, f) for top, _, files in os.walk(".") for f in files}


def _judge(given: Input, status: int, said: str, complaint: str) -> Outcome:
    both = said + complaint
    if "Traceback (most recent call last)" in both:
        return Outcome("traceback", both[-1500:])
    if status not in STATUSES:
        return Outcome("status", f"status {status}: {both[-300:]}")
    if given.read is not None:
        return Outcome("refused" if status else "right")
    if hidden := sorted({c for c in both if _steers(c)}):
        return Outcome("words", f"control characters {hidden}: {both[-300:]}")
    lines = [line for line in complaint.splitlines() if line.strip()]
    if status == 2 and given.words[0] not in ("verify",):
        if not lines or not lines[-1].startswith("rnnjax: "):
            return Outcome("words", f"no sentence: {both[-500:]}")
        own = [one for one in lines if not one.startswith("rnnjax: warning: ")]
        if len(own) > 1 and given.words[0] != "train":
            return Outcome("words", f"more than a sentence: {complaint[-500:]}")
        found = _library_words(lines[-1])
        if found and given.kind != "pool files":  # a forged record may be named so
            return Outcome("words", f"{found} in: {lines[-1]}")
        return Outcome("refused", lines[-1])
    if status == 1 and given.words[0] in ("train", "probe", "search", "runs", "list"):
        return Outcome("status", f"failed: {both[-800:]}")
    return Outcome("right" if status < 2 else "refused", (lines or [""])[-1])


def _steers(character: str) -> bool:
    return unicodedata.category(character) in ("Cc", "Cs") and character not in "\n\r\t"


def _library_words(line: str) -> str:
    """The type of an exception that a sentence names; not of others' code."""
    if "Error parsing override" in line or "mine.py" in line:
        return ""
    found = re.search(
        r"\b(fails|failed): ?\w*(Error|Exception)\b|<[\w.]+ object at 0x|"
        r"\b(KeyError|AttributeError|IndexError|AssertionError|UnboundLocalError|"
        r"RecursionError|MemoryError|OverflowError|TypeError|NotImplementedError)\b",
        line,
    )
    return found[0] if found else ""
