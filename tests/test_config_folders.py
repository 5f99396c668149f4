"""Folders of a user's configuration: files that Hydra or YAML would choke on."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from rnnjax.cli.main import main


def doubled(times: int, mapping: bool) -> str:
    """A file of few lines that stands for 2^times values once its aliases are there."""
    pair = "{{a: *a{0}, b: *a{0}}}" if mapping else "[*a{0}, *a{0}]"
    lines = [f"a{i + 1}: &a{i + 1} {pair.format(i)}" for i in range(times)]
    return "\n".join(["a0: &a0 1", *lines, ""])


BROKEN = {
    "many values by aliases of lists": (doubled(40, False), "more than 100,000 values"),
    "of mappings": (doubled(40, True), "more than 100,000 values"),
    "a list that holds itself": ("a: &a [*a]\n", "more than 100,000 values"),
    "a mapping that holds itself": ("a: &a {b: *a}\n", "more than 100,000 values"),
    "a package of two words": ("# @package a b\nlr: 1\n", "cannot compose variant=x"),
    "another encoding": ("lr: 'ä'\n".encode("latin-1"), ""),
    "UTF-16": ("lr: 1\n".encode("utf-16"), ""),
    "a key of two lines": ("? [a, b]\n: 3\n", ""),
    "an open bracket": ("lr: [1\n", ""),
    "another version": ("%YAML 9.9\n---\nlr: 1\n", ""),
    "two documents": ("lr: 1\n---\nlr: 2\n", ""),
    "a list": ("- 1\n- 2\n", ""),
    "a date": ("lr: 2001-01-01\n", ""),
    "Python": ("lr: !!python/object/apply:os.system ['touch executed']\n", ""),
    "itself": ("defaults: [_self_, x]\n", "cannot compose variant=x: it is nested too"),
    "brackets in brackets": (f"a: {'[' * 800}{']' * 800}\n", "50 levels"),
    "brackets without end": ("a: " + "[" * 5000, "50 levels"),
    "mappings in mappings": ("a: " + "{b: " * 60 + "}" * 60, "50 levels"),
    "nothing that is right": (b"\x00\xff\x00", ""),
}
COMMANDS = ("train -n variant=x", "train -m -n variant=x seed=0,1", "list variants")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine" / "variant").mkdir(parents=True)
    return tmp_path / "mine"


def said(words: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    status = main([*words.split(), "--config-dir", "mine"])
    return status, capsys.readouterr().err


@pytest.mark.parametrize("case", BROKEN)
def test_a_file_that_cannot_be_read(
    case: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Refused in one sentence, or in a list of variants shown as what it is."""
    content, reason = BROKEN[case]
    content = content if isinstance(content, bytes) else content.encode()
    (folder / "variant" / "x.yaml").write_bytes(content)
    for command in COMMANDS:
        status, line = said(command, capsys)
        if status == 0:
            assert command == "list variants" and line == ""
            continue
        assert status == 2 and line.startswith("rnnjax: ") and line.count("\n") == 1
        assert command == "list variants" or reason in line
    assert not Path("executed").exists()


PLACES: dict[str, Callable[[Path], object]] = {
    "a pipe": os.mkfifo,
    "a folder": Path.mkdir,
    "a device": lambda file: file.symlink_to("/dev/zero"),
    "a loop": lambda file: file.symlink_to(file.name),
}


@pytest.mark.parametrize("group", ("variant", "experiment"))
@pytest.mark.parametrize("place", PLACES)
def test_what_is_no_file_is_not_waited_for(
    place: str, group: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / group).mkdir(exist_ok=True)
    PLACES[place](folder / group / "x.yaml")
    for command in (f"train -n {group}=x", f"list {group}s", "train -n"):
        status, line = said(command, capsys)
        assert status == 2 and "x.yaml': " in line and line.count("\n") == 1


def test_aliases_and_merges_are_right(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = "model: &m {hidden: 5}\neval: {every: &e 5}\nlog_every: *e\n"
    (folder / "variant" / "x.yaml").write_text(f"# @package _global_\n{text}")
    assert said("train -n variant=x", capsys) == (0, "")
    assert said("list variants", capsys) == (0, "")


@pytest.mark.parametrize(
    "code",
    (
        "import sys; sys.exit('bye')",
        "raise SystemExit(3)",
        "raise GeneratorExit",
        "raise BaseException('base')",
        "exit()",
    ),
)
@pytest.mark.parametrize("kind", ("cell", "task"))
def test_a_file_of_code_that_leaves(
    code: str, kind: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is refused like one that raises anything else, and ends nothing."""
    Path("mine.py").write_text(f"x = 1\n{code}\n")
    status, line = said(f"train -n {kind}=mine.py:X", capsys)
    assert status == 2 and "mine.py:2: " in line and line.count("\n") == 1


@pytest.mark.parametrize(
    "value",
    (
        "${st\\ps}",
        "${o(.select:lr}",
        "[${a b},1]",
        "{a: '${x'}",
        "${" * 300 + "}" * 300,
        "${${lr}}",
        "${oc.env:NOT_SET_ANYWHERE}",
        "${oc.decode:'[1'}",
    ),
)
def test_an_interpolation_that_is_none(
    value: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "variant" / "x.yaml").write_text(f"# @package _global_\nlr: {value!r}\n")
    status, line = said("train -n variant=x", capsys)
    assert status == 2 and line.startswith("rnnjax: ") and line.count("\n") == 1
    assert "raised while" not in line
    assert main(["train", "-n", f"seed='{value}'"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize(
    "value", ("[" * 900 + "]" * 900, "{a:" * 300 + "1" + "}" * 300)
)
def test_a_value_that_is_nested_too_deeply(
    value: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for key in ("seed", "probe.steps", "zip"):
        status, line = said(f"train -n {key}={value}", capsys)
        assert status == 2 and line.endswith("nested too deeply\n")
