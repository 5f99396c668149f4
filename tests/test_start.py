"""What a first run costs, counted and not timed: modules, programs, and their size."""

import json
import os
import subprocess
import sys
import threading
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import jax
import pytest

import rnnjax
from rnnjax.activations import ACTIVATIONS
from rnnjax.cells.elman import Elman
from rnnjax.training.build import signature
from rnnjax.training.compiled import Compiled
from rnnjax.training.loop import PackTraining
from rnnjax.training.pack import run_mesh
from tests.training_samples import CAPACITY, tiny


LATE = {
    *("matplotlib", "optuna", "orbax", "plotly", "scipy.special"),
    *("seaborn", "sklearn", "tensorboard", "torch", "wandb"),
}
"""Modules that take long to import, and that an update does not need."""

PROGRAMS = 20
"""Programs that XLA compiles for a run, with those of single operations."""

LINES = {"chunk": 1983, "evaluate": 732, "probe": 5407}
"""Lines of the StableHLO of each program of an LSTM."""

GROWTH = 1.1

SCRIPT = """
import json, sys, jax
from rnnjax.cli.main import main
from rnnjax.training.compiled import Compiled

seen = {"modules": None, "programs": 0, "lines": {}}
lowered = Compiled._lowered

def watched(self, name, arguments):
    if seen["modules"] is None:
        seen["modules"] = sorted(sys.modules)
    made = lowered(self, name, arguments)
    seen["lines"][name] = made.as_text().count("\\n")
    return made

def count(event, seconds, **rest):
    seen["programs"] += event == "/jax/core/compile/backend_compile_duration"

Compiled._lowered = watched
jax.monitoring.register_event_duration_secs_listener(count)
status = main(sys.argv[1:])
print(json.dumps(seen))
sys.exit(status)
"""


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a process notices that has nothing kept from another one."""
    home = tmp_path_factory.mktemp("home")
    words = "train cell=lstm steps=2 eval.size=20 eval.every=2".split()
    environment = {k: v for k, v in os.environ.items() if not k.startswith("JAX_COMP")}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *words, f"out={home / 'runs'}"],
        env=environment | {"XDG_CACHE_HOME": str(home)},
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


def test_what_is_imported_before_the_first_program(seen: dict[str, Any]) -> None:
    loaded = set(seen["modules"])
    assert not loaded & LATE
    assert "jax" in loaded and "rnnjax.training.loop" in loaded


@pytest.mark.skipif(jax.__version_info__[:2] != (0, 10), reason="counted with jax 0.10")
def test_programs_become_neither_more_nor_larger(seen: dict[str, Any]) -> None:
    """By at most a tenth; if they shrink, the record is to be lowered."""
    assert 0.7 * PROGRAMS < seen["programs"] < GROWTH * PROGRAMS
    assert seen["lines"].keys() == LINES.keys()
    for name, lines in seen["lines"].items():
        assert 0.7 * LINES[name] < lines < GROWTH * LINES[name], name


@pytest.mark.slow
def test_a_second_training_of_a_process_traces_nothing(tmp_path, monkeypatch) -> None:
    traced: list[str] = []
    lower = Compiled._lowered

    def lowered(self: Compiled, name: str, arguments: Any) -> jax.stages.Lowered:
        traced.append(name)
        return lower(self, name, arguments)

    monkeypatch.setattr(Compiled, "_lowered", lowered)
    small = ["steps=2", "eval.size=20", "model.hidden=7", f"out={tmp_path}"]
    rnnjax.train(*small, "seed=1")
    assert sorted(traced) == ["chunk", "evaluate", "probe"]
    second = rnnjax.train(*small, "seed=2")
    assert len(traced) == 3
    assert second.manifest.compile_seconds == 0
    rnnjax.train(*small, "model.hidden=8")
    assert len(traced) == 6
    # what a name stands for was replaced: as somebody may do in a notebook
    monkeypatch.setitem(ACTIVATIONS._entries, "tanh", ACTIVATIONS["relu"])
    rnnjax.train(*small, "seed=3")
    assert len(traced) == 9
    step = Elman.step
    monkeypatch.setattr(Elman, "step", lambda cell, h, drive: step(cell, h, drive / 2))
    rnnjax.train(*small, "seed=4")
    assert len(traced) == 12


def test_xla_compiles_for_the_settings_of_the_caller(monkeypatch) -> None:
    """A setting that holds in one thread alone keeps XLA in that thread."""
    run = tiny()
    PackTraining(Compiled(signature(run), run_mesh(), CAPACITY), [run])
    threads: set[int] = set()
    compile = jax.stages.Lowered.compile

    def compiled(self: jax.stages.Lowered, *options: Any) -> Any:
        threads.add(threading.get_ident())
        return compile(self, *options)

    monkeypatch.setattr(jax.stages.Lowered, "compile", compiled)
    own, seen = threading.get_ident(), []
    for context in (nullcontext(), jax.default_matmul_precision("highest")):
        threads.clear()
        fresh = Compiled(signature(run), run_mesh(), CAPACITY)
        with context:
            PackTraining(fresh, [run]).warm()
        seen.append(own in threads)
    assert seen == [False, True]


PROCESS = """
import atexit
from rnnjax.cli import main

def finished():
    print("finished")

def run(arguments=None):
    atexit.register(finished)
    print("ran")
    return 3

main.main = run
main.process()
"""


def test_a_process_ends_after_its_handlers_with_its_status() -> None:
    words = [sys.executable, "-c", PROCESS]
    done = subprocess.run(words, capture_output=True, text=True)
    assert (done.returncode, done.stdout.split()) == (3, ["ran", "finished"])
