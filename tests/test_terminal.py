"""What is printed: no control character reaches the terminal, no word fills it."""

import io
import subprocess
import sys
import unicodedata
import warnings
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rnnjax.cli.main import main
from rnnjax.errors import LONGEST_MESSAGE, LONGEST_WORD, plain_warnings, shown
from rnnjax.store.pool import Pool
from rnnjax.sweeps.progress import LiveProgress
from rnnjax.terminal import Screen
from tests.store_samples import store_run


HARM = {
    "\x1b[2J": r"\x1b[2J",
    "\x07\x08": r"\x07\x08",
    "a\rb": r"a\rb",
    "\x9b31m": r"\x9b31m",
    "\u202eround": r"\u202eround",
    "a\u2028b": r"a\u2028b",
}


@given(st.text(st.characters()))
def test_nothing_steers_a_terminal(text: str) -> None:
    found = shown(text)
    kinds = {unicodedata.category(c) for c in found} - {"Cf"}
    assert not kinds & {"Cc", "Cs", "Zl", "Zp"}
    assert not any(
        "\u202a" <= c <= "\u202e" or "\u2066" <= c <= "\u2069" for c in found
    )
    assert found == text or not text.isprintable() or len(text) > LONGEST_WORD


@given(st.integers(0, 20_000), st.sampled_from(["x", "é", "x ", "\x1b", "今"]))
def test_nothing_is_longer_than_a_screen(times: int, piece: str) -> None:
    found = shown(piece * times)
    assert len(found) <= LONGEST_MESSAGE
    assert max((len(word) for word in found.split()), default=0) <= LONGEST_WORD


@pytest.mark.parametrize(
    "text", ["größe", "今日は", "می‌خواهم", "👩‍🚀", "x = −3·10⁻⁵ ∂h"]
)
def test_words_of_any_script_stay(text: str) -> None:
    assert shown(text) == text


@pytest.mark.parametrize("harm", HARM)
@pytest.mark.parametrize(
    "words",
    [
        ["{}"],
        ["train", "{}=3"],
        ["train", "seed={}"],
        ["train", "cell={}"],
        ["train", "task=text", "task.path={}"],
        ["train", "name={}"],
        ["list", "{}"],
        ["runs", "{}"],
        ["compare", "{}/a", "b"],
        ["probe", "run={}"],
        ["reproduce", "{}"],
        ["train", "--{}"],
    ],
    ids=" ".join,
)
def test_an_error_shows_what_was_typed(
    words: list[str],
    harm: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([word.format(f"a{harm}") for word in words]) == 2
    out, err = capsys.readouterr()
    assert not out and err.count("\n") == 1 and err[:-1].isprintable(), err
    assert HARM[harm] in err or HARM[harm].replace("\\", "\\\\") in err
    assert main([word.format("w" * 10_000) for word in words]) == 2
    err = capsys.readouterr().err
    assert len(err) < LONGEST_MESSAGE and err.count("\n") == 1 and "www" in err


def test_tables_of_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pool = Pool(tmp_path / "runs")
    harm = "".join(HARM)
    first = store_run(pool, config={"activation": f"{harm} {'w' * 10_000}"})
    second = store_run(pool, config={"activation": "tanh"})
    for words in (
        ["runs", str(pool.path)],
        ["runs", str(pool.path), "--by", "activation"],
        ["runs", str(pool.path), "--sort", "activation"],
        ["compare", str(first.path), str(second.path)],
    ):
        assert main(words) == 0
        out = capsys.readouterr().out
        assert out.replace("\n", "").isprintable()
        assert len(out) < 20_000 and r"\x1b" in out


def test_what_a_launch_tells() -> None:
    for screen in (Screen(file=io.StringIO()), Screen(file=io.StringIO(), width=80)):
        progress = LiveProgress(screen)
        progress.warn(f"1 run failed: {''.join(HARM)} {'w' * 10_000}")
        progress.say("copied to '\x1b[2J'")
        assert isinstance(screen.file, io.StringIO)
        said = screen.file.getvalue()
        assert said.replace("\n", "").isprintable() and len(said) < 1000
        assert r"\x1b[2J" in said


def test_warnings_are_sentences() -> None:
    with plain_warnings():
        said = warnings.formatwarning("a\x1b[2J\nb", UserWarning, "file.py", 3)
    assert said == "rnnjax: warning: a\\x1b[2J\\nb\n"
    assert "UserWarning" in warnings.formatwarning("a", UserWarning, "file.py", 3)


def test_standard_output_on_a_full_disk() -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "rnnjax", "list", "cells"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 2
    assert done.stderr == "rnnjax: cannot write: No space left on device\n"
