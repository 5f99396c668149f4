"""Launchers differ in who computes a run, never in what it becomes."""

import os
import threading
from pathlib import Path
from types import SimpleNamespace

import jax
import pytest

from rnnjax.cli.main import main
from rnnjax.errors import UserError
from rnnjax.store.checkpoint import PACKS, PackCheckpoint
from rnnjax.store.leases import Leases
from rnnjax.store.pool import Pool
from rnnjax.sweeps import worker
from rnnjax.sweeps.assignment import Assignment
from rnnjax.sweeps.compose import plan
from rnnjax.sweeps.job_data import check_loaded, with_data
from rnnjax.sweeps.launchers import compute
from rnnjax.sweeps.pack_run import PackRun
from rnnjax.sweeps.packing import clear_leftovers
from rnnjax.sweeps.progress import PackSize
from rnnjax.sweeps.settings import LauncherConfig, LaunchSettings
from rnnjax.training.build import forget_data
from tests.launch_samples import Witness, contents, jobs, params_of, start
from tests.training_samples import compiled, differing


@pytest.fixture(autouse=True)
def shared(monkeypatch: pytest.MonkeyPatch) -> None:
    """Programs that are compiled once for all tests of this process."""
    monkeypatch.setattr(worker, "Compiled", compiled)


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    """Two runs, and one that diverges, in one pack."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(worker, "Compiled", compiled)
        return start(tmp_path_factory.mktemp("packed"), sweep())


def sweep():
    return jobs("lr=.05,1000,.1", "loss_bound=5")


def sizes(found):
    slots = [run.manifest().pack for run in found.runs]
    return [slot.size for slot in slots if slot is not None]


def same(one, other):
    for a, b in zip(one.runs, other.runs, strict=True):
        assert a.path.name == b.path.name
        assert a.manifest().status == b.manifest().status
        assert a.manifest().results == b.manifest().results
        assert differing(params_of(a), params_of(b)) == []
        assert a.metrics().equals(b.metrics(), null_equal=True)
        assert hydra_of(a) == hydra_of(b)


def hydra_of(run):
    """What Hydra leaves of a run, wherever it lies."""
    files = sorted((run.path / ".hydra").iterdir())
    place = str(run.path.parent)
    return {file.name: file.read_text().replace(place, "") for file in files}


def test_basic_runs_one_after_another(tmp_path, packed):
    witness = Witness()
    found = start(tmp_path, sweep(), witness, launcher=LauncherConfig("basic"))
    assert (found.computed, found.failed) == (3, 0)
    assert [run.manifest().status for run in found.runs] == ["done", "diverged", "done"]
    assert witness.packs == [PackSize(12, 1)] * 3
    assert sizes(found) == [1, 1, 1]
    same(found, packed)


@pytest.mark.slow
def test_joblib_gives_each_run_to_a_process(tmp_path, packed, monkeypatch):
    names = {
        "JAX_COMPILATION_CACHE_DIR": getattr(jax.config, "jax_compilation_cache_dir"),  # noqa: B009
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "PYTHONPATH": str(Path(__file__).parents[1]),
    }
    for key, value in names.items():
        monkeypatch.setenv(key, value)
    here, folder = os.getcwd(), tmp_path / "folder"
    folder.mkdir()
    (folder / "pickle.py").write_text("open('ran', 'w')")
    monkeypatch.chdir(folder)  # whose modules are nobody's business
    planned, witness = sweep()[:2], Witness()
    launcher = LauncherConfig("joblib", workers=2)
    found = start(tmp_path, planned, witness, launcher=launcher)
    assert (found.computed, found.failed) == (2, 0)
    assert witness.packs == [PackSize(12, 1)] * 2 and witness.advances == [(12, 1)] * 2
    one, two = (run.manifest() for run in found.runs)
    assert (one.status, two.status) == ("done", "diverged")
    assert one.environment.device_count == 1
    for run, other in zip(found.runs, packed.runs, strict=False):
        assert differing(params_of(run), params_of(other)) == []
        there = hydra_of(run)
        there = {
            k: text.replace("cwd: /folder", f"cwd: {here}") for k, text in there.items()
        }
        assert there == hydra_of(other)
    again = start(tmp_path, planned, launcher=launcher)
    assert again.computed == 0 and again.runs == found.runs
    assert not (folder / "ran").exists()


def test_what_changed_in_the_queue_is_refused(tmp_path, monkeypatch):
    """Data and imported modules are known by what they were when the launch began."""
    file = tmp_path / "pairs.txt"
    lines = [f"a good film {i}\t1\na bad film {i}\t0" for i in range(30)]
    file.write_text("\n".join(lines))
    monkeypatch.chdir(tmp_path)
    (job,) = with_data(jobs("seed=0", task=["task=reviews", f"task.path={file}"]))
    pool = LaunchSettings(out=str(tmp_path / "pool"))
    share = Assignment((job,), {}, frozenset([job.run_id]), pool, "sweep")
    check_loaded([job])
    file.write_text("\n".join(lines).replace("bad film 3\t0", "bad film 3\t1"))
    forget_data()
    with pytest.raises(UserError, match="data of task=reviews has changed"):
        compute(share)
    assert not (tmp_path / "pool").exists()


def test_two_launches_at_once_share_the_work(tmp_path, packed, monkeypatch):
    """Each run is begun once; both launches end with all of them."""
    begun = []
    begin = PackRun._begin
    monkeypatch.setattr(
        PackRun, "_begin", lambda self, one: (begun.append(one), begin(self, one))[1]
    )
    monkeypatch.setattr(worker, "WAIT_SECONDS", 0.01)
    basic = LauncherConfig("basic")
    results = {}

    def launch(name):
        results[name] = start(tmp_path, sweep(), name="sweep", launcher=basic)

    threads = [threading.Thread(target=launch, args=(name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(begun) == 3 and len({one.run_id for one in begun}) == 3
    assert results["a"].runs == results["b"].runs
    assert len(Pool(tmp_path).rows()) == 3
    for one, other in zip(results["a"].runs, packed.runs, strict=True):
        assert one.manifest().results == other.manifest().results


def test_what_another_process_holds_is_waited_for(tmp_path, packed, monkeypatch):
    """A pack loses the run that is leased, and makes it when the lease is given up."""
    naps = []
    holder = Leases(tmp_path)
    planned = sweep()
    held = packed.runs[2].manifest().run_id

    def nap(seconds):
        sealed = [path.parent.name for path in tmp_path.glob("*-*/params.msgpack")]
        naps.append(sealed)
        holder.release(held)

    monkeypatch.setattr(worker, "time", SimpleNamespace(sleep=nap))
    with holder:
        assert holder.take(held)
        found = start(tmp_path, planned)
    assert len(naps) == 1 and len(naps[0]) == 2
    assert not any(held in name for name in naps[0])
    assert sizes(found) == [2, 2, 1]
    same(found, packed)


def test_checkpoint_of_a_finished_run_that_is_trained_again(tmp_path):
    """Another launch of the sweep leaves it alone until the process has ended."""
    (run,) = start(tmp_path, jobs("seed=0", "steps=0")).runs
    run_id, pool = run.manifest().run_id, Pool(tmp_path)
    checkpoint = PackCheckpoint(tmp_path / PACKS / "0123", [run_id])
    checkpoint.save(3, {"x": jax.numpy.ones(2)})
    rows = {row.run_id: row for row in pool.rows()}
    with Leases(tmp_path) as leases:
        assert leases.take(run_id)
        clear_leftovers(pool, rows)
        assert checkpoint.members() == (run_id,)
    clear_leftovers(pool, rows)
    assert not checkpoint.folder.exists()


def test_words_of_the_command_line():
    made = plan(["hydra/launcher=joblib", "hydra.launcher.workers=3"])
    assert made.settings.launcher == LauncherConfig("joblib", workers=3)
    assert plan(["launcher=ray", "launcher.cpus=2"]).settings.launcher.cpus == 2
    assert plan([]).settings.launcher == LauncherConfig("packed")
    (one,), (other,) = plan(["launcher=basic"]).jobs, plan([]).jobs
    assert one.resolved == other.resolved  # nothing of a run changes
    for words, part in (
        (["hydra/launcher=jobib"], "joblib"),
        (["launcher.workers=2"], "it belongs to launcher=joblib"),
        (["hydra/launcher=joblib", "hydra.launcher.workers=0"], "launcher.workers"),
        (["hydra.sweep.dir=x"], "hydra.sweep.dir"),
    ):
        with pytest.raises(UserError, match=part):
            plan(words)
    with pytest.raises(UserError, match="launcher"):
        plan(["launcher=basic,joblib"], multirun=True)


@pytest.mark.parametrize(
    ("launcher", "extra"), [("ray", "ray"), ("submitit_local", "slurm")]
)
def test_a_library_that_is_not_there(launcher, extra, tmp_path, monkeypatch, capsys):
    for name in ("ray", "submitit"):
        monkeypatch.setitem(__import__("sys").modules, name, None)
    words = ["train", "-m", "steps=0", f"hydra/launcher={launcher}"]
    assert main([*words, f"out={tmp_path / 'runs'}"]) == 2
    error = capsys.readouterr().err
    assert f"pip install 'rnnjax[{extra}]'" in error and error.count("\n") == 1
    assert not contents(tmp_path) and os.listdir(tmp_path) == []
