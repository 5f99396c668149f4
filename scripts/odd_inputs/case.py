"""A case: what is done in a folder of its own, and which outcomes are good."""

import contextlib
import dataclasses
import io
import json
import os
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from rnnjax.errors import UserError


Refusal = Literal["never", "may", "must"]

TINY = "model.hidden=3 steps=2 batch=4 eval.size=8 eval.every=2 log_every=1 probe=off"
"""Overrides that make a run as cheap as it gets."""


class Wrong(AssertionError):
    """The product did something that is neither right nor a refusal."""


@dataclasses.dataclass(frozen=True)
class Case:
    """One odd input.

    Attributes:
        name: as the table shows it.
        kind: the module, which is the subject.
        do: called in an empty current folder; returns if all is right.
        refusal: whether a `UserError` is a good outcome as well, or the only one.
    """

    name: str
    kind: str
    do: Callable[[], object]
    refusal: Refusal = "may"


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What came of a case: ``right``, ``refused`` or ``wrong``, and why."""

    verdict: Literal["right", "refused", "wrong"]
    words: str = ""


CASES: list[Case] = []


def case(refusal: Refusal = "may") -> Callable[[Callable[[], object]], Any]:
    """Enter a function as a case; its name is the name."""

    def enter(do: Callable[[], object]) -> Callable[[], object]:
        add(do.__name__.replace("_", " "), do, refusal)
        return do

    return enter


def add(name: str, do: Callable[[], object], refusal: Refusal = "may") -> None:
    """Enter a case by name, of the module that `do` comes from."""
    CASES.append(Case(name, do.__module__.rpartition(".")[2], do, refusal))


def judge(one: Case, folder: Path, seconds: int) -> Outcome:
    """Do a case in a folder and say what came of it."""
    folder.mkdir()
    try:
        with contextlib.chdir(folder), _limit(seconds), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            one.do()
    except Wrong as error:
        return Outcome("wrong", str(error))
    except Exception as error:
        if not _is_refusal(error):
            first = (str(error).strip().splitlines() or [""])[0]
            return Outcome("wrong", f"raised {type(error).__name__}: {first}")
        if one.refusal == "never":
            return Outcome("wrong", f"refused: {error}")
        return Outcome("refused", str(error))
    if one.refusal == "must":
        return Outcome("wrong", "taken without a word")
    return Outcome("right")


def _is_refusal(error: Exception) -> bool:
    """A `UserError`, or an error that the package itself raises for an argument."""
    if len(str(error).strip().splitlines()) != 1:
        return False
    if str(error).startswith("the run failed: "):  # a crash, wrapped
        return False
    if isinstance(error, UserError):
        return True
    trace = error.__traceback__
    while trace and trace.tb_next:
        trace = trace.tb_next
    raised_in = trace.tb_frame.f_globals.get("__name__", "") if trace else ""
    return type(error) in (ValueError, TypeError) and raised_in.startswith("rnnjax.")


@contextlib.contextmanager
def _limit(seconds: int) -> Iterator[None]:
    def stop(*_: object) -> None:
        raise Wrong(f"not done after {seconds} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def expect(good: Any, words: str) -> None:
    """Raise `Wrong` with these words unless something holds."""
    if not bool(good):
        raise Wrong(words)


def command(words: str | Sequence[str], **environ: str) -> str:
    """What ``rnnjax WORDS`` prints, run in this process.

    Raises:
        UserError: status 2 and one sentence.
        Wrong: any other failure.
    """
    from rnnjax.cli.main import main

    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        with variables(**environ):
            status = main(words.split() if isinstance(words, str) else words)
    return _checked(status, said.getvalue())


def process(
    words: str | Sequence[str], memory: int | None = None, **environ: str
) -> str:
    """As `command`, in a process of its own with at most so many GiB of addresses."""
    own = words.split() if isinstance(words, str) else words
    bound = f"ulimit -v {memory * 2**20}; " if memory else ""
    line = ["bash", "-c", bound + 'exec "$@"', "rnnjax", sys.executable, "-m", "rnnjax"]
    root = str(Path(__file__).parents[2])
    done = subprocess.run(
        [*line, *own],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": root, **environ},
    )
    return _checked(done.returncode, done.stdout + done.stderr)


def answers(run: Path, tokens: Any) -> Any:
    """What a run answers in a process that knows nothing of how it was made."""
    code = (
        "import sys, json, numpy as np, rnnjax\n"
        "from rnnjax.errors import UserError\n"
        "try: run = rnnjax.open_run(sys.argv[1])\n"
        "except UserError as error: sys.exit(f'rnnjax: {error}')\n"
        "try: found = run.apply(np.array(json.loads(sys.argv[2])))\n"
        "except UserError as error: sys.exit(f'rnnjax: {error}')\n"
        "print(json.dumps(np.asarray(found).tolist()))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(run), json.dumps(np.asarray(tokens).tolist())],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    if done.returncode == 0:
        return np.array(json.loads(done.stdout))
    last = (done.stderr.strip().splitlines() or [""])[-1]
    expect(last.startswith("rnnjax: "), last)
    raise UserError(last.removeprefix("rnnjax: "))


def _checked(status: int, text: str) -> str:
    expect("Traceback" not in text, f"traceback: {text.strip().splitlines()[-1:]}")
    if status == 0:
        return text
    lines = [line for line in text.strip().splitlines() if line.strip()]
    sentence = status == 2 and lines and lines[-1].startswith("rnnjax: ")
    expect(sentence, f"status {status}: {lines[-1:]}")
    raise UserError(lines[-1].removeprefix("rnnjax: "))


@contextlib.contextmanager
def variables(**environ: str) -> Iterator[None]:
    """Environment variables set for a while."""
    before = dict(os.environ)
    os.environ.update(environ)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
