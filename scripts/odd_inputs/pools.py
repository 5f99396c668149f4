"""Finished runs, and what happens to what they were made from."""

import os
import re
import shutil
from pathlib import Path
from typing import Any

import jax
import numpy as np

import rnnjax
from scripts.odd_inputs.case import TINY, answers, case, command, expect, process
from scripts.odd_inputs.samples import npz, runs, tokens, train


def _same(a: Any, b: Any) -> bool:
    pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return all(np.array_equal(x, y) for x, y in pairs)


@case("never")
def fewer_steps_than_there_are() -> None:
    path = npz("a.npz")
    alone = train("steps=2", path=path, out="alone")
    train("steps=6", path=path)
    again = train("steps=2", path=path)
    expect(again.metrics["step"].max() == 2, f"steps to {again.metrics['step'].max()}")
    got, want = (run.results["test_loss"] for run in (again, alone))
    expect(got == want, f"test_loss {got}, not {want}")
    expect(_same(again.params, alone.params), "parameters of the longer run")


@case("never")
def fewer_steps_and_then_more_again() -> None:
    path = npz("a.npz")
    longer = train("steps=6", path=path)
    before = dict(longer.results)
    train("steps=4", path=path)
    after = train("steps=6", path=path)
    expect(after.manifest.steps == 6, f"{after.manifest.steps} steps")
    expect(
        after.results["test_loss"] == before["test_loss"], "other numbers than before"
    )


@case("never")
def a_sweep_with_fewer_steps_on_the_command_line() -> None:
    path = npz("a.npz")
    words = [*TINY.split(), "task=arrays", f"task.path={path}", "out=pool"]
    command(["train", "-m", *words, "steps=6", "seed=0,1"])
    said = command(["train", *words, "steps=2", "seed=1"])
    expect("after 2 steps" in said, f"{said.strip().splitlines()[:1]}")


def _loss(run: Path) -> str:
    """The line of the loss that `rnnjax probe` prints of a run."""
    said = process(["probe", f"run={run}", "sections=adjoints"])  # it remembers no data
    lines = [line for line in said.splitlines() if re.search(r"\bloss\b", line)]
    expect(lines, "the probe prints no loss")
    return lines[0]


@case("never")
def a_run_whose_pool_was_moved() -> None:
    run = train(path=npz("a.npz")).path
    before = _loss(run)
    shutil.move("pool", "elsewhere (2)")
    expect(_loss(Path("elsewhere (2)") / run.name) == before, "another loss")


@case()
def a_run_probed_from_a_folder_without_its_data() -> None:
    run = train(path=npz("a.npz")).path
    before = _loss(run)
    os.makedirs("b")
    os.chdir("b")
    expect(_loss(run) == before, "another loss")


@case()
def a_run_probed_beside_other_data_of_that_name() -> None:
    run = train(path=npz("a.npz")).path
    before = _loss(run)
    os.makedirs("b")
    os.chdir("b")
    npz("a.npz", seed=8)
    expect(_loss(run) == before, "the loss of other data")


@case("must")
def a_run_whose_data_changed() -> None:
    run = train(path=npz("a.npz")).path
    npz("a.npz", seed=8)
    _loss(run)


@case("must")
def a_run_whose_data_are_gone() -> None:
    run = train(path=npz("a.npz")).path
    Path("a.npz").unlink()
    _loss(run)


@case()
def answers_of_a_run_whose_data_changed() -> None:
    run = train(path=npz("a.npz"))
    before = run.apply(tokens()[:2].T)
    larger = tokens() * 3  # a larger vocabulary
    npz("a.npz", inputs=larger)
    after = answers(run.path, tokens()[:2].T)
    expect(np.allclose(before, after, atol=1e-6), "other answers")


@case()
def answers_of_a_run_whose_data_are_gone() -> None:
    run = train(path=npz("a.npz"))
    before = run.apply(tokens()[:2].T)
    Path("a.npz").unlink()
    after = answers(run.path, tokens()[:2].T)
    expect(np.allclose(before, after, atol=1e-6), "other answers")


@case("never")
def training_again_after_the_data_changed() -> None:
    first = train(path=npz("a.npz"))
    second = train(path=npz("a.npz", seed=8))
    expect(len(runs()) == 2 and first.path != second.path, "one run of two data sets")


@case("must")
def sentences_that_changed_after_the_run() -> None:
    file = Path("a.tsv")
    file.write_text("".join(f"word{i % 5} more\t{i % 2}\n" for i in range(60)))
    words = [*TINY.split(), "task=reviews", "task.path=a.tsv", "task.max_vocabulary=20"]
    run = rnnjax.train(*words, out="pool").path
    file.write_text("".join(f"more word{i % 5}\t{i % 2}\n" for i in range(60)))
    _loss(run)


@case("must")
def a_condition_that_is_no_sql() -> None:
    train(path=npz("a.npz"))
    command(["runs", "pool", "--where", "accuracy >> 'x"])


@case("must")
def a_run_that_is_no_run() -> None:
    os.makedirs("nothing")
    command(["probe", "run=nothing"])
