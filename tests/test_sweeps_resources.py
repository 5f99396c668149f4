"""Jobs, memory and disk are known before a launch; what does not fit is refused."""

import dataclasses
import shutil
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from rnnjax.cli.main import main
from rnnjax.errors import UserError
from rnnjax.store.index import row_of
from rnnjax.sweeps import axes, grid, job_data, resources
from rnnjax.sweeps.hydra_session import session as axes_session
from rnnjax.sweeps.resources import check_needs, needs, totals
from rnnjax.sweeps.settings import CheckpointConfig, LauncherConfig, LaunchSettings
from rnnjax.training.build import signature
from rnnjax.training.compiled import Compiled
from rnnjax.training.demand import demand_of
from rnnjax.training.pack import run_mesh
from rnnjax.training.rehearsal import prepare, shapes
from rnnjax.training.sizes import NUMBERS, bytes_of, param_bytes, state_bytes
from tests.launch_samples import jobs, settings, start


TABLE = """
import dataclasses
import numpy as np
from rnnjax.tasks.opinion import Opinion

@dataclasses.dataclass(frozen=True)
class Huge(Opinion):
    def load(self):
        return {"table": np.zeros(10**9, np.float32)}
"""

MANY = ["train", "-m"]

REFUSED = [
    # jobs
    ([*MANY, "seed=range(10000000)"], ["10,000,000 values", "max_jobs"]),
    ([*MANY, "seed=range(10000000)", "lr=1,2"], ["10,000,000 values"]),
    ([*MANY, "seed=range(99999)", "lr=1,2"], ["199,998 jobs", "max_jobs"]),
    ([*MANY, "seed=range(200)", "max_jobs=100"], ["200 values", "at most 100 "]),
    ([*MANY, "seed=" + ",".join(["1"] * 100_001)], ["100,001 values"]),
    (
        [*MANY, "max_jobs=1e12", "seed=range(1e11)"],
        ["100,000,000,000 values", "800 TB"],
    ),
    (["train", "probe.steps=range(1000000000)"], ["1,000,000,000 values"]),
    (["probe", "-m", "seed=range(99999)", "cell.bias=1,2"], ["199,998 jobs"]),
    (["search", "lr=interval(0,1)", "seed=range(9999)"], ["319,968 jobs"]),
    (
        "search lr=interval(0,1) batch=1,2 --method grid --points 900000000".split(),
        ["1,800,000,000 jobs", "at most 100,000"],
    ),
    # a list within a value
    (["train", f"probe.steps=[{','.join(['1'] * 10**6)}]"], ["1,000,000 entries"]),
    # memory
    (["train", "model.hidden=200000"], ["model.hidden=200000"]),
    (["train", "model.hidden=65536"], ["GB", "parameters", "model.hidden=65536"]),
    (["train", "model.layers=1000000"], ["model.layers=1000000"]),
    (["train", "model.layers=60000", "model.hidden=900"], ["model.layers=60000"]),
    (["train", "task=adding", "task.length=1000000000"], ["task.length"]),
    (
        "train task=adding task.length=1000000 batch=1000000 model.remat=sqrt".split(),
        ["GB", "states over time", "task.length=1000000", "batch=1000000"],
    ),
    (["train", "batch=1000000000"], ["batch=1000000000"]),
    (["train", "eval.size=1000000000"], ["held-out examples", "eval.size=1000000000"]),
    (
        "train task=copy task.delay=1000000 eval.size=1 probe.batch=60000".split(),
        ["measurements", "probe.batch=60000", "task.delay=1000000"],
    ),
    (
        ["train", "steps=1000000000", "log_every=1"],
        ["rows of the metrics", "steps=1000000000", "log_every=1"],
    ),
    (["train", "steps=1000000000", "eval.every=1"], ["rows", "eval.every=1"]),
    (["train", "task=huge.py:Huge"], ["task=Huge", "['table']", "4 GB"]),
    ("probe model.hidden=65536 task.distance=9".split(), ["model.hidden=65536"]),
    (
        "probe -m seed=0,1 task.distance=1000000 probe.batch=60000".split(),
        ["states over time", "probe.batch=60000"],
    ),
    (["search", "lr=interval(0,1)", "model.hidden=65536"], ["model.hidden=65536"]),
]


def sentence(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """What a refused command says."""
    assert main(words) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("rnnjax: ") and err.count("\n") == 1
    return err


@pytest.mark.parametrize(
    ("words", "parts"), REFUSED, ids=[" ".join(w)[:70] for w, _ in REFUSED]
)
def test_what_does_not_fit_is_refused_before_anything_is_written(
    words, parts, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    Path("huge.py").write_text(TABLE)
    for module in (resources, grid, job_data):  # whatever this computer has
        monkeypatch.setattr(module, "free_host_memory", lambda: 3e9)
    monkeypatch.setattr(resources, "free_memory", lambda mesh: 3e9)
    said = sentence(words, capsys)
    assert not [part for part in parts if part not in said], said
    assert [file.name for file in tmp_path.iterdir() if file.suffix] == ["huge.py"]
    assert not Path("runs").exists()


def test_a_setting_raises_the_number_of_jobs(monkeypatch):
    assert len(axes_of("seed=range(100001)", limit=10**6)) == 100_001
    with pytest.raises(UserError, match="100,001 values"):
        axes_of("seed=range(100001)")
    assert grid.max_jobs(["seed=1", "max_jobs=5", "max_jobs=1e6"]) == 10**6
    with pytest.raises(UserError, match="max_jobs=many"):
        grid.max_jobs(["max_jobs=many"])
    monkeypatch.setattr(grid, "free_host_memory", lambda: 1e9)
    with pytest.raises(UserError, match="1.6 GB of memory, and 1 GB is free"):
        grid.check_count(200_000, 10**6)


def axes_of(word: str, **limit: int) -> tuple[object, ...]:
    with axes_session() as hydra:
        return axes.parse_axes([word], hydra, **limit)["seed"]


@pytest.mark.parametrize(
    "words",
    [
        ["optimizer=adam"],
        ["optimizer=sgd", "cell=lstm"],
        ["optimizer=momentum", "cell=lru", "model.bidirectional=true"],
        ["optimizer=rmsprop", "model.layers=4", "model.learn_initial_state=true"],
        ["cell=gru", "model.layers=2", "task=adding", "task.length=9"],
    ],
    ids=" ".join,
)
def test_sizes_are_those_of_the_arrays(words):
    task = [word for word in words if word.startswith("task")] or ["task.distance=5"]
    (job,) = jobs(*[word for word in words if word not in task], task=task)
    sign = signature(job.config)
    state, _ = shapes(job.config, sign)
    assert param_bytes(sign) == bytes_of(state.params)
    assert state_bytes(sign) == bytes_of(state)
    kept = {"sgd": 0, "momentum": 1, "adam": 2, "rmsprop": 1}[sign.optimizer.name]
    counts = 4 if sign.optimizer.name == "adam" else 0  # it counts its updates
    assert state_bytes(sign) - NUMBERS - counts == bytes_of(state.params) * (1 + kept)


@pytest.mark.parametrize(
    "words",
    [
        ["log_every=1"],
        pytest.param(["model.layers=3", "cell=lstm"], marks=pytest.mark.slow),
        ["batch=64"],
    ],
)
def test_what_is_said_is_less_than_what_xla_takes(words):
    """By its account of an update of as many runs as there are places."""
    (job,) = jobs("model.hidden=64", *words, probe="full")
    sign, mesh = signature(job.config), run_mesh()
    devices = mesh.devices.size
    parts = demand_of(job.config, sign).training(2 * devices)
    sizes = {part.what: part.bytes for part in parts}
    program = Compiled(sign, mesh, 2)
    prepare(program, job.config)
    trained = "parameters, optimizer state and gradient", "states over time"
    assert sum(sizes[what] for what in trained) < program.memory() * devices


@pytest.mark.slow
def test_stored_bytes_are_fewer_than_those_of_a_run(tmp_path):
    for words in (["log_every=1"], ["checkpoint.keep"], ["model.layers=2"]):
        keep = words != ["checkpoint.keep"]
        (job,) = jobs(*(words if keep else []), probe="full")
        keeping = CheckpointConfig(every_seconds=0, keep=keep)
        pool = tmp_path / words[0]
        (run,) = start(pool, [job], checkpoint=keeping).runs
        taken = sum(f.stat().st_size for f in run.path.rglob("*") if f.is_file())
        parts = demand_of(job.config, signature(job.config)).stored(keep)
        least = sum(part.bytes for part in parts)
        assert taken / 3 < least < taken + 1400  # two events of the index


def lacking(monkeypatch: pytest.MonkeyPatch, free: float) -> None:
    """A computer with so much memory free, and nothing in JAX's hands."""
    monkeypatch.setattr(resources, "free_memory", lambda mesh: free)
    monkeypatch.setattr(jax, "live_arrays", lambda: [])


def test_a_launch_is_refused_from_its_own_need_on(tmp_path, monkeypatch):
    planned = jobs("seed=range(5)")
    pool = tmp_path / "runs"
    everything = {job.run_id for job in planned}
    memory, _ = totals(needs(planned, everything, (), settings(pool)))
    lacking(monkeypatch, memory - 1)
    with pytest.raises(UserError, match="a pack of 5 runs like .* pack.capacity"):
        start(pool, planned)
    assert not pool.exists()
    cluster = settings(pool, launcher=LauncherConfig("submitit_slurm"))
    check_needs(needs(planned, everything, (), cluster), cluster)  # others compute it
    lacking(monkeypatch, memory)
    assert start(pool, planned).failed == 0
    lacking(monkeypatch, 0)  # finished runs need nothing
    assert start(pool, planned).computed == 0


def test_the_host_keeps_what_is_not_on_a_device(monkeypatch, tmp_path):
    (one,) = jobs()
    found = needs([one], {one.run_id}, (), settings(tmp_path))
    of_host = sum(part.bytes for need in found for part in need.memory if part.host)
    lacking(monkeypatch, 1e12)
    device = SimpleNamespace(platform="gpu")
    mesh = SimpleNamespace(devices=np.array([device], object))
    monkeypatch.setattr(resources, "run_mesh", lambda devices: mesh)
    monkeypatch.setattr(resources, "free_host_memory", lambda: of_host)
    check_needs(found, settings(tmp_path))
    monkeypatch.setattr(resources, "free_host_memory", lambda: of_host - 1)
    with pytest.raises(UserError, match="of memory"):
        check_needs(found, settings(tmp_path))


def test_disk_is_asked_for_before_a_launch(tmp_path, monkeypatch):
    pool = tmp_path / "deep" / "runs"
    planned = jobs("seed=0,1", probe="full")
    everything = {job.run_id for job in planned}
    _, disk = totals(needs(planned, everything, (), settings(pool)))
    asked: list[Path] = []

    def full(place: Path) -> SimpleNamespace:
        asked.append(place)
        return SimpleNamespace(free=disk - 1)

    monkeypatch.setattr(shutil, "disk_usage", full)
    with pytest.raises(UserError, match="2 new runs need at least .* kB free"):
        start(pool, planned)
    assert asked == [tmp_path] and not list(tmp_path.iterdir())
    monkeypatch.undo()
    (run, _) = start(pool, planned).runs
    monkeypatch.setattr(shutil, "disk_usage", lambda place: SimpleNamespace(free=0))
    known = {row_of(run).run_id}
    found = needs(planned, everything, known, settings(pool))
    assert [need.runs for need in found] == [1]  # the other is written over
    with pytest.raises(UserError, match="probe.steps"):
        start(pool, jobs("seed=2", "model.hidden=50", probe="full"))


def test_landscapes_need_room_on_the_disk(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda place: SimpleNamespace(free=99))
    said = sentence(["probe", "-m", "task.distance=50", "seed=0,1"], capsys)
    assert "2 networks need at least 400 B" in said and "99 B free" in said
    assert not list(tmp_path.iterdir())


def test_a_dry_run_shows_the_need_and_refuses_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["train", "model.hidden=30000", "steps=1000000000", "-n"]) == 0
    out = capsys.readouterr().out
    assert "1 jobs in 1 groups" in out and "memory of the largest pack: at least" in out
    assert "GB free; disk: at least" in out and not list(tmp_path.iterdir())


def test_a_run_that_may_stop_early_needs_little():
    (long,) = jobs("steps=1000000000", "log_every=1")
    stopping = dataclasses.replace(
        long.config,
        eval=dataclasses.replace(long.config.eval, stop_when_solved=True),
    )
    sizes = [
        sum(part.bytes for part in demand_of(config, signature(config)).training())
        for config in (long.config, stopping)
    ]
    assert sizes[0] > 1e11 > 1e6 > sizes[1]
    assert LaunchSettings().max_jobs == 100_000
