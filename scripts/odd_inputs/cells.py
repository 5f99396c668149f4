"""Cells in files of a user's, and what is said when such a file is broken."""

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np

import rnnjax
from rnnjax.errors import UserError
from scripts.odd_inputs.case import TINY, add, answers, case, command, expect


TOKENS = np.array([[1], [2], [3], [4]])
CELL = """\
from rnnjax.activations import tanh
from rnnjax.cells import Cell


class Mine(Cell):
    def setup(self):
        n = self.features
        self.kernel("V", self.inputs, n, "glorot_uniform")
        self.kernel("U", n, n, "orthogonal")

    def readin(self, x):
        return self.project("V", x)

    def step(self, h, drive):
        {body}
"""
GOOD = "return tanh(drive + self.recur('U', h))"


def _train(file: str = "mine.py") -> Any:
    return rnnjax.train(
        *TINY.split(), f'cell="{file}:Mine"', "task.distance=4", out="pool"
    )


def _written(body: str = GOOD, file: str = "mine.py") -> Path:
    Path(file).write_text(CELL.format(body=body))
    return Path(file)


def _answers(run: Any) -> np.ndarray:
    return answers(run.path, TOKENS)


@case()
def a_cell_edited_after_its_run() -> None:
    _written()
    run = _train()
    before = _answers(run)
    _written("return tanh(drive - self.recur('U', h))")
    expect(
        np.allclose(_answers(run), before, atol=1e-6), "answers of the new equations"
    )


@case()
def a_cell_whose_file_is_gone() -> None:
    _written()
    run = _train()
    before = _answers(run)
    Path("mine.py").unlink()
    expect(np.allclose(_answers(run), before, atol=1e-6), "other answers")


@case()
def a_cell_from_another_folder_of_the_same_name() -> None:
    _written()
    run = _train()
    before = _answers(run)
    os.makedirs("b")
    os.chdir("b")
    _written("return drive + self.recur('U', h)")
    expect(
        np.allclose(_answers(run), before, atol=1e-6), "answers of another file's cell"
    )


@case("never")
def an_edited_cell_is_another_run() -> None:
    _written()
    first = _train()
    _written("return tanh(drive - self.recur('U', h))")
    second = _train()
    expect(first.path != second.path, "one run of two cells")


for _folder in ("Übung (1)", "it's", "[old] v2", "a, b", "x = y"):

    def _in_folder(folder: str = _folder) -> None:
        os.makedirs(folder)
        _written(file=f"{folder}/mine.py")
        command(["train", "-n", f'cell="{folder}/mine.py:Mine"', "task.distance=4"])
        shutil.rmtree(folder)

    add(f"a cell in the folder {_folder}", _in_folder, "never")


def _said(body: str, line: int, *words: str) -> None:
    """A broken cell is refused, and the sentence names its file and the line."""
    file = _written(body)
    where = f"{file.name}:{line}"
    try:
        command([*words, f"cell={file}:Mine", "task.distance=4", "model.hidden=3"])
    except UserError as error:
        expect(where in str(error), f"'{where}' is not in: {error}")
        raise


for _name, _body in (
    ("divides by zero", "return drive / 0 if 1 // 0 else drive"),
    ("uses a name that is not there", "return tanhh(drive)"),
    ("asks for a kernel it has not", "return self.recur('W', h)"),
    ("gives a state of another shape", "return drive[..., :1]"),
    ("decides by the state's value", "return drive if h.sum() > 0 else h"),
):
    add(
        f"a cell that {_name}",
        lambda body=_body: _said(body, 15, "train", "steps=2", "probe=off"),
        "must",
    )
add(
    "a broken cell in a probe",
    lambda: _said("return self.recur('W', h)", 15, "probe", "sections=adjoints"),
    "must",
)


@case("must")
def a_cell_file_with_a_syntax_error() -> None:
    _said("return (", 15, "train", "steps=2")


@case("must")
def a_cell_file_without_that_class() -> None:
    _written()
    command("train -n cell=mine.py:Other")
