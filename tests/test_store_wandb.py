"""The W&B mirror writes offline without an account, in silence, and never fails."""

import sys
import time
from pathlib import Path

import pytest

from rnnjax.store.pool import Pool
from rnnjax.store.rundir import RunDir
from rnnjax.store.wandb_mirror import mirror
from tests.store_samples import store_run


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunDir:
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_DIR", "WANDB_RUN_ID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path / "config"))
    return store_run(Pool(tmp_path / "pool"))


def test_offline(run: RunDir, capfd: pytest.CaptureFixture[str]):
    assert mirror(run, group="first sweep") is True
    key = run.manifest().identity
    [file] = (run.path.parent / "wandb").glob(f"offline-run-*/run-{key}.wandb")
    expected = (key, "first sweep", "rnnjax", "lstm", "loss", "accuracy", "done")
    deadline = time.monotonic() + 20  # W&B's own process completes the file.
    while missing := [t for t in expected if t.encode() not in file.read_bytes()]:
        assert time.monotonic() < deadline, missing
        time.sleep(0.02)
    assert capfd.readouterr() == ("", "")


def test_disabled_writes_nothing(run: RunDir):
    assert mirror(run, mode="disabled") is False
    assert not (run.path.parent / "wandb").exists()


def test_online_without_an_account_asks_nothing(
    run: RunDir, monkeypatch: pytest.MonkeyPatch
):
    import wandb

    monkeypatch.setattr(wandb, "login", lambda *, prompt: prompt)
    with pytest.warns(UserWarning, match="no W&B copy of '.*': no account is known"):
        assert mirror(run, mode="online") is False


def test_any_failure_is_a_warning(run: RunDir, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.warns(UserWarning, match="no W&B copy"):
        assert mirror(run) is False


def test_a_failure_half_way_closes_the_run(
    run: RunDir, monkeypatch: pytest.MonkeyPatch
):
    import wandb

    closed: list[int] = []

    class Session:
        def log(self, row: dict, step: int) -> None:
            raise ConnectionError("gone\nwith details")

        def finish(self, exit_code: int) -> None:
            closed.append(exit_code)

    monkeypatch.setattr(wandb, "init", lambda **settings: Session())
    with pytest.warns(UserWarning, match="gone$"):
        assert mirror(run) is False
    assert closed == [1]
