"""What Hydra leaves and whom it calls: ``.hydra/`` of every run, and callbacks."""

import importlib
import os
import pickle
import sys
from pathlib import Path

import pytest
import yaml
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.utils import JobStatus
from omegaconf import OmegaConf

import rnnjax.report
from rnnjax.cli import commands
from rnnjax.cli.main import main
from rnnjax.errors import UserError
from rnnjax.sweeps import pack_run, worker
from rnnjax.sweeps.compose import plan
from rnnjax.sweeps.hydra_node import HYDRA
from tests.launch_samples import OPINION, SIZES, jobs, start
from tests.training_samples import compiled


FILES = ["config.yaml", "hydra.yaml", "overrides.yaml"]
MINE = "+hydra.callbacks.mine._target_"
PICKLE = (
    "+hydra.callbacks.own._target_=hydra.experimental.callbacks.PickleJobInfoCallback"
)

NOTES = """
from pathlib import Path
from hydra.core.hydra_config import HydraConfig
from hydra.experimental.callback import Callback

SEEN = []

class Notes(Callback):
    def __init__(self, word="note"):
        self.word = word

    def on_multirun_start(self, config, **_):
        SEEN.append((self.word, "multirun start", list(config.hydra.overrides.task)))

    def on_multirun_end(self, config, **_):
        reports = Path(config.hydra.sweep.dir).glob("sweeps/*/report.html")
        SEEN.append((self.word, "multirun end", len(list(reports))))

    def on_run_start(self, config, **_):
        SEEN.append((self.word, "run start", config.seed))

    def on_run_end(self, config, job_return, **_):
        SEEN.append((self.word, "run end", job_return.status.name))

    def on_job_start(self, config, *, task_function, **_):
        assert config.hydra.job.num == HydraConfig.get().job.num
        trained = (Path(config.hydra.runtime.output_dir) / "params.msgpack").exists()
        SEEN.append((self.word, "start", config.hydra.job.num, trained))

    def on_job_end(self, config, job_return, **_):
        if job_return.status.name == "COMPLETED":
            assert job_return.return_value["test_loss"] > 0
        found = job_return.cfg.seed, job_return.status.name
        SEEN.append((self.word, "end", job_return.hydra_cfg.hydra.job.num, *found))
"""


@pytest.fixture(autouse=True)
def shared(monkeypatch: pytest.MonkeyPatch) -> None:
    """Programs that are compiled once for all tests of this process."""
    monkeypatch.setattr(worker, "Compiled", compiled)


# -- .hydra/ -----------------------------------------------------------------------


def test_every_run_has_what_hydra_leaves(tmp_path):
    planned = jobs("seed=0,1")
    found = start(tmp_path / "runs", planned)
    for number, (job, run) in enumerate(zip(planned, found.runs, strict=True)):
        folder = run.path / HYDRA
        assert sorted(file.name for file in folder.iterdir()) == FILES
        texts = {name: (folder / name).read_text() for name in FILES}
        assert texts["config.yaml"] == (run.path / "config.yaml").read_text()
        assert yaml.safe_load(texts["overrides.yaml"]) == list(job.overrides)
        node = OmegaConf.create(texts["hydra.yaml"]).hydra
        assert (node.job.num, node.mode, node.job.name) == (
            number,
            "MULTIRUN",
            "rnnjax",
        )
        assert list(node.overrides.task) == list(job.overrides)
        assert node.runtime.output_dir == str(run.path.absolute())
        assert f"{node.sweep.dir}/{node.sweep.subdir}" == node.runtime.output_dir
        assert (
            node.runtime.choices["cell"] == "elman" and node.launcher.name == "packed"
        )
        assert node == job.hydra.of(number, job.overrides, run.path)
    before = {file: file.stat().st_mtime_ns for file in tmp_path.rglob(f"{HYDRA}/*")}
    assert start(tmp_path / "runs", planned).computed == 0
    assert before == {file: file.stat().st_mtime_ns for file in before}


def test_hydra_reads_the_configuration_of_a_run(tmp_path):
    (run,) = start(tmp_path, jobs()).runs
    outer, GlobalHydra.instance().hydra = GlobalHydra.instance().hydra, None
    try:
        with initialize_config_dir(str(run.path / HYDRA), version_base="1.3"):
            read = compose("config", ["lr=.3"])
    finally:
        GlobalHydra.instance().hydra = outer
    assert read.lr == 0.3 and read.task.distance == 5
    assert OmegaConf.to_container(read) == run.config() | {"lr": 0.3}


# -- callbacks ---------------------------------------------------------------------


@pytest.fixture
def seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list:
    """What `notes.Notes` of the present folder is called with."""
    (tmp_path / "notes.py").write_text(NOTES)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [place for place in sys.path if place])
    monkeypatch.delitem(sys.modules, "notes", raising=False)
    monkeypatch.setattr(rnnjax.report, "summary", lambda folder: "")
    page = lambda folder: (Path(folder) / "report.html").touch() or 0
    monkeypatch.setattr(commands, "report", page)
    plan([f"{MINE}=notes.Notes"], callbacks=True)
    return importlib.import_module("notes").SEEN


def command(*words: str) -> int:
    return main(["train", *SIZES, "probe=off", "pack.capacity=4", *OPINION, *words])


def test_a_sweep_tells_of_its_jobs_in_their_order(seen, monkeypatch):
    """Jobs that take turns in two packs, which are trained one after the other."""
    axes = ["seed=0,1", "eval.stop_when_solved=false,true"]
    words = ["-m", *axes, f"{MINE}=notes.Notes", "+hydra.callbacks.mine.word=mine"]
    real = pack_run.seal

    def seal(run, begun, planned, *rest):
        if planned.number == 2:
            raise RuntimeError("no luck")
        return real(run, begun, planned, *rest)

    monkeypatch.setattr(pack_run, "seal", seal)
    assert command(*words) == 1
    first, *between, last = seen
    expected = []
    for number in range(4):
        end = "FAILED" if number == 2 else "COMPLETED"
        expected.append(("mine", "start", number, number != 2))
        expected.append(("mine", "end", number, number // 2, end))
    assert between == expected and last == ("mine", "multirun end", 1)
    assert first[:2] == ("mine", "multirun start") and first[2][-2:] == axes
    assert len(list(Path("runs").glob(f"*/{HYDRA}"))) == 4
    # Started again: the one that failed trains, and all four are told of.
    monkeypatch.setattr(pack_run, "seal", real)
    seen.clear()
    assert command(*words) == 0
    assert [told[-1] for told in seen if told[1] == "end"] == ["COMPLETED"] * 4
    assert len(seen) == 10


def test_a_run_tells_before_and_after_it_trains(seen, tmp_path):
    assert command("seed=3", f"{MINE}=notes.Notes", f"{PICKLE}") == 0
    assert seen == [
        ("note", "run start", 3),
        ("note", "start", 0, False),
        ("note", "end", 0, 3, "COMPLETED"),
        ("note", "run end", "COMPLETED"),
    ]
    (file,) = tmp_path.glob(f"runs/*/{HYDRA}/job_return.pickle")
    returned = pickle.loads(file.read_bytes())
    assert (
        returned.status == JobStatus.COMPLETED and returned.working_dir == os.getcwd()
    )
    assert "seed=3" in returned.overrides and returned.task_name == "rnnjax"
    assert returned.return_value["best_step"] in (6, 12)
    # Finished, in a folder that was named by another sweep.
    seen.clear()
    assert command("-m", "seed=4,5") == 0
    assert command("seed=4", f"{MINE}=notes.Notes") == 0
    assert seen[1:3] == [("note", "start", 0, True), ("note", "end", 0, 4, "COMPLETED")]


def test_a_configuration_may_name_callbacks(seen, tmp_path):
    (tmp_path / "own" / "experiment").mkdir(parents=True)
    (tmp_path / "own" / "hydra" / "callbacks").mkdir(parents=True)
    node = {"here": {"_target_": "notes.Notes", "word": "here"}}
    text = yaml.safe_dump({"hydra": {"callbacks": node}})
    stated = tmp_path / "own" / "experiment" / "told.yaml"
    stated.write_text(f"# @package _global_\n{text}")
    (tmp_path / "own" / "hydra" / "callbacks" / "told.yaml").write_text(
        yaml.safe_dump(node)
    )
    for word in ("experiment=told", "hydra/callbacks=told"):
        made = plan([word], config_dir=tmp_path / "own", callbacks=True)
        assert made.jobs[0].hydra.callbacks == node
    with pytest.raises(UserError, match="cannot differ"):
        words = ["experiment=told,none"]
        plan(words, multirun=True, config_dir=tmp_path / "own", callbacks=True)


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        ([f"{MINE}=notes.Note"], ["notes", "'Note'", "did you mean Notes?"]),
        ([f"{MINE}=Notes"], ["hydra.callbacks.mine", "module"]),
        ([f"{MINE}=nowhere.Notes"], ["hydra.callbacks.mine", "'nowhere'"]),
        (["+hydra.callbacks.mine.word=x"], ["hydra.callbacks.mine", "_target_"]),
        ([f"{MINE}=notes.Notes", f"{MINE[:-8]}wort=x"], ["wort"]),
        (["hydra/callbacks=nowhere"], ["hydra/callbacks", "nowhere"]),
        (["hydra.verbose=true"], ["hydra.verbose"]),
    ],
)
def test_a_wrong_callback_is_one_sentence(words, parts, seen, capsys, caplog):
    before = set(os.listdir())
    assert command(*words) == 2
    error = capsys.readouterr().err
    assert error.startswith("rnnjax: ") and error.count("\n") == 1, error
    assert not [part for part in parts if part not in error], error
    assert (
        "HYDRA_FULL_ERROR" not in error
        and not caplog.records
        and set(os.listdir()) - before <= {"__pycache__"}
    )


def test_only_train_calls_them():
    with pytest.raises(UserError, match="only rnnjax train"):
        plan([f"{MINE}=notes.Notes"])
