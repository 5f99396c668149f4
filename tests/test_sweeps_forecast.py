"""A dry run says what a launch would do, and does nothing."""

import jax
import pytest

from rnnjax.cli.main import main
from rnnjax.sweeps import forecast as forecasting
from rnnjax.sweeps import jobs as jobs_module
from rnnjax.sweeps import worker
from rnnjax.sweeps.forecast import forecast
from tests.launch_samples import SIZES, jobs, settings, start
from tests.training_samples import compiled


@pytest.fixture(autouse=True)
def shared(monkeypatch: pytest.MonkeyPatch) -> None:
    """Programs that are compiled once for all tests of this process."""
    for module in (worker, forecasting):
        monkeypatch.setattr(module, "Compiled", compiled)


def test_groups_and_what_is_done(tmp_path, monkeypatch):
    pool = tmp_path / "runs"
    planned = jobs("cell=elman,lstm", "seed=range(3)", "lr=0.05,0.01")
    elman, lstm = forecast(planned, settings(pool))
    assert not pool.exists()
    assert (elman.labels, elman.runs, elman.done, elman.packs) == (("elman",), 6, 0, 1)
    assert elman.task == "opinion, T = 5" and elman.sizes == "elman 5, B = 4"
    assert (elman.bytes, elman.seconds) == (None, None)
    start(pool, jobs("seed=0,1"))
    before = sorted(pool.rglob("*"))
    elman, lstm = forecast(planned, settings(pool))
    assert (elman.runs, elman.done, elman.steps) == (6, 2, 4 * 12)
    assert (lstm.done, lstm.steps, lstm.seconds) == (0, 6 * 12, None)
    # Two runs of the group are there to tell how fast it is.
    assert elman.seconds is not None and elman.seconds > 0
    monkeypatch.setattr(jobs_module, "source_digest", lambda roots: "another")
    elman, _ = forecast(planned, settings(pool))
    assert (elman.done, elman.stale) == (2, 2)
    elman, _ = forecast(planned, settings(pool, stale="rerun"))
    assert (elman.done, elman.stale, elman.packs) == (0, 2, 1)
    assert sorted(pool.rglob("*")) == before


def test_memory_and_time_of_a_program(tmp_path):
    pool = tmp_path / "runs"
    planned = jobs("seed=range(9)", probe="full")
    (group,) = forecast(planned, settings(pool), full=True)
    assert group.packs == 2 and group.bytes is not None and group.seconds is not None
    # At least the parameters of 4 runs on each device; less than a small computer has.
    assert 4 * jax.local_device_count() * 400 < group.bytes < 1e9
    assert 0 < group.seconds < 60
    assert not pool.exists()


@pytest.mark.parametrize("word", ["-n", "--dry-run", "dry_run=true"])
def test_nothing_is_written(word, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["train", "-m", *SIZES, "seed=0,1", word]) == 0
    out = capsys.readouterr().out
    assert "2 jobs in 1 groups, 0 of 2 done; --dry-run=full" in out
    assert "seed=1" in out and not list(tmp_path.iterdir())


def test_the_command_shows_memory_and_time(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = ["train", *SIZES, "task.distance=5", "probe=off", "pack.capacity=4"]
    assert main([*words, "--dry-run=full"]) == 0
    out = capsys.readouterr().out
    assert " MB" in out and "to run" in out and not list(tmp_path.iterdir())
