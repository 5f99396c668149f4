"""Values that Hydra's grammar reads otherwise: paths, references, numbers as text."""

import json
import os
import shlex
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rnnjax.cli.main import main
from rnnjax.errors import UserError
from rnnjax.sweeps.axes import parse_axes
from rnnjax.sweeps.compose import compose, plan
from rnnjax.sweeps.hydra_session import session
from rnnjax.sweeps.quoting import as_typed, quoted


FOLDERS = ["Dropbox (Uni)", "O'Brien", "exp [v2]", "a,b", "größe", 'say "no"', "{x}"]
CELL = "from rnnjax.cells import Elman\n\nclass Mine(Elman):\n    'Mine.'\n"
NAMES = ("größe (neu).npz", "b,c.npz", "b", "c.npz")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The present folder, with a cell and arrays under awkward names."""
    monkeypatch.chdir(tmp_path)
    for name in FOLDERS:
        Path(name).mkdir()
        Path(name, "my_cell.py").write_text(CELL)
    Path("my_cell.py").write_text(CELL)
    for name in NAMES:
        with open(name, "wb") as file:
            np.savez(file, inputs=np.ones((9, 2), int), targets=np.arange(9) % 2)
    return tmp_path


def experiment(folder: Path, **sweep: object) -> list:
    """The jobs of an experiment with this sweep."""
    (folder / "mine" / "experiment").mkdir(parents=True, exist_ok=True)
    head = "# @package _global_\ndefaults: [{override /task: arrays}]\nsteps: 20\n"
    text = json.dumps(sweep, ensure_ascii=False)
    Path("mine/experiment/e.yaml").write_text(f"{head}sweep: {text}\n", "utf-8")
    return list(plan(["experiment=e"], multirun=True, config_dir="mine").jobs)


TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\n\r$"), max_size=12)
PLAIN = TEXT | st.integers(-99, 99) | st.booleans() | st.none()


def test_a_quoted_value_is_read_back():
    with session() as hydra:

        @settings(max_examples=100, deadline=None)
        @given(PLAIN | st.lists(PLAIN, max_size=3) | st.just({"a": "b,c", "d": ["1"]}))
        def check(value):
            found = parse_axes([f"name={quoted(value)}"], hydra)["name"]
            assert found == (value,)
            if isinstance(value, str):
                (word,) = shlex.split(as_typed("name", value))
                assert parse_axes([word], hydra)["name"] == (value,)

        check()


def test_paths_in_an_experiment(folder):
    names = ["größe (neu).npz", "b,c.npz", "null", "3"]
    for sweep in (
        {"task.path": names},
        {"task": _each("path", names)},
        {"zip": _each("task.path", names)},
    ):
        jobs = experiment(folder, **sweep)
        found = [dict(job.config.task_options)["path"] for job in jobs]
        assert found == [os.path.abspath(name) for name in names]
    (alone,) = experiment(folder, **{"task.path": "b,c.npz"})
    assert alone.config == jobs[1].config
    (again,) = plan(jobs[1].overrides, config_dir="mine").jobs
    assert again.config == jobs[1].config


def _each(key: str, values: list[str] | str) -> list[dict[str, str]]:
    values = [values] if isinstance(values, str) else values
    return [{key: value} for value in values]


@pytest.mark.parametrize("place", ["", "a,b/"])
def test_an_own_cell_in_an_experiment(place, folder):
    cells = [f"{place}my_cell.py:Mine", "lstm"]
    common = {"task.path": "b", "seed": "range(2)"}
    listed = experiment(folder, cell=cells, **common)
    zipped = experiment(folder, zip=[{"cell": cell} for cell in cells], **common)
    for jobs in (listed, zipped):
        found = [(job.config.cell, set(job.digests)) for job in jobs]
        assert found == [("Mine", {"cell"})] * 2 + [("lstm", set())] * 2
    reference = listed[0].resolved["paths"]["cell"]
    assert reference == f"{folder / place / 'my_cell.py'}:Mine"
    # What a search asks for again by its plain name is the same run.
    (again,) = plan(["zip=[{cell: Mine}]", "task=arrays", "task.path=b"]).jobs
    assert again.digests == listed[0].digests


def test_a_cell_in_any_folder(folder):
    for name in FOLDERS:
        path = f"{name}/my_cell.py:Mine"
        with session() as hydra:
            for word in (
                f"cell={path}",
                f"cell={quoted(path)}",
                *shlex.split(as_typed("cell", path)),
                f"cell=lstm,{path}",
                f"cell={path},lstm",
                f"zip=[{{cell: {path}, lr: 1}}]",
            ):
                (axis,) = parse_axes([word], hydra).values()
                assert "Mine" in str(axis)
            (file,) = hydra.files.values()
        assert file.reference == str(folder / path)
    job = compose("cell=a,b/my_cell.py:Mine")
    assert job.overrides == (f"cell='{folder}/a,b/my_cell.py:Mine'",)
    assert compose(*job.overrides).key == job.key


def test_a_folder_of_options_and_of_runs():
    text = "# @package _global_\ndefaults: [{override /cell: gru}]\n"
    for name in FOLDERS:
        Path(name, "variant").mkdir()
        Path(name, "variant", f"{name}.yaml").write_text(text)
        words = [f"variant={quoted(name)}", f"out={quoted(name)}"]
        made = plan(words, config_dir=name)
        assert (made.jobs[0].config.cell, made.settings.out) == ("gru", name)


def test_a_path_is_no_list_of_values():
    with pytest.raises(UserError, match=r"several values.*'task.path=\"b,c.npz\"'"):
        plan(["task=arrays", "task.path=b,c.npz"], multirun=True)
    both = plan(["task=arrays", "task.path=choice(b,c.npz)"], multirun=True)
    assert len(both.jobs) == 2


def test_numbers_from_the_environment(monkeypatch, capsys):
    for name, value in (("N", "3"), ("X", "1e-2"), ("T", "True"), ("W", "three")):
        monkeypatch.setenv(name, value)
    words = ["seed=${oc.env:N}", "lr=${oc.env:X}", "probe.steps=[${oc.env:N},5]"]
    words += ["model.bidirectional=${oc.env:T}", "steps='${oc.decode:${oc.env:N}}'"]
    job = compose(*words, "cell=lstm", "cell.chrono=${oc.env:N}")
    config = job.config
    assert (config.seed, config.lr, config.steps) == (3, 0.01, 3)
    assert config.probe.steps == (3, 5) and config.model.bidirectional is True
    assert dict(config.cell_options)["chrono"] == 3.0
    assert job.resolved["seed"] == 3 and job.resolved["probe"]["steps"] == [3, 5]
    for word in ("seed=${oc.env:W}", "steps=${oc.env:X}", "probe.steps=[${oc.env:W}]"):
        assert main(["train", word]) == 2
        err = capsys.readouterr().err
        assert word.split("=")[0] in err and "a whole number" in err
