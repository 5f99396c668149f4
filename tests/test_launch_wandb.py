"""The tracker of a launch: a W&B copy of every run, and never a failing run."""

import sys
from pathlib import Path

import pytest

from rnnjax.sweeps import work
from tests.launch_samples import jobs, start
from tests.training_samples import compiled


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No account, and programs that are compiled once."""
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_DIR", "WANDB_RUN_ID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path / "config"))
    monkeypatch.setattr(work, "Compiled", compiled)


def test_offline_copies(tmp_path, capfd):
    pool = tmp_path / "runs"
    planned = jobs("seed=0,1", "tracker=wandb", "tracker.project=mine")
    result = start(pool, planned, name="named")
    assert result.failed == 0
    copies = {file.name for file in pool.glob("wandb/offline-run-*/run-*.wandb")}
    assert copies == {f"run-{run.manifest().identity}.wandb" for run in result.runs}
    assert capfd.readouterr() == ("", "")
    # What is there already is not copied twice.
    assert start(pool, planned).computed == 0
    assert len(list(pool.glob("wandb/offline-run-*"))) == 2


def test_every_run_is_mirrored_once_into_the_group_of_its_sweep(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(
        work, "mirror", lambda run, **how: seen.append((run.path.name, how))
    )
    result = start(tmp_path, jobs("seed=0,1", "tracker=wandb"))
    how = {"mode": "offline", "group": result.sweep.name, "project": "rnnjax"}
    assert seen == [(run.path.name, how) for run in result.runs]
    seen.clear()
    assert start(tmp_path, jobs("seed=2")).computed == 1
    assert seen == []


def test_a_tracker_that_fails_fails_no_run(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.warns(UserWarning, match="no W&B copy"):
        result = start(tmp_path, jobs("tracker=wandb"))
    assert result.failed == 0
    assert result.runs[0].manifest().status == "done"
