"""``hydra/launcher=packed`` in an application of a user, and where it is found."""

import os
import subprocess
import sys
from pathlib import Path

import jax
import pytest
import yaml

from rnnjax.results import load
from rnnjax.sweeps.compose import compose
from tests.launch_samples import SIZES


APP = """
import logging, hydra, rnnjax
from hydra.core.hydra_config import HydraConfig
from hydra.experimental.callback import Callback
from omegaconf import OmegaConf

class Notes(Callback):
    def on_multirun_start(self, config, **_): print("note multirun start")
    def on_multirun_end(self, config, **_): print("note multirun end")
    def on_job_start(self, config, **_): print("note start", config.hydra.job.num)
    def on_job_end(self, config, job_return, **_):
        print("note end", job_return.overrides, job_return.status.name)

@hydra.main(version_base="1.3", config_path=".", config_name="own")
def main(config):
    if config.word == "raise":
        raise RuntimeError("a job of bad luck")
    run = rnnjax.train(*config.sizes, f"cell={config.cell}", f"lr={config.lr}")
    logging.getLogger("own").info(f"trained {run.manifest.pack}")
    print("note ran", HydraConfig.get().job.num, config.lr, run.manifest.status)
    return run.results["test_loss"]

if __name__ == "__main__":
    main()
"""


@pytest.fixture
def app(tmp_path: Path) -> Path:
    (tmp_path / "app.py").write_text(APP)
    small = [*SIZES, "task.distance=5", "probe=off", "steps=3", "eval.every=3"]
    small += ["loss_bound=5"]
    own = {
        "defaults": ["_self_", {"override hydra/launcher": "packed"}],
        "hydra": {"callbacks": {"notes": {"_target_": "__main__.Notes"}}},
        "cell": "elman",
        "lr": 0.1,
        "word": "train",
        "sizes": small,
    }
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(own))
    return tmp_path


def run(app: Path, *words: str) -> subprocess.CompletedProcess[str]:
    names = {
        "PYTHONPATH": str(Path(__file__).parents[1]),
        "JAX_COMPILATION_CACHE_DIR": getattr(jax.config, "jax_compilation_cache_dir"),  # noqa: B009
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
    return subprocess.run(
        [sys.executable, "app.py", "-m", *words],
        cwd=app,
        env=os.environ | names,
        capture_output=True,
        text=True,
        check=False,
    )


def test_jobs_of_an_application_are_packed_and_look_as_if_alone(app):
    """lr=1000 diverges, `word=raise` fails by itself; the others go on."""
    done = run(app, "lr=.1,1000,.2", "word=train,raise", "hydra.sweep.dir=out")
    notes = [line for line in done.stdout.splitlines() if line.startswith("note")]
    assert "a job of bad luck" in done.stderr and done.returncode == 1
    expected = ["note multirun start"]
    for number, (lr, status) in enumerate(
        [("0.1", "done"), ("1000", "diverged"), ("0.2", "done")]
    ):
        even, odd = 2 * number, 2 * number + 1
        expected += [
            f"note start {even}",
            f"note ran {even} {lr} {status}",
            f"note end ['lr={lr}', 'word=train'] COMPLETED",
            f"note start {odd}",
            f"note end ['lr={lr}', 'word=raise'] FAILED",
        ]
    assert notes[: len(expected)] == expected
    runs = load(app / "runs").runs
    assert sorted(runs["status"]) == ["diverged", "done", "done"]
    for number in range(6):
        folder = app / "out" / str(number) / ".hydra"
        names = sorted(file.name for file in folder.iterdir())
        assert names == ["config.yaml", "hydra.yaml", "overrides.yaml"]
    log = (app / "out" / "2" / "app.log").read_text()
    assert "trained Slot(size=3, slot=1, how='loop'" in log


def test_an_application_keeps_its_own_keys():
    """`cell` is a group inside of a composition of ours, and not behind it."""
    from hydra.core.config_store import ConfigStore

    store = ConfigStore.instance()
    store.store(group="cell", name="elman", node={"own": 1})
    before = str(store.repo["cell"])
    try:
        assert dict(compose("cell=elman").config.cell_options)["bias"] == 0.0
        assert dict(compose("cell=gru").config.cell_options)["chrono"] is None
        assert str(store.repo["cell"]) == before and "task" not in store.repo
    finally:
        del store.repo["cell"]


@pytest.mark.slow
def test_a_wrong_job_stops_the_sweep_before_it_starts(app):
    done = run(app, "cell=elman,lstn", "hydra.sweep.dir=out")
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "lstn" in done.stderr and "lstm" in done.stderr
    assert not (app / "runs").exists() and not (app / "out" / "0").exists()


def test_the_launcher_is_found_without_jax():
    code = (
        "import sys; from hydra.core.plugins import Plugins; "
        "from hydra.plugins.launcher import Launcher; "
        "names = [one.__name__ for one in Plugins.instance().discover(Launcher)]; "
        "assert 'PackedLauncher' in names, names; "
        "assert not {'jax', 'polars', 'rich'} & set(sys.modules)"
    )
    root = str(Path(__file__).parents[1])
    environment = os.environ | {"PYTHONPATH": root}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)
