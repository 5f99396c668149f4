"""A share of the generated inputs of ``scripts/soak``; `make soak` does thousands."""

import os
from pathlib import Path

import jax
import numpy as np
import pytest

from scripts.soak import generated
from scripts.soak.generated_case import Input, Outcome, judged


INPUTS = 100


@pytest.mark.slow
def test_every_input_is_right_or_refused(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Programs are kept with those of other tests, so that this takes seconds."""
    kept = getattr(jax.config, "jax_compilation_cache_dir", None)
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(kept))
    monkeypatch.setenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
    line = generated.run(INPUTS, seed=1)
    said = capfd.readouterr().out
    assert line.startswith(
        f"generated: {INPUTS} inputs (52 command lines, 28 data files, 20 pool files), "
    )
    assert line.endswith(" refused, 0 tracebacks, 0 hangs"), said


def outcome(words: list[str]) -> Outcome:
    given = Input("command lines", words)
    return judged(lambda: given, lambda _: None)


def test_faults_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """The judge itself: what is not one sentence is told apart."""

    def main(words: list[str]) -> int:
        exec(words[1], {"os": os, "Path": Path})
        return int(words[2])

    monkeypatch.setattr("rnnjax.cli.main.main", main)
    say = "import sys; print({!r}, file=sys.stderr)"
    for status, code, verdict in (
        ("0", "pass", "right"),
        ("2", say.format("rnnjax: no"), "refused"),
        ("2", say.format("rnnjax: warning: a\nrnnjax: no"), "refused"),
        ("2", "pass", "words"),
        ("2", say.format("no"), "words"),
        ("2", say.format("a\nrnnjax: no"), "words"),
        ("2", say.format("rnnjax: KeyError: 3"), "words"),
        ("0", say.format("\x1b[31m"), "words"),
        ("2", f"Path('x').touch(); {say.format('rnnjax: no')}", "left"),
        ("0", "Path('executed').touch()", "executed"),
        ("0", "1 / 0", "traceback"),
        ("0", "import sys; sys.exit(2)", "traceback"),
        ("1", "pass", "status"),
        ("7", "pass", "status"),
    ):
        found = outcome(["list", code, status])
        assert found.verdict == verdict, (code, found)


def test_a_process_that_dies_or_hangs_costs_one_input(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The next process goes on behind it."""

    def lines(words: list[str], ground: Path) -> tuple[list[generated.Line], str]:
        low, high = int(words[1]), int(words[3])
        told: list[generated.Line] = []
        for number in range(low, high):
            told.append((number, "begun", "data files", ["x"], ""))
            if number in (2, 4):
                return told, "Timeout (0:01:30)!" if number == 2 else "Segmentation"
            told.append((number, "right", "data files", ["x"], ""))
        return told, ""

    monkeypatch.setattr(generated, "_lines", lines)
    found = generated._block(0, inputs=6, seed=0, ground=tmp_path)
    assert [line[1] for line in found] == (
        ["right", "right", "hang", "right", "crash", "right"]
    )
    assert [line[0] for line in found] == list(range(6))


def test_an_input_is_the_same_each_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pool" / "a-b").mkdir(parents=True)
    for number in np.random.default_rng(0).integers(0, 10**6, 40).tolist():
        words = []
        for place in ("one", "two"):
            folder = tmp_path / f"{place}{number}"
            folder.mkdir()
            monkeypatch.chdir(folder)
            try:
                words.append(generated.made(number, 0, tmp_path).words)
            except (OSError, IndexError, ValueError):  # there is no real pool here
                words.append([])
        assert words[0] == words[1]
