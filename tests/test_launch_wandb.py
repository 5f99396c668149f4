"""The tracker of a launch: a W&B copy of every run, and never a failing run."""

import sys
from pathlib import Path

import polars as pl
import pytest

from rnnjax.errors import UserError
from rnnjax.store.rundir import METRICS
from rnnjax.sweeps import copies as copying
from rnnjax.sweeps import worker
from tests.launch_samples import Witness, jobs, start
from tests.training_samples import compiled
from tests.wandb_samples import content, copies, without_account


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No account, and programs that are compiled once."""
    without_account(tmp_path, monkeypatch)
    monkeypatch.setattr(worker, "Compiled", compiled)


class Heard(Witness):
    """Keeps what it is told beside warnings."""

    def __init__(self) -> None:
        super().__init__()
        self.said: list[str] = []

    def say(self, message: str) -> None:
        self.said.append(message)


def test_offline_copies(tmp_path, capfd):
    pool = tmp_path / "runs"
    planned = jobs("seed=0,1", "tracker=wandb", "tracker.project=mine")
    result = start(pool, planned, name="named")
    assert result.failed == 0
    names = {file.name for file in copies(pool)}
    assert names == {f"run-{run.manifest().run_id}.wandb" for run in result.runs}
    assert capfd.readouterr() == ("", "")
    # What is there already is not copied twice.
    heard = Heard()
    assert start(pool, planned, heard).computed == 0
    assert len(copies(pool)) == 2
    assert heard.said == heard.warnings == []


def test_copies_for_another_project_stay(tmp_path, monkeypatch):
    shared = tmp_path / "shared"
    monkeypatch.setenv("WANDB_DIR", str(shared))
    for pool, project in ("one", "a"), ("one", "b"), ("two", "b"):
        start(tmp_path / pool, jobs("tracker=wandb", f"tracker.project={project}"))
    # the run of both pools is one run in a project
    assert sorted(content(file)["project"] for file in copies(shared)) == ["a", "b"]


def test_runs_that_were_finished_before_are_copied_from_the_store(tmp_path):
    start(tmp_path, jobs("seed=0,1"))
    planned = jobs("seed=0,1", "tracker=wandb")
    heard = Heard()
    result = start(tmp_path, planned, heard)
    assert result.computed == 0
    assert heard.said == [f"copied 2 finished runs to W&B, in '{tmp_path}/wandb'"]
    held = {content(file)["id"]: content(file)["history"] for file in copies(tmp_path)}
    for run in result.runs:
        stored = pl.read_parquet(run.path / METRICS)
        rows = held.pop(run.manifest().run_id)
        assert [row["_step"] for row in rows] == stored["step"].to_list()
        losses = {row["_step"]: row.get("loss") for row in rows}
        assert losses == dict(stored.select("step", "loss").iter_rows())
        assert {"accuracy", "validation_accuracy"} <= rows[-1].keys()
    assert held == {}


def test_a_longer_run_has_a_copy_of_its_own_with_every_step_once(tmp_path):
    start(tmp_path, jobs("tracker=wandb"))
    [first] = copies(tmp_path)
    short = [row["_step"] for row in content(first)["history"]]
    heard = Heard()
    result = start(tmp_path, jobs("steps=18", "tracker=wandb"), heard)
    [second] = set(copies(tmp_path)) - {first}
    steps = [row["_step"] for row in content(second)["history"]]
    stored = result.runs[0].metrics()["step"].to_list()
    assert steps == stored and len(steps) > len(short)
    assert heard.said == []  # nothing beside the run itself
    assert [row["_step"] for row in content(first)["history"]] == short


def test_every_run_is_mirrored_once_into_the_group_of_its_sweep(tmp_path, monkeypatch):
    seen = []

    def mirror(run, place, older):
        seen.append((run.path.name, place.mode, place.group, place.project))

    monkeypatch.setattr(copying, "mirror", mirror)
    result = start(tmp_path, jobs("seed=0,1", "tracker=wandb"))
    how = ("offline", result.sweep.name, "rnnjax")
    assert set(seen) == {(run.path.name, *how) for run in result.runs}
    seen.clear()
    assert start(tmp_path, jobs("seed=2")).computed == 1
    assert seen == []


def test_the_environment_may_forbid_copies(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_DISABLED", "true")
    heard = Heard()
    start(tmp_path, jobs("tracker=wandb"), heard)
    assert heard.said == ["no W&B copies: WANDB_DISABLED=true"]
    assert not (tmp_path / "wandb").exists()
    # A key of the command line wins.
    start(tmp_path, jobs("tracker=wandb", "tracker.mode=offline"), heard)
    assert len(copies(tmp_path)) == 1


def test_a_tracker_that_fails_fails_no_run_and_says_so_once(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.warns(UserWarning, match="no W&B copy") as warned:
        result = start(tmp_path, jobs("seed=0,1", "tracker=wandb"))
    assert len([one for one in warned if "W&B" in str(one.message)]) == 1
    assert result.failed == 0
    assert result.runs[0].manifest().status == "done"
    heard = Heard()
    assert start(tmp_path, jobs("seed=0,1", "tracker=wandb"), heard).failed == 0
    [line] = heard.warnings
    assert line.startswith("no W&B copy of '") and " and 1 more: " in line


def test_a_project_that_wandb_does_not_take_is_refused():
    with pytest.raises(UserError, match="tracker.project=a/b must have 1 to 128"):
        jobs("tracker=wandb", "tracker.project=a/b")
