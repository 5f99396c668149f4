"""What a folder from somebody else may do: be read, and execute nothing.

The reader is a process of its own with an audit hook, which Python calls for every
piece of code that is executed, every pickle and every process that is started.
"""

import hashlib
import pickle
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

import rnnjax
from rnnjax.cli.main import main
from rnnjax.errors import UserError
from rnnjax.store.checkpoint import PackCheckpoint
from rnnjax.store.manifest import Manifest
from rnnjax.store.rundir import CONFIG, MANIFEST, RunDir
from rnnjax.sweeps import user_files, worker
from tests.launch_samples import PROBE, SIZES
from tests.test_api import CELL, TASK
from tests.training_samples import compiled


OWN = [word for word in SIZES if "embedding" not in word]

PLANT = "open({ran!r}, 'a').write(__file__ + '\\n')\n"


def words(folder: Path) -> list[str]:
    """The command line of the run: its cell and its task are of files."""
    files = [f"cell={folder}/cell.py:Leaky", f"task={folder}/task.py:Short"]
    return [*files, *OWN, *PROBE]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pool with one run of a user's cell and task, and the files beside it."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "cell.py").write_text(CELL)
    (folder / "task.py").write_text(TASK)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(worker, "Compiled", compiled)
        rnnjax.train(*words(folder), out=folder / "pool")
    return folder / "pool"


@pytest.fixture
def foreign(made: Path, tmp_path: Path, monkeypatch) -> rnnjax.Run:
    """The run as another process finds it; its code leaves a word when it runs."""
    monkeypatch.setattr(user_files, "_NAMED", {})
    pool = shutil.copytree(made, tmp_path / "pool")
    (run,) = pool.glob("*-*/manifest.json")
    plant(RunDir(run.parent), tmp_path / "ran")
    return rnnjax.open_run(run.parent)


def plant(run: RunDir, word: Path) -> None:
    """Code that notes that it is executed, under a manifest that vouches for it."""
    tree, digests = run.config(), {}
    for kind in ("cell", "task"):
        source = run.source(kind).read_text() + PLANT.format(ran=str(word))
        run.source(kind).write_text(source)
        digests[kind] = hashlib.sha256(source.encode()).hexdigest()
        elsewhere = run.path / f"{kind}.py"
        elsewhere.write_text(source)
        tree["paths"][kind] = f"{elsewhere}:{tree[kind]['name']}"
    rewrite(run, run.manifest().replace(digests=digests), tree)


def rewrite(run: RunDir, manifest: Manifest, tree: object) -> None:
    """Another manifest and configuration, which agree."""
    text = tree if isinstance(tree, str) else yaml.safe_dump(tree)
    (run.path / CONFIG).write_text(text)
    files = manifest.files | {CONFIG: hashlib.sha256(text.encode()).hexdigest()}
    (run.path / MANIFEST).write_text(manifest.replace(files=files).to_json())


def executed(run: rnnjax.Run) -> list[str]:
    """Names of the planted files that were executed."""
    word = run.path.parents[1] / "ran"
    files = word.read_text().split() if word.exists() else []
    return sorted({Path(file).name for file in files})


def test_numbers_are_read_without_code(foreign):
    assert foreign.params["head"]["kernel"].shape == (5, 1)
    assert foreign.best_params.keys() == foreign.params_at(7).keys()
    assert foreign.metrics["step"].to_list() == [5, 6, 10, 12]
    assert foreign.probes.sizes["train_step"] == 4
    assert foreign.results["test_loss"] and foreign.manifest.status == "done"
    digests = foreign.manifest.digests
    assert foreign.config.cell == f"Leaky@{digests['cell'][:8]}"
    assert foreign.config.task == f"Short@{digests['task'][:8]}"
    assert foreign.config.model.hidden == 5
    assert executed(foreign) == []


@pytest.mark.parametrize("use", ["model", "apply", "check_data"])
def test_code_of_a_run_needs_a_word(foreign, use):
    uses: dict[str, Callable[[rnnjax.Run], Any]] = {
        "model": lambda run: run.model,
        "apply": lambda run: run.apply([[[1.0, 0.0]]]),
        "check_data": lambda run: run.check_data(),
    }
    with pytest.raises(UserError, match=r"source/(cell|task)\.py'.*run_code=True"):
        uses[use](foreign)
    assert executed(foreign) == []
    allowed = rnnjax.open_run(foreign.path, run_code=True)
    uses[use](allowed)
    assert executed(foreign) == ["cell.py", "task.py"]
    assert allowed.config == foreign.config


def test_a_learned_first_state_needs_the_cell(foreign):
    tree = foreign.directory.config()
    tree["model"]["learn_initial_state"] = True
    rewrite(foreign.directory, foreign.manifest, tree)
    with pytest.raises(UserError, match="run_code=True"):
        _ = rnnjax.open_run(foreign.path).params
    assert executed(foreign) == []


def test_probe_says_which_file_and_which_word(foreign, capsys):
    assert main(["probe", f"run={foreign.path}", "sections=adjoints"]) == 2
    said = capsys.readouterr().err
    assert str(foreign.directory.source("cell")) in said and "run_code=true" in said
    assert main(["probe", f"run={foreign.path}", "run_code=yes"]) == 2
    assert main(["probe", "run_code=true"]) == 2
    assert "run_code needs run=DIR" in capsys.readouterr().err
    assert executed(foreign) == []
    allowed = ["sections=adjoints", "run_code=true"]
    assert main(["probe", f"run={foreign.path}", *allowed]) == 0
    assert executed(foreign) == ["cell.py", "task.py"]


def test_a_copy_that_is_not_the_one_is_refused_with_the_word_too(foreign):
    with foreign.directory.source("cell").open("a") as copy:
        copy.write("\n")
    with pytest.raises(UserError, match="is not the file that the run was made with"):
        _ = rnnjax.open_run(foreign.path, run_code=True).model
    assert executed(foreign) == []


@pytest.mark.parametrize("lie", ["no digest", "no reference"])
def test_a_run_that_contradicts_itself_is_refused(foreign, lie):
    manifest, tree = foreign.manifest, foreign.directory.config()
    if lie == "no digest":
        manifest = manifest.replace(digests={})
    else:
        tree["paths"] = {"cell": "os.system"}
    rewrite(foreign.directory, manifest, tree)
    with pytest.raises(UserError, match="but the manifest has no digest"):
        _ = rnnjax.open_run(foreign.path).config
    assert executed(foreign) == []


def test_what_train_returns_was_named_by_the_user(made, foreign, monkeypatch):
    """… unless the pool holds other code under the id of the run."""
    monkeypatch.setattr(worker, "Compiled", compiled)
    run = rnnjax.train(*words(made.parent), out=made)
    assert run.apply([[[1.0, 0.0]]]).shape == (1, 1)
    assert rnnjax.open_run(run.path).apply([[[1.0, 0.0]]]) == run.apply([[[1.0, 0.0]]])
    planted = rnnjax.train(*words(made.parent), out=foreign.path.parent)
    assert planted.path == foreign.path
    with pytest.raises(UserError, match="run_code=True"):
        _ = planted.model
    assert executed(foreign) == []


READER = """
import sys
sys.path[:0] = [{root!r}]
import rnnjax
from rnnjax.cli.main import main

STARTS = "pickle.find_class", "subprocess.Popen", "os.system", "os.exec"

def watch(event, arguments):
    if event == "exec" and arguments[0].co_filename.startswith({folder!r}):
        print("EXECUTED", arguments[0].co_filename, flush=True)
    if event in STARTS and arguments[1] != ["uname", "-p"]:
        print("EXECUTED", event, arguments, flush=True)

sys.addaudithook(watch)
for words in {commands!r}:
    print("STATUS", main(words), words)
run = rnnjax.open_run({run!r})
run.params, run.best_params, run.metrics, run.probes, run.results, run.config
rnnjax.results.load(".").probes()
print("END")
"""


class Evil:
    """Unpickled, it says so."""

    def __reduce__(self) -> tuple[Any, ...]:
        return print, ("EXECUTED by a pickle",)


def test_no_reader_executes_anything_of_a_pool(foreign):
    """Modules, settings and plugins by every name that some library looks for."""
    pool, run = foreign.path.parent, foreign.path
    for name in (
        *("yaml.py", "sitecustomize.py", "usercustomize.py", "conftest.py", "evil.py"),
        *("experiments/cliff.py", "experiments/__init__.py", "conf/config.py"),
        *("hydra_plugins/evil.py", "hydra_plugins/own/__init__.py"),
    ):
        (pool / name).parent.mkdir(exist_ok=True, parents=True)
        (pool / name).write_text(PLANT.format(ran=str(pool.parent / "ran")))
    for name in ("params.msgpack.pkl", "wandb/debug.pkl", "submitit/1_result.pkl"):
        (pool / name).parent.mkdir(exist_ok=True)
        (pool / name).write_bytes(pickle.dumps(Evil()))
    (pool / "matplotlibrc").write_text("backend: module://evil\ntext.usetex: True\n")
    callbacks = {"hydra": {"callbacks": {"evil": {"_target_": "evil.Evil"}}}}
    for place in (pool / "conf" / "config.yaml", run / ".hydra" / "hydra.yaml"):
        place.write_text(yaml.safe_dump(callbacks))
    sweep = next(pool.glob("sweeps/*"))
    commands = [
        *(["runs", "."], ["runs", str(sweep)], ["report", "."], ["report", str(sweep)]),
        *(["report", str(run)], ["compare", str(run), str(run)], ["list", "figures"]),
        *(["list", "experiments"], ["train", "-n", "steps=1", "out=."]),
        ["probe", f"run={run}"],
    ]
    root = str(Path(rnnjax.__file__).parents[1])
    named = {"root": root, "folder": str(pool), "run": str(run), "commands": commands}
    # -P: as the installed script, which does not look for modules where it is started
    process = [sys.executable, "-P", "-c", READER.format(**named)]
    done = subprocess.run(process, cwd=pool, capture_output=True, text=True)
    said = done.stdout + done.stderr
    assert "EXECUTED" not in said, said
    assert done.stdout.endswith("END\n"), said
    statuses = [line.split()[1] for line in said.splitlines() if "STATUS" in line]
    assert statuses == ["0"] * (len(commands) - 1) + ["2"], said
    assert executed(foreign) == []


TAG = "cell: !!python/object/apply:builtins.open ['{place}', 'w']\n"


@pytest.mark.parametrize("file", [CONFIG, "params.msgpack", "metrics.parquet"])
def test_a_file_of_a_run_is_data_whatever_it_holds(foreign, file, capsys):
    """A YAML tag and a pickle are refused, not obeyed."""
    run, place = foreign.directory, foreign.path.parents[1] / "ran"
    if file == CONFIG:
        rewrite(run, foreign.manifest, TAG.format(place=place))
    else:
        content = pickle.dumps(Evil())
        (foreign.path / file).write_bytes(content)
        files = foreign.manifest.files | {file: hashlib.sha256(content).hexdigest()}
        manifest = foreign.manifest.replace(files=files)
        (foreign.path / MANIFEST).write_text(manifest.to_json())
    looks = {CONFIG: "config", "params.msgpack": "params"}
    with pytest.raises(Exception, match="."):
        getattr(foreign, looks.get(file, "metrics"))
    assert "EXECUTED" not in capsys.readouterr().out and not place.exists()


def test_a_checkpoint_is_data(tmp_path, capsys):
    checkpoint = PackCheckpoint(tmp_path / "pack", ["a"])
    state = {"x": np.zeros(2)}
    checkpoint.save(1, state, {"history": {"loss": np.zeros(1)}})
    (part,) = (tmp_path / "pack").glob("part-*.npz")
    np.savez(part, loss=np.array([Evil()], object))
    with pytest.raises(Exception, match="."):
        checkpoint.restore(state)
    assert "EXECUTED" not in capsys.readouterr().out


def test_every_promise_names_a_test_that_there_is():
    """`SECURITY.md` lists them by file, or by function."""
    here = Path(__file__).parent
    said = (here.parent / "SECURITY.md").read_text()
    named = set(re.findall(r"`(test_\w+)(\.py)?`", said))
    known = "".join(file.read_text() for file in here.glob("test_*.py"))
    assert len(named) > 15
    for name, is_file in named:
        assert (here / f"{name}.py").exists() if is_file else f"def {name}(" in known


NEIGHBOURS = {
    "by its path": (
        "import importlib.util\nfrom pathlib import Path\n"
        "at = Path(__file__).with_name('own_gain.py')\n"
        "spec = importlib.util.spec_from_file_location('own_gain_1', at)\n"
        "own = importlib.util.module_from_spec(spec)\nspec.loader.exec_module(own)\n"
    ),
    "by the folder": (
        "import os, sys\nsys.path.insert(0, os.path.dirname(__file__))\n"
        "import own_gain\n"
    ),
}


@pytest.mark.filterwarnings("ignore:.*executes code that no import")
@pytest.mark.parametrize("how", NEIGHBOURS)
def test_no_neighbour_of_a_copy_is_executed(tmp_path, monkeypatch, how):
    """A cell loads a file beside it; a foreign run has another one beside the copy."""
    file, gain = tmp_path / "cell.py", tmp_path / "own_gain.py"
    file.write_text(NEIGHBOURS[how] + CELL)
    gain.write_text("gain = 1.0\n")
    monkeypatch.setattr(sys, "path", list(sys.path))
    run = rnnjax.train(
        f"cell={file}:Leaky", *SIZES, "probe=off", f"out={tmp_path / 'pool'}"
    )
    foreign = shutil.copytree(run.path, tmp_path / "theirs" / run.path.name)
    hostile = foreign / "source" / "own_gain.py"
    hostile.write_text(f"open({str(tmp_path / 'executed')!r}, 'w')\ngain = 1.0\n")
    monkeypatch.delitem(sys.modules, "own_gain", raising=False)
    assert rnnjax.open_run(foreign).model is not None
    assert not (tmp_path / "executed").exists()
    monkeypatch.delitem(sys.modules, "own_gain", raising=False)
