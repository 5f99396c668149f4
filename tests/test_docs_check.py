"""The commands and the code of docs/check.md."""

import re
import shlex
import sys
from pathlib import Path

import pytest

from rnnjax.cli.main import main


PAGE = Path(__file__).parents[1] / "docs" / "check.md"
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", PAGE.read_text(), re.DOTALL)


def blocks(language: str) -> list[str]:
    return [text for kind, text in BLOCKS if kind == language]


@pytest.mark.slow
def test_a_cell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    monkeypatch.chdir(tmp_path)
    for line in blocks("sh")[0].splitlines():
        assert main(shlex.split(line)[1:]) == 0, line
    said = capsys.readouterr().out
    assert "no row failed" in said and "report.html" in said
    monkeypatch.syspath_prepend(str(tmp_path))
    (test,) = [text for text in blocks("python") if "check_cell" in text]
    exec(test, {})  # the names that it imports are there
    sys.modules.pop("my_cell")  # else the name is taken for all tests after this one
    assert (tmp_path / "test_my_cell.py").is_file()


@pytest.mark.slow
def test_a_gradient(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    monkeypatch.chdir(tmp_path)
    kernels, python = (
        next(text for text in blocks("python") if start in text)
        for start in ("# kernels.py", "found = check_gradients")
    )
    Path("kernels.py").write_text(kernels)
    (line,) = blocks("sh")[1].splitlines()
    assert main(shlex.split(line)[1:]) == 1
    said = " ".join(re.sub("[│┃]", " ", capsys.readouterr().out).split())
    assert "transposed" in said and "right once U is symmetric" in said
    names: dict[str, object] = {}
    exec(kernels, names)
    exec(python, names)
    found = ("U", "h0", "xs"), 1, ("transposed",)
    assert capsys.readouterr().out == " ".join(map(str, found)) + "\n"


def test_the_groups_of_the_page_are_those_of_the_check():
    from rnnjax.checking.cells import GROUPS

    table = re.findall(r"^\| `(\w+)` \|", PAGE.read_text(), re.MULTILINE)
    assert table == list(GROUPS)
