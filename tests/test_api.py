"""From Python: train a run, open it again, apply its model, load what is there."""

import importlib
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rnnjax
from rnnjax.cells import CELLS
from rnnjax.cli.main import main
from rnnjax.errors import UserError
from rnnjax.probes import log10_norms, trace
from rnnjax.store.pool import Pool
from rnnjax.sweeps import worker
from rnnjax.tasks import TASKS
from rnnjax.training.build import forget_data, heldout, initial_params
from tests.launch_samples import PROBE, SIZES
from tests.probe_models import spec_of
from tests.training_samples import compiled, differing, tiny, train


OPINION = [*SIZES, *PROBE, "task.distance=5"]

CELL = """
import jax.numpy as jnp
from rnnjax.cells import Cell

class Leaky(Cell):
    "A leaky integrator with nothing but a step."
    rate: float = 0.5

    def setup(self):
        half = lambda key, shape, dtype: jnp.full(shape, 0.5, dtype)
        self.U = self.vector("U", self.features, half)
        self.V = self.kernel("V", self.inputs, self.features, "glorot_uniform")

    def step(self, h, x):
        return (1 - self.rate) * h + self.rate * jnp.tanh(self.U * h + x @ self.V)
"""

TASK = """
import dataclasses
from rnnjax.tasks import Adding

@dataclasses.dataclass(frozen=True)
class Short(Adding):
    length: int = 4
"""


@pytest.fixture(autouse=True)
def shared(monkeypatch: pytest.MonkeyPatch) -> None:
    """Programs that are compiled once for all tests of this process."""
    monkeypatch.setattr(worker, "Compiled", compiled)


@pytest.fixture
def run(tmp_path: Path) -> rnnjax.Run:
    return rnnjax.train(*OPINION, out=tmp_path / "runs")


def test_a_run(run: rnnjax.Run, tmp_path: Path):
    (outcome,) = train(tiny(probe="full"))
    assert run.manifest.status == "done"
    assert run.results == run.manifest.results == dict(outcome.results)
    assert run.config == tiny(
        probe="full",
        cell_options=dict(run.config.cell_options),
        task_options=dict(run.config.task_options),
        activation="tanh",
    )
    assert run.metrics["loss"].to_list() == outcome.metrics["loss"].tolist()
    assert run.probes.train_step.to_numpy().tolist() == [0, 4, 7, 12]
    assert differing(run.params, outcome.params) == []
    again = rnnjax.train(*OPINION, out=tmp_path / "runs")
    assert again.path == run.path and again.manifest == run.manifest
    opened = rnnjax.open_run(str(run.path))
    assert opened.config == run.config and differing(opened.params, run.params) == []


def test_parameters_at_the_probed_steps(run: rnnjax.Run):
    start = initial_params(run.config)
    assert differing(run.params_at(0), start) == []
    assert differing(run.params_at(), run.params) == []
    assert differing(run.params_at(12), run.params) == []
    assert differing(run.params_at(7), run.params) != []
    data = heldout(run.config.task, run.config.task_options, "validation", 6)

    @jax.jit
    def again(params):
        whole = trace(run.model, params, data, spec_of("last", 5), lag="last")
        return log10_norms(whole.walks[0], whole.valid)

    stored = run.probes.log10_adjoint.sel(train_step=7)[0]
    np.testing.assert_allclose(again(run.params_at(7)), stored, rtol=1e-4)
    with pytest.raises(
        UserError, match="step=5 was not stored; stored steps: 0, 4, 7, 12"
    ):
        run.params_at(5)


@pytest.mark.slow
def test_a_learned_first_state_of_several_arrays_is_kept(tmp_path: Path):
    asked = (
        *("cell=lstm", "task=adding", "task.length=4", "batch=2", "probe=off"),
        *("model.hidden=3", "model.learn_initial_state=true", "lr=0.1"),
        *("eval.every=2", "eval.size=4"),
    )
    short = rnnjax.train(*asked, "steps=2", out=tmp_path / "runs")
    like = jax.tree.structure(initial_params(short.config))
    assert jax.tree.structure(short.params) == like
    # going on from where it ended, h and c are not taken for one another
    long = rnnjax.train(*asked, "steps=4", out=tmp_path / "runs")
    whole = rnnjax.train(*asked, "steps=4", out=tmp_path / "others")
    assert differing(long.params, whole.params) == []
    assert differing(long.best_params, whole.best_params) == []
    first = long.params["stack_0_0"]["initial_state"]
    assert not np.array_equal(first.h, first.c)


@pytest.mark.parametrize("lengths", [None, [5, 2, 1]])
def test_apply_is_the_model(run: rnnjax.Run, lengths: list[int] | None):
    tokens = np.array([[1, 8, 30], [2, 9, 31], [3, 10, 0], [4, 11, 5], [5, 12, 6]])
    given = None if lengths is None else jnp.array(lengths)
    params = jax.tree.map(jnp.asarray, run.params)
    expected: Any = run.model.apply({"params": params}, jnp.asarray(tokens), given)
    found = run.apply(tokens, lengths)
    assert found.shape == (3, 2)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    assert not np.allclose(found, run.apply(tokens[::-1], lengths))


@pytest.mark.parametrize("token", [999, -1, 2**32 + 5])
def test_apply_refuses_a_token_that_the_vocabulary_lacks(run: rnnjax.Run, token: int):
    tokens = np.array([[1, 8], [2, token], [3, 9]])
    with pytest.raises(UserError, match=f"token {token} .step 1, example 1"):
        run.apply(tokens)
    with pytest.raises(UserError, match="lengths must be whole numbers from 1 to 3"):
        run.apply(np.ones((3, 2), int), [4, 1])


def test_a_pair_in_the_configuration_survives_the_file(tmp_path: Path):
    words = [*OPINION, "cell.recurrent_init=[orthogonal,0.5]", "steps=0"]
    run = rnnjax.train(*words, out=tmp_path)
    assert dict(run.config.cell_options)["recurrent_init"] == ("orthogonal", 0.5)
    assert hash(run.config) == hash(rnnjax.open_run(run.path).config)
    gram = run.params["stack_0_0"]["cell"]["U"] @ run.params["stack_0_0"]["cell"]["U"].T
    np.testing.assert_allclose(gram, np.eye(5) / 4, atol=1e-6)
    assert run.apply(np.zeros((5, 2), int)).shape == (2, 2)


def test_apply_gives_the_metric_that_was_recorded(run: rnnjax.Run):
    task = TASKS["opinion"](**dict(run.config.task_options))
    batch = task.heldout("test", run.config.eval.size, {})
    answers = run.apply(batch.inputs, batch.lengths)
    accuracy = np.mean(np.argmax(answers, axis=-1) == batch.targets)
    assert accuracy == pytest.approx(run.results["test_accuracy"])


def test_results_of_a_folder(run: rnnjax.Run):
    rnnjax.train(*OPINION, "seed=1", out=run.path.parent)
    for folder in (run.path.parent, *run.path.parent.glob("sweeps/*"), run.path):
        metrics = rnnjax.results.load(folder).metrics()
        assert set(metrics["step"]) == {5, 6, 10, 12}
    pool = rnnjax.results.load(run.path.parent)
    assert pool.varying() == ("seed",)
    assert pool.probes().sizes["run"] == 2
    one = pool.select("seed = 0").runs["run_id"].to_list()
    assert one == [run.manifest.run_id]


def test_own_cell_and_task_are_found_again(tmp_path, monkeypatch):
    (tmp_path / "cell.py").write_text(CELL)
    (tmp_path / "task.py").write_text(TASK)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    sizes = [word for word in SIZES if "embedding" not in word]
    run = rnnjax.train(
        "cell=cell.py:Leaky", "task=task.py:Short", "cell.rate=0.25", *sizes, *PROBE
    )
    assert run.manifest.status == "done" and run.path.parent.name == "runs"
    x = np.random.default_rng(0).normal(size=(4, 3, 2)).astype(np.float32)
    expected = run.apply(x)
    # Another process in another folder: nothing is registered, paths are absolute.
    monkeypatch.chdir(tmp_path / "elsewhere")
    monkeypatch.delitem(CELLS._entries, "Leaky")
    monkeypatch.delitem(TASKS._entries, "Short")
    opened = rnnjax.open_run(run.path)
    paths = opened.directory.config()["paths"]
    assert paths == {
        "cell": f"{tmp_path / 'cell.py'}:Leaky",
        "task": f"{tmp_path / 'task.py'}:Short",
    }
    assert dict(opened.config.cell_options) == {"rate": 0.25}
    assert opened.model.cell.rate == 0.25  # pyright: ignore
    np.testing.assert_array_equal(opened.apply(x), expected)
    # By hand, the equation of the file.
    p = opened.params["stack_0_0"]["cell"]
    h = np.zeros((3, 5), np.float32)
    for x_t in x:
        h = 0.75 * h + 0.25 * np.tanh(p["U"] * h + x_t @ p["V"])
    head = opened.params["head"]
    np.testing.assert_allclose(expected, h @ head["kernel"] + head["bias"], rtol=1e-4)


def test_a_run_uses_the_copy_of_its_cell(tmp_path, monkeypatch):
    """After the file is edited or gone; two versions can live side by side."""
    file = tmp_path / "cell.py"
    file.write_text(CELL)
    monkeypatch.chdir(tmp_path)
    words = ["cell=cell.py:Leaky", *SIZES, "probe=off"]
    run = rnnjax.train(*words)
    x = [[1, 2], [3, 4], [5, 6]]
    expected = np.asarray(rnnjax.open_run(run.path).apply(x))
    file.write_text(CELL.replace("(1 - self.rate) * h", "self.rate * h * h"))
    opened = rnnjax.open_run(run.path)
    with pytest.warns(UserWarning, match="cell.py has changed since the run"):
        name = opened.config.cell
    assert name.startswith("Leaky@")
    other = rnnjax.train(*words)
    assert other.path != run.path and other.config.cell != name
    assert not np.array_equal(other.apply(x), expected)
    np.testing.assert_array_equal(opened.apply(x), expected)
    file.unlink()
    np.testing.assert_array_equal(rnnjax.open_run(run.path).apply(x), expected)
    copy = run.path / "source" / "cell.py"
    copy.write_text(copy.read_text() + "\n")
    again = rnnjax.open_run(run.path, run_code=True)
    assert jax.tree.leaves(again.params)  # reading parameters needs no code
    with pytest.raises(UserError, match="Leaky cannot be used: '.*cell.py' is not"):
        _ = again.config


@pytest.mark.slow
def test_a_run_knows_the_modules_that_its_cell_imports(tmp_path, monkeypatch):
    """Imported by a package's own module, inside a function; edited, it is refused."""
    package = tmp_path / "own_gates"
    package.mkdir()
    (package / "__init__.py").write_text("from .soft import mixed\n")
    (package / "soft.py").write_text(
        "def mixed(rate, old, new):\n"
        "    from . import odd\n"
        "    return rate * odd.part * new + (1 - rate) * old\n"
    )
    odd = package / "odd.py"
    odd.write_text("part = 0.5\n")
    step = "(1 - self.rate) * h + self.rate * jnp.tanh(self.U * h + x @ self.V)"
    assert step in CELL
    mixed = "mixed(self.rate, h, jnp.tanh(self.U * h + x @ self.V))"
    source = f"from own_gates import mixed\n{CELL.replace(step, mixed)}"
    (tmp_path / "cell.py").write_text(source)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    words = ["cell=cell.py:Leaky", *SIZES, "probe=off"]
    run = rnnjax.train(*words)
    names = ["own_gates", "own_gates.odd", "own_gates.soft"]
    digests = run.manifest.digests
    assert [*digests] == ["cell", *(f"cell imports {name}" for name in names)]
    assert rnnjax.open_run(run.path).apply([[1], [2]]).shape == (1, 2)
    odd.write_text("part = 0.25\n")
    with pytest.raises(UserError, match="odd.py has changed since it was imported"):
        rnnjax.train(*words)
    # Another process.
    for name in names:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(UserError, match="own_gates.odd that it imports is not"):
        rnnjax.open_run(run.path).apply([[1], [2]])
    other = rnnjax.train(*words)
    assert other.path != run.path
    assert other.manifest.source_digest == run.manifest.source_digest


@pytest.mark.slow
def test_a_module_that_changed_before_its_first_run_is_refused(tmp_path, monkeypatch):
    """It was imported long before, in a notebook say, and Python runs the old one."""
    (tmp_path / "own_rate.py").write_text("rate = 0.5\n")
    (tmp_path / "cell.py").write_text(f"from own_rate import rate\n{CELL}")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    importlib.import_module("own_rate")
    (tmp_path / "own_rate.py").write_text("rate = 0.125\n")
    with pytest.raises(UserError, match="own_rate.py has changed since"):
        rnnjax.train("cell=cell.py:Leaky", *SIZES, "probe=off")
    monkeypatch.delitem(sys.modules, "own_rate")


@pytest.mark.parametrize("odd", [5, None, Path("lr=1")])
def test_an_override_is_a_text(odd):
    with pytest.raises(UserError, match="an override is a string"):
        rnnjax.train("steps=1", odd)


def test_the_pool_is_named_among_the_overrides_or_beside_them(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = [*SIZES, "steps=1", "probe=off"]
    assert rnnjax.train(*words, "out=asked").path.parent == tmp_path / "asked"
    assert rnnjax.train(*words, "out=asked", out="own").path.parent == tmp_path / "own"
    assert not (tmp_path / "runs").exists()


def array_file(path: Path, seed: int) -> Path:
    path.parent.mkdir(exist_ok=True)
    inputs = np.random.default_rng(seed).integers(0, 5, (60, 4))
    np.savez(path, inputs=inputs, targets=np.arange(60) % 2)
    return path


def test_a_run_knows_its_data(tmp_path, monkeypatch):
    """Three spellings of a path are one run; other data in its place is refused."""
    file = array_file(tmp_path / "a" / "my.npz", 1)
    array_file(tmp_path / "b" / "my.npz", 9)
    array_file(tmp_path / "b" / "copy.npz", 1)
    monkeypatch.chdir(tmp_path / "a")
    own = [word for word in SIZES if not word.startswith("eval.size")]
    words = ["task=arrays", *own, "eval.size=5", *PROBE]
    runs = {
        rnnjax.train(*words, f"task.path={name}", out=tmp_path / "pool").path
        for name in ("my.npz", "./my.npz", file, "../b/copy.npz")
    }
    (path,) = runs
    monkeypatch.chdir(tmp_path / "b")
    run = rnnjax.open_run(path)
    run.check_data()
    assert main(["probe", f"run={path}", "sections=adjoints"]) == 0
    x = [[1], [2], [3], [4]]
    expected = np.asarray(run.apply(x))
    array_file(file, 2)
    forget_data()  # as another process
    with pytest.raises(UserError, match="the data of task arrays in '.*a/my.npz' is"):
        rnnjax.open_run(path).check_data()
    assert main(["probe", f"run={path}", "sections=adjoints"]) == 2
    file.unlink()
    np.testing.assert_array_equal(rnnjax.open_run(path).apply(x), expected)


def test_a_file_that_changes_while_the_process_lives_is_read_anew(tmp_path):
    words = ["task=arrays", *SIZES, "probe=off", "eval.size=5"]
    words.append(f"task.path={tmp_path / 'my.npz'}")
    array_file(tmp_path / "my.npz", 1)
    first = rnnjax.train(*words, out=tmp_path / "pool")
    array_file(tmp_path / "my.npz", 2)
    second = rnnjax.train(*words, out=tmp_path / "pool")
    direct = rnnjax.train(
        *words[:-1],
        f"task.path={array_file(tmp_path / 'other.npz', 2)}",
        out=tmp_path / "another",
    )
    assert first.path != second.path
    assert differing(second.params, direct.params) == []
    assert differing(second.params, first.params) != []


def test_mistakes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for words, part in [
        (["stpes=3"], "did you mean steps"),
        (["seed=0,1"], "sweep"),
        (["cell=nowhere.py:Mine"], "no file"),
    ]:
        with pytest.raises(UserError, match=part):
            rnnjax.train(*words)
    with pytest.raises(UserError, match=r"has no manifest\.json"):
        _ = rnnjax.open_run(tmp_path / "nowhere").config
    with pytest.raises(UserError, match="no folder"):
        rnnjax.results.load(tmp_path / "nowhere")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(AttributeError, match="trian"):
        _ = rnnjax.trian  # pyright: ignore


@pytest.mark.filterwarnings("ignore:1 run failed")
def test_a_run_that_fails_is_an_error(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = TASK + "    def sample(self, key, batch, data):\n        return 1 / 0\n"
    (tmp_path / "task.py").write_text(file)
    words = [*SIZES, "task=task.py:Short", "probe=off"]
    with pytest.raises(UserError, match="the run failed: ZeroDivisionError"):
        rnnjax.train(*words)
    (row,) = Pool(tmp_path / "runs").rows()
    assert row.facts["status"] == "failed"
