"""Values from the environment and from files of experiments."""

import os
import re
from pathlib import Path

from rnnjax.errors import UserError
from scripts.odd_inputs.case import add, case, command, expect, variables
from scripts.odd_inputs.cells import CELL, GOOD
from scripts.odd_inputs.samples import npz, train


def _jobs(*words: str) -> int:
    said = command(["train", "-m", "-n", *words])
    found = re.search(r"(\d+) jobs", said)
    return int(found[1]) if found else 0


def _decoded(**given: str) -> None:
    """Numbers of the environment are numbers, or the refusal names their resolver."""
    try:
        with variables(MY_RATE="3e-2", MY_SEED="17"):
            run = train(*(f"{k}={v}" for k, v in given.items()), path=npz("a.npz"))
    except UserError as error:
        expect("oc.decode" in str(error), f"no way out is named: {error}")
        raise
    got = run.config.lr, run.config.seed
    expect(got == (3e-2, 17), f"rate and seed {got}")


add(
    "a rate and a seed from the environment",
    lambda: _decoded(lr="${oc.env:MY_RATE}", seed="${oc.env:MY_SEED}"),
)
add(
    "a default for a variable that is not set",
    lambda: _decoded(lr="${oc.env:MY_RATE}", seed="${oc.env:NOT_SET_ANYWHERE,17}"),
)


@case("must")
def a_word_from_the_environment_for_a_number() -> None:
    with variables(MY_STEPS="many"):
        command(["train", "-n", "steps=${oc.env:MY_STEPS}"])


@case("must")
def a_variable_that_is_not_set() -> None:
    command(["train", "-n", "steps=${oc.env:NOT_SET_ANYWHERE}"])


def _experiment(sweep: str, folder: str = "mine") -> str:
    os.makedirs(f"{folder}/experiment")
    text = (
        "# @package _global_\ndefaults: [{override /task: arrays}]\n"
        f"steps: 2\nsweep: {sweep}\n"
    )
    Path(f"{folder}/experiment/e.yaml").write_text(text)
    return folder


def _paths(*names: str) -> None:
    """An experiment over files makes a job for each, of that very file."""
    for name in names:
        npz(name)
    listed = ", ".join('"' + name.replace('"', '\\"') + '"' for name in names)
    folder = _experiment(f"{{task.path: [{listed}]}}")
    got = _jobs("experiment=e", "--config-dir", folder)
    expect(got == len(names), f"{got} jobs of {len(names)} files")


for _names in (
    ("a (1).npz", "a (2).npz"),
    ("it's.npz", "its.npz"),
    ("x,y.npz", "x.npz"),
    ("[a].npz", "{b}.npz"),
    ("k=v.npz", "a b.npz"),
):
    add(
        f"an experiment over {' and '.join(_names)}",
        lambda n=_names: _paths(*n),
        "never",
    )


@case("never")
def an_experiment_over_an_own_cell() -> None:
    Path("mine.py").write_text(CELL.format(body=GOOD))
    os.makedirs("mine/experiment")
    Path("mine/experiment/e.yaml").write_text(
        "# @package _global_\nsteps: 2\n"
        "sweep: {cell: ['mine.py:Mine', gru], task.distance: [4, 5]}\n"
    )
    got = _jobs("experiment=e", "--config-dir", "mine")
    expect(got == 4, f"{got} jobs, not 4")


@case("must")
def an_experiment_over_a_cell_that_is_not_there() -> None:
    os.makedirs("mine/experiment")
    Path("mine/experiment/e.yaml").write_text(
        "# @package _global_\nsweep: {cell: ['gone.py:Mine']}\n"
    )
    _jobs("experiment=e", "--config-dir", "mine")


for _folder in ("d'Angelo (2)", "a,b=c", "${home}"):

    def _own_variant(folder: str = _folder) -> None:
        os.makedirs(f"{folder}/variant")
        text = "# @package _global_\ndefaults: [{override /cell: gru}]\nlr: 0.5\n"
        Path(f"{folder}/variant/quick.yaml").write_text(text)
        got = _jobs("variant=quick", "seed=0,1", "--config-dir", folder)
        expect(got == 2, f"{got} jobs, not 2")

    add(f"variants in the folder {_folder}", _own_variant, "never")


@case("must")
def an_experiment_that_is_no_yaml() -> None:
    os.makedirs("mine/experiment")
    Path("mine/experiment/e.yaml").write_text("sweep: {seed: [0, 1\n")
    _jobs("experiment=e", "--config-dir", "mine")


@case("must")
def an_experiment_with_a_mapping_for_a_number() -> None:
    os.makedirs("mine/experiment")
    Path("mine/experiment/e.yaml").write_text(
        "# @package _global_\nsweep: {seed: [{}, 1]}\n"
    )
    _jobs("experiment=e", "--config-dir", "mine")
