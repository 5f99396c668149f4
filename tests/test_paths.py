"""Paths and names that nothing can have: one sentence, status 2, nothing written."""

from pathlib import Path

import pytest

from rnnjax.cli.main import main
from rnnjax.errors import UserError
from rnnjax.paths import user_path
from rnnjax.store.wandb_target import place


LONG = "n" * 300
DEEP = "/".join(["d" * 200] * 30)
LINKS = "Too many levels of symbolic links"
TOO_LONG = "File name too long"

PLACES = {
    "long": (LONG, TOO_LONG),
    "bytes": ("é" * 150, TOO_LONG),
    "deep": (DEEP, TOO_LONG),
    "loop": ("loop", LINKS),
    "inside a loop": ("loop/inside", LINKS),
    "inside a file": ("file/inside", "Not a directory"),
}
COMMANDS = {
    "runs {}",
    "report {}",
    "compare {}/3f loop",
    "probe run={}",
    "train task=arrays task.path={}",
    "train task=text task.path={}",
    "train task=reviews task.path={}",
    "train task=mnist task.path={}",
    "train --config-dir {}",
    "search lr=interval(0,1) --config-dir {}",
    "list variants --config-dir {}",
    "train out={}",
    "train -m seed=0,1 out={}",
    "probe out={}",
    "probe -m seed=0,1 out={}",
    "search lr=interval(0,1) out={}",
    "reproduce cliff out={}",
    "reproduce cliff pool={}",
    "reproduce cliff --redraw {}",
}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The present folder, with a link that leads to itself, and a file."""
    monkeypatch.chdir(tmp_path)
    Path("loop").symlink_to("loop")
    Path("loop.py").symlink_to("loop.py")
    Path("file").touch()
    return tmp_path


def refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The one sentence of a command that wrote nothing but that."""
    before = set(Path.cwd().rglob("*"))
    assert main(words) == 2
    out, err = capsys.readouterr()
    assert not out and err.startswith("rnnjax: ") and err.count("\n") == 1, err
    assert len(err) < 1500 and set(Path.cwd().rglob("*")) == before
    return err


def filled(command: str, path: str) -> list[str]:
    """The words; in a configuration letters beyond ASCII stand in quotes."""
    quoted = path if path.isascii() else f'"{path}"'
    plain = command.startswith("reproduce")
    return [
        word.format(quoted if word.startswith(("out", "task.")) and not plain else path)
        for word in command.split()
    ]


@pytest.mark.parametrize("kind", PLACES)
def test_commands_refuse_a_path(
    kind: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, reason = PLACES[kind]
    for command in sorted(COMMANDS):
        words = filled(command, path)
        assert reason in refused(words, capsys), command


@pytest.mark.parametrize("variable", ["RNNJAX_DATA"])
@pytest.mark.parametrize("kind", [kind for kind in PLACES if kind != "inside a file"])
def test_variables_refuse_a_path(
    kind: str,
    variable: str,
    here: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path, reason = PLACES[kind]
    monkeypatch.setenv(variable, path)
    for task in ("text", "mnist", "reviews"):
        said = refused(["train", f"task={task}"], capsys)
        assert reason in said and variable in said


@pytest.mark.parametrize("path", ["loop", LONG])
def test_users_files(path: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for kind in ("cell", "task"):
        said = refused(["train", f"{kind}={path}.py:Mine"], capsys)
        assert f"{kind}={path[:9]}" in said
        assert LINKS in said or TOO_LONG in said


@pytest.mark.parametrize("kind", ["csv", "parquet"])
@pytest.mark.parametrize("path", [LONG, "n" * 250, f"loop/{'x'}", "file/x", "."])
def test_targets_of_tables(
    path: str, kind: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from rnnjax.store.pool import Pool
    from tests.store_samples import store_run

    store_run(Pool(here / "runs"))
    assert "cannot write" in refused(["runs", "runs", f"--{kind}", path], capsys)


@pytest.mark.parametrize("name", [LONG, "n" * 121, "é" * 61, "今" * 41], ids=len)
@pytest.mark.parametrize("command", ["train", "train -m seed=0,1", "probe -m seed=0,1"])
def test_names(
    command: str, name: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = refused([*command.split(), f'name="{name}"'], capsys)
    assert f"name={name[:9]}" in said and "120 bytes" in said


def test_names_of_runs_are_counted_in_bytes() -> None:
    from rnnjax.sweeps.compose import compose_sweep

    values = ",".join(f"{i}.{'1' * 15}" for i in range(1, 3))
    keys = ("lr", "init.gain")
    jobs = compose_sweep(
        [f'name="{"今" * 40}"', "init=orthogonal", *(f"{key}={values}" for key in keys)]
    )
    assert len(jobs) == 4
    assert all(len(job.name.encode()) <= 120 for job in jobs)
    assert all("今" * 40 in job.name for job in jobs)


def test_a_folder_of_copies() -> None:
    with pytest.raises(UserError, match=f"WANDB_DIR=n+: {TOO_LONG}"):
        place("runs", environ={"WANDB_DIR": LONG})


def test_what_could_be_there_is_no_error(here: Path) -> None:
    for path in (
        "new",
        "new/folder",
        "file",
        ".",
        "~no such user",
        "n" * 255,
        "é" * 127,
    ):
        assert user_path(path) == Path(path)
    assert user_path("~") == Path.home()
    for path in ("a\0b", "\ud800"):
        with pytest.raises(UserError, match="cannot read"):
            user_path(path)
