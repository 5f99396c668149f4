"""`check_cell` finds what is wrong with a cell, and nothing wrong with right ones."""

import inspect
from pathlib import Path

import pytest

from rnnjax.cells import CELLS, Cell, tanh
from rnnjax.checking.cells import GROUPS, check_cell
from rnnjax.checking.new_cell import new_cell
from rnnjax.errors import UserError
from rnnjax.sweeps.compose import plan
from tests.broken_cells import FAULTS
from tests.recurrence_samples import OPTIONS, USER_CELLS


FIRST = [label for label in FAULTS if FAULTS[label].row.startswith("contract")]


@pytest.mark.parametrize(
    "label",
    [x if x in FIRST else pytest.param(x, marks=pytest.mark.slow) for x in FAULTS],
)
def test_a_fault_is_found_with_line_cause_and_cure(label: str) -> None:
    fault = FAULTS[label]
    group, _, name = fault.row.partition("/")
    found = check_cell(fault.kind, only=[group])
    failed = {f"{row.group}/{row.name}": row for row in found.failures}
    assert fault.row in failed, str(found)
    assert len(failed) == 1 or group != "contract", str(found)
    row = failed[fault.row]
    lines, start = inspect.getsourcelines(fault.kind)
    (marked,) = [n for n, line in enumerate(lines, start) if "# wrong" in line]
    assert f"broken_cells.py:{marked}" in row.hint, row
    for word in fault.words:
        assert word in f"{row.found} {row.hint}", (word, row)
    assert str(found).count("\n") < 80


class OutOfSight(Cell):
    def setup(self):
        self.kernel("V", self.inputs, self.features, "orthogonal")
        self.U = self.kernel("U", self.features, self.features, "orthogonal")

    def readin(self, x):
        return self.project("V", x)

    def step(self, h, drive):
        return tanh(drive + h @ self.U)  # here


def test_a_product_that_no_probe_sees_is_named() -> None:
    (row,) = [
        row
        for row in check_cell(OutOfSight, only=["contract"]).rows
        if row.name == "products"
    ]
    lines, start = inspect.getsourcelines(OutOfSight)
    (line,) = [n for n, text in enumerate(lines, start) if "# here" in text]
    assert row.verdict == "note" and f":{line} in step: " in row.hint
    assert "self.recur(name, h)" in row.hint


def test_what_cannot_be_examined_is_said_to_be_left_out() -> None:
    found = check_cell(FAULTS["NoReturn"].kind)
    assert {row.group for row in found.rows} == {"contract"}
    (note,) = [row for row in found.rows if row.verdict == "note"]
    assert all(group in note.found for group in GROUPS if group != "contract")


@pytest.mark.parametrize(
    "label",
    [
        x if x in ("lstm", "urnn") else pytest.param(x, marks=pytest.mark.slow)
        for x in CELLS
    ],
)
def test_no_registered_cell_fails_the_contract(label: str) -> None:
    found = check_cell(label, only=["contract"], **OPTIONS.get(label, {}))
    assert found.passed, str(found)
    assert len(found.rows) > 10 and {row.group for row in found.rows} == {"contract"}


EVERY_GROUP = ("lstm",)
"""Cells of which all is examined here; that takes half a minute for each."""


@pytest.mark.slow
@pytest.mark.parametrize("label", EVERY_GROUP)
def test_a_registered_cell_passes_every_group(label: str) -> None:
    groups = [group for group in GROUPS if group != "compare"]
    found = check_cell(label, only=groups, **OPTIONS.get(label, {}))
    assert found.passed, str(found)
    assert {row.group for row in found.rows} == set(groups)


@pytest.mark.parametrize("label", ["user_submodule"])
def test_right_cells_of_users_pass(label: str) -> None:
    found = check_cell(USER_CELLS[label], only=["contract"])
    assert found.passed, str(found)


def test_the_cell_of_a_file_and_its_fault(tmp_path: Path) -> None:
    file = tmp_path / "own.py"
    file.write_text(
        "from rnnjax.cells import Cell, tanh\n"
        "class Own(Cell):\n"
        "    def setup(self):\n"
        "        self.kernel('U', self.features, self.features, 'orthogonal')\n"
        "    def step(self, h, drive):\n"
        "        tanh(self.recur('U', h))\n"
    )
    found = check_cell(f"{file}:Own")
    (row,) = found.failures
    assert row.hint == f"{file}:6 in step: a step returns the new state"
    assert row.found == "returned None"


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("self.recur('U', h)", "returned None; a step returns the new state"),
        ("return np.tanh(h + drive)", "np.tanh cannot compute with JAX's arrays; "),
        ("return h + self.recur('W', h)", "unknown kernel 'W'; known: U, V, b"),
        ("return jnp.tile(h, 2)", "float32 (B, 64), but the state is float32 (B, 32)"),
        (
            "return h + jax.random.normal(self.make_rng('x'), h.shape)",
            "a step draws random numbers, for which it has no key",
        ),
    ],
)
def test_training_says_the_same_of_a_fault(
    body: str, said: str, tmp_path: Path
) -> None:
    file = tmp_path / "own.py"
    file.write_text(
        "import jax, jax.numpy as jnp, numpy as np\n"
        "from rnnjax.cells.elman import Elman\n"
        "class Own(Elman):\n"
        "    def step(self, h, drive):\n"
        f"        {body}\n"
    )
    with pytest.raises(UserError) as caught:
        plan([f"cell={file}:Own"])
    message = str(caught.value)
    assert message.startswith(f"{file}:5 in step: ") and said in message
    (row,) = check_cell(f"{file}:Own").failures
    assert row.hint.startswith(f"{file}:5 in step")
    cure = row.hint.removeprefix(f"{file}:5 in step").removeprefix(": ")
    assert cure in message


def test_runs_that_share_a_program_are_refused_a_field_that_acts(
    tmp_path: Path,
) -> None:
    """Else both runs would be those of the default, whatever their labels say."""
    file = tmp_path / "own.py"
    file.write_text(
        "from rnnjax.cells.elman import Elman\n"
        "class Own(Elman):\n"
        "    rate: float = 1.0\n"
        "    depth: int = 1\n"
        "    initial = (*Elman.initial, 'rate', 'depth')\n"
        "    def readin(self, x):\n"
        "        return self.rate * super().readin(x)\n"
        "    def step(self, h, drive):\n"
        "        for _ in range(self.depth):\n"
        "            h = super().step(h, drive)\n"
        "        return h\n"
    )
    plan([f"cell={file}:Own"])
    for override, line, field in (("rate=0.5", 7, "rate"), ("depth=2", 10, "depth")):
        with pytest.raises(UserError) as caught:
            plan([f"cell={file}:Own", f"cell.{override}"])
        message = str(caught.value)
        assert f"'{field}' acts here" in message
        assert f"take {field} out of `initial`" in message
        assert message.startswith(f"{file}:"), (line, message)


def test_wrong_questions_are_errors() -> None:
    with pytest.raises(UserError, match="did you mean lstm"):
        check_cell("lsstm")
    with pytest.raises(UserError, match="did you mean gradients"):
        check_cell("lstm", only=["gradient"])
    with pytest.raises(UserError, match="did you mean forget_bias"):
        check_cell("lstm", forget_bais=1.0)
    with pytest.raises(UserError, match="subclass"):
        check_cell(int)  # pyright: ignore


def test_a_new_cell_passes_and_says_what_to_type(tmp_path: Path) -> None:
    said = new_cell("my_cell", tmp_path / "cells")
    place = tmp_path / "cells" / "my_cell.py"
    assert f"rnnjax check {place}:MyCell\n" in said
    assert f"rnnjax train -m cell={place}:MyCell,lstm" in said
    found = check_cell(f"{place}:MyCell", only=["contract"])
    assert found.passed, str(found)
    test = (place.parent / "test_my_cell.py").read_text()
    assert "check_cell(MyCell).raise_if_failed()" in test


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("my-cell", "letters, digits"),
        ("2cell", "beginning with a letter"),
        ("", "letters"),
        ("class", "letters"),
        ("a/b", "letters"),
        ("numpy", "hide the module"),
        ("mine", "there already"),
    ],
)
def test_names_that_a_new_cell_cannot_have(
    name: str, word: str, tmp_path: Path
) -> None:
    (tmp_path / "test_mine.py").write_text("mine")
    with pytest.raises(UserError, match=word):
        new_cell(name, tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["test_mine.py"]
    assert (tmp_path / "test_mine.py").read_text() == "mine"
