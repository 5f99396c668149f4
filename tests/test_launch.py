"""Launching: what is done is skipped, what is asked is computed, each run is sealed."""

import dataclasses
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from rich.console import Console

from rnnjax.errors import UserError
from rnnjax.results import load
from rnnjax.run import open_run
from rnnjax.store.quarantine import QUARANTINE
from rnnjax.store.rundir import BEST, METRICS, PARAMS, PROBES, STATE, RunDir
from rnnjax.sweeps import jobs as jobs_module
from rnnjax.sweeps import packing, worker
from rnnjax.sweeps.progress import LiveProgress, PackSize
from rnnjax.sweeps.settings import CheckpointConfig, PackConfig
from rnnjax.training.loop import PackTraining
from tests.launch_samples import Witness, contents, jobs, params_of, start
from tests.training_samples import compiled, differing, tiny, train


@pytest.fixture(autouse=True)
def shared(monkeypatch: pytest.MonkeyPatch) -> None:
    """Programs that are compiled once for all tests of this process."""

    monkeypatch.setattr(worker, "Compiled", compiled)


@pytest.fixture
def pool(tmp_path: Path) -> Path:
    return tmp_path / "runs"


# -- what a launch leaves ----------------------------------------------------------


def test_a_sweep_leaves_what_training_gives(pool):
    planned = jobs("cell=elman,lstm", "seed=0,1", probe="full")
    witness = Witness()
    result = start(pool, planned, witness, name="mine")
    assert (result.computed, result.failed, result.stale) == (4, 0, 0)
    assert sorted(witness.packs) == [PackSize(12, 2)] * 2 and not witness.warnings
    assert sum(updates for updates, _ in witness.advances) == 4 * 12
    assert sum(ended for _, ended in witness.advances) == 4
    for job, run in zip(planned, result.runs, strict=True):
        cell, seed = job.config.cell, job.config.seed
        (outcome,) = train(tiny(cell, "full", seed=seed))
        manifest = run.manifest()
        assert manifest.status == "done" and manifest.steps == 12
        assert manifest.seeds == {"seed": seed} and manifest.finished is not None
        assert manifest.pack is not None and manifest.pack.size == 2
        assert (manifest.pack.how, manifest.pack.tolerance) == ("loop", 0.0)
        assert manifest.results == dict(outcome.results)
        assert differing(params_of(run), outcome.params) == []
        metrics = run.metrics().to_dict(as_series=False)
        assert (
            differing(metrics, {k: v.tolist() for k, v in outcome.metrics.items()})
            == []
        )
        probes = run.probes()
        assert probes.train_step.to_numpy().tolist() == [0, 4, 7, 12]
        adjoints = [m.log10_adjoint for m in outcome.measurements.values()]
        np.testing.assert_array_equal(probes.log10_adjoint, np.stack(adjoints))
        assert probes.word.sizes == {"time": 5, "sentence": 2}
        assert run.config()["variant"] == cell
    assert not list((pool / packing.PACKS).glob("*"))
    record = json.loads((result.sweep / "sweep.json").read_text())
    assert result.sweep.parent == pool / "sweeps" and "mine" in result.sweep.name
    assert record["runs"] == [run.manifest().run_id for run in result.runs]
    assert set(record["groups"]) == {"elman", "lstm"}
    assert record["command"] == "a test"
    found = load(result.sweep)
    assert found.runs["seed"].to_list() == [0, 1, 0, 1]
    assert set(found.runs["status"]) == {"done"}


def test_what_is_done_is_skipped_and_left_as_it_is(pool):
    planned = jobs("seed=0,1,2")
    first = start(pool, planned[:2])
    before = contents(pool)
    again = start(pool, planned[:2])
    assert (first.computed, again.computed) == (2, 0)
    assert contents(pool) == before and again.runs == first.runs
    witness = Witness()
    more = start(pool, planned, witness)
    assert more.computed == 1 and witness.packs == [PackSize(12, 1)]
    assert contents(pool).items() > before.items()
    assert [run.manifest().seeds["seed"] for run in more.runs] == [0, 1, 2]


def test_runs_of_one_pack_share_evaluation_and_probes(pool):
    """What is no part of the program still keeps runs apart."""
    planned = jobs("eval.size=20,30", "eval.stop_when_solved=false,true")
    witness = Witness()
    result = start(pool, planned, witness)
    assert len(witness.packs) == 4
    for job, run in zip(planned, result.runs, strict=True):
        (outcome,) = train(job.config)
        assert run.manifest().results == dict(outcome.results)
    tests = {run.manifest().results["test_loss"] for run in result.runs}
    assert len(tests) == 2


def test_two_jobs_that_are_one_run_are_refused(pool):
    with pytest.raises(UserError, match="'.*' and '.*' are the same run"):
        start(pool, [*jobs(), *jobs(probe="full")])
    assert not pool.exists()


# -- what is computed again --------------------------------------------------------


def test_runs_of_other_code(pool, monkeypatch):
    planned = jobs("seed=0,1")
    start(pool, planned)
    before = contents(pool)
    sweeps = len(list(pool.glob("sweeps/*")))
    monkeypatch.setattr(jobs_module, "source_digest", lambda roots: "another")
    with pytest.raises(UserError, match="2 of the runs .* stale=accept .* stale=rerun"):
        start(pool, planned)
    assert len(list(pool.glob("sweeps/*"))) == sweeps
    accepted = start(pool, planned, stale="accept")
    assert (accepted.computed, accepted.stale) == (0, 2)
    assert contents(pool) == before
    rerun = start(pool, planned, stale="rerun")
    assert (rerun.computed, rerun.stale) == (2, 0)
    digests = {run.manifest().source_digest for run in rerun.runs}
    assert digests == {"another"}
    assert start(pool, planned).computed == 0


def everything(run: RunDir) -> dict[str, Any]:
    """What is in a run directory, times and origins aside."""
    kept = (PARAMS, BEST, METRICS, STATE)
    files = {name: (run.path / name).read_bytes() for name in kept if run.has(name)}
    probes = run.probes().to_dict() if run.has(PROBES) else None
    manifest = run.manifest()
    ended = manifest.status, manifest.steps, manifest.results
    return files | {"probes": str(probes), "ended": ended}


@pytest.mark.parametrize(
    "probe", ["off", "light", pytest.param("full", marks=pytest.mark.slow)]
)
@pytest.mark.parametrize(
    ("first", "then"), [(10, 13), pytest.param(12, 20, marks=pytest.mark.slow)]
)
def test_a_longer_run_resumes_from_a_shorter_one(pool, tmp_path, probe, first, then):
    """It ends as if all steps had been asked for at once; the shorter one stays."""
    short = start(pool, jobs("seed=0,1", f"steps={first}", probe=probe)).runs
    before = contents(pool)
    witness = Witness()
    longer = jobs("seed=0,1,2", f"steps={then}", probe=probe)
    result = start(pool, longer, witness)
    assert result.computed == 3 and not {*result.runs} & {*short}
    assert sorted(witness.packs) == [(then, 1, 0), (then, 2, first)]
    assert [run.manifest().resumed_from for run in result.runs] == [first, first, 0]
    assert {(2 * first, 0), (0, 0)} <= set(witness.advances)
    whole = start(tmp_path / "whole", longer)
    for one, other in zip(result.runs, whole.runs, strict=True):
        assert everything(one) == everything(other)
    again = start(pool, jobs("seed=0,1", f"steps={first}", probe=probe))
    assert again.computed == 0 and again.runs == short
    assert contents(pool).items() >= before.items()
    # Fewer steps than any run has are computed, not answered by a longer run.
    fewer = start(pool, jobs("seed=0", f"steps={first - 4}", probe=probe))
    assert fewer.computed == 1 and fewer.runs[0].manifest().steps == first - 4
    direct = start(tmp_path / "few", jobs(f"steps={first - 4}", probe=probe))
    assert everything(fewer.runs[0]) == everything(direct.runs[0])


def test_a_run_resumes_from_the_longest_shorter_one(pool):
    """Of the runs of its lineage; one sweep may hold several lengths."""
    assert start(pool, jobs("steps=4,12,16")).computed == 3
    witness = Witness()
    result = start(pool, jobs("steps=14,20"), witness)
    assert sorted(witness.packs) == [(14, 1, 12), (20, 1, 16)]
    table = load(pool).runs
    assert sorted(table["steps"]) == [4, 12, 14, 16, 20]
    assert "config.steps" in load(pool).varying()
    assert [run.manifest().steps for run in result.runs] == [14, 20]


def test_a_resumed_run_that_is_interrupted_goes_on(pool, tmp_path):
    short = start(pool, jobs("seed=0,1")).runs
    before = [everything(run) for run in short]
    longer = jobs("seed=0,1", "steps=20")
    for interrupt_at in (1, 2):  # before its first save, and later
        with pytest.raises(KeyboardInterrupt):
            start(pool, longer, Witness(interrupt_at))
    witness = Witness()
    result = start(pool, longer, witness)
    assert witness.advances[0] == (2 * 15, 0)
    whole = start(tmp_path / "whole", longer)
    for one, other in zip(result.runs, whole.runs, strict=True):
        assert everything(one) == everything(other)
    assert [run.manifest().resumed_from for run in result.runs] == [12, 12]
    assert [everything(run) for run in short] == before


@pytest.mark.filterwarnings("ignore:interrupted")
@pytest.mark.parametrize(
    ("probe", "overrides"),
    [("off", []), ("full", ["lr=0.3", "eval.every=4"]), ("light", ["steps=10"])],
)
def test_interrupted_behind_the_last_update(
    pool, tmp_path, monkeypatch, probe, overrides
):
    """Between the last save and the seal: a longer run can go on from it, too."""
    planned = jobs("seed=0,1", *overrides, probe=probe)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(PackTraining, "_finish", interrupt)
        start(pool, planned)
    witness = Witness()
    found = start(pool, planned, witness).runs
    steps = planned[0].config.steps
    assert witness.advances[0] == (2 * steps, 0)
    whole = start(tmp_path / "whole", planned).runs
    for one, other in zip(found, whole, strict=True):
        assert one.has(STATE) and everything(one) == everything(other)


def interrupt(*arguments: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("cause", ["not kept", "damaged", "other code", "probes"])
def test_a_run_without_a_state_is_computed_again(pool, monkeypatch, cause):
    keep = CheckpointConfig(keep=cause != "not kept")
    (run,) = start(pool, jobs(probe="full"), checkpoint=keep).runs
    assert run.has(STATE) == keep.keep
    asked = ["steps=20", *(["probe.steps=[0,5]"] if cause == "probes" else [])]
    changes = {}
    if cause == "damaged":
        (run.path / STATE).write_bytes(b"\x81\xa3run")
    if cause == "other code":
        monkeypatch.setattr(jobs_module, "source_digest", lambda roots: "another")
        changes = {"stale": "rerun"}
    witness = Witness()
    longer = start(pool, jobs(*asked, probe="full"), witness, **changes)
    assert witness.advances[0] == (0, 0) and witness.packs[0].start == 0
    assert differing(params_of(longer.runs[0]), train(tiny(steps=20))[0].params) == []


def test_the_best_parameters_are_kept(pool):
    """Of six evaluations the one with the best metric, the first of equals."""
    planned = jobs("seed=range(4)", "eval.every=2", "lr=0.3")
    runs = start(pool, planned).runs
    steps = []
    for job, run in zip(planned, runs, strict=True):
        rows = (
            run.metrics()
            .drop_nulls()
            .filter(pl.col("validation_accuracy").is_not_nan())
        )
        best = rows.filter(
            pl.col("validation_accuracy") == rows["validation_accuracy"].max()
        )
        found = run.manifest().results
        steps.append(best["step"][0])
        assert found["best_step"] == steps[-1]
        assert found["best_validation_accuracy"] == best["validation_accuracy"][0]
        until = dataclasses.replace(job.config, steps=steps[-1])
        (outcome,) = train(until)
        assert differing(open_run(run.path).best_params, outcome.params) == []
        assert found["best_test_accuracy"] == outcome.results["test_accuracy"]
        assert run.has(BEST) == (steps[-1] != 12)
    assert len(set(steps)) > 1


def test_a_run_that_was_never_evaluated_has_no_best(pool):
    (run,) = start(pool, jobs("loss_bound=0")).runs
    assert run.manifest().results["best_step"] is None and not run.has(BEST)
    assert differing(open_run(run.path).best_params, params_of(run)) == []


def test_a_run_that_ended_early_is_complete(pool):
    """At its own length; asked for more steps, another run ends at the same update."""
    stopped = start(pool, jobs("loss_bound=0"))
    assert stopped.runs[0].manifest().status == "diverged"
    assert stopped.runs[0].manifest().diverged_at == 1 and stopped.failed == 0
    assert start(pool, jobs("loss_bound=0")).computed == 0
    longer = start(pool, jobs("loss_bound=0", "steps=99")).runs[0]
    assert everything(longer) == everything(stopped.runs[0])


@pytest.mark.parametrize(
    ("overrides", "probe", "computed"),
    [
        ([], "off", 0),
        ([], "full", 0),
        ([], "light", 1),
        (["probe.steps=[0,7]"], "full", 0),
        (["probe.steps=[0,7,99]"], "full", 0),  # beyond the last step
        (["probe.steps=[5]"], "full", 1),
        (["probe.batch=7"], "full", 1),
        (["probe.sentences=3"], "full", 1),
    ],
)
def test_probes_that_are_missing_are_computed(
    pool, overrides, probe, computed, monkeypatch
):
    (run,) = start(pool, jobs()).runs
    assert not run.has(PROBES)
    assert start(pool, jobs(probe="full")).computed == 1
    metrics, params = run.metrics(), run.params_bytes()
    assert run.has(PROBES)
    if computed:  # it is seen elsewhere what that gives
        monkeypatch.setattr(worker, "prefetch", lambda *arguments: [])
    assert start(pool, jobs(*overrides, probe=probe)).computed == computed
    assert run.metrics().equals(metrics) and run.params_bytes() == params


# -- interruptions -----------------------------------------------------------------


def test_interrupted_and_launched_again(pool):
    planned = jobs("cell=elman,lstm", "seed=0,1,2", probe="full")
    # A pack tells where it stands, and of its stops: 4, 5, 6, 7, 10 and 12.
    with pytest.raises(KeyboardInterrupt):
        start(pool, planned, Witness(interrupt_at=7 + 4))
    found = load(pool).runs.sort("cell.name", "seed")
    assert found["status"].to_list() == ["done"] * 3 + ["interrupted"] * 3
    before = contents(pool)
    witness = Witness()
    result = start(pool, planned, witness)
    assert (result.computed, result.failed) == (3, 0)
    assert witness.advances[0] == (3 * 6, 0)  # the last stop that was saved
    done = {name: entry for name, entry in contents(pool).items() if "elman" in name}
    assert done == {name: entry for name, entry in before.items() if "elman" in name}
    for job, run in zip(planned, result.runs, strict=True):
        assert run.manifest().status == "done"
        (outcome,) = train(tiny(job.config.cell, "full", seed=job.config.seed))
        assert differing(params_of(run), outcome.params) == []
        assert run.metrics()["loss"].to_list() == outcome.metrics["loss"].tolist()
        assert run.probes().train_step.to_numpy().tolist() == [0, 4, 7, 12]
    assert not list((pool / packing.PACKS).glob("*"))


@pytest.mark.parametrize(
    ("overrides", "first", "updates"),
    [
        ([], {}, 3 * 6),
        ([], {"pack": PackConfig(capacity=2)}, 3 * 6),  # other slots, the same pack
        (["steps=13"], {}, 0),  # another pack
    ],
)
def test_what_an_interrupted_pack_goes_on_from(pool, overrides, first, updates):
    with pytest.raises(KeyboardInterrupt):
        start(pool, jobs("seed=0,1,2"), Witness(interrupt_at=3))
    witness = Witness()
    result = start(pool, jobs("seed=0,1,2", *overrides), witness, **first)
    assert witness.advances[0] == (updates, 0)
    for seed, run in enumerate(result.runs):
        wanted = tiny(seed=seed, steps=13 if overrides else 12)
        assert differing(params_of(run), train(wanted)[0].params) == []
    # What was saved of shorter runs stays until they are asked for again.
    left = list((pool / packing.PACKS).glob("*"))
    assert len(left) == len(overrides)
    if left:
        start(pool, jobs("seed=0,1,2"), witness)
        assert (3 * 6, 0) in witness.advances
        assert not list((pool / packing.PACKS).glob("*"))


def test_other_code_does_not_go_on_from_a_checkpoint(pool, monkeypatch):
    with pytest.raises(KeyboardInterrupt):
        start(pool, jobs("seed=0,1"), Witness(interrupt_at=3))
    monkeypatch.setattr(jobs_module, "source_digest", lambda roots: "another")
    witness = Witness()
    assert start(pool, jobs("seed=0,1"), witness).computed == 2
    assert witness.advances[0] == (0, 0)


def test_a_part_of_an_interrupted_pack(pool):
    with pytest.raises(KeyboardInterrupt):
        start(pool, jobs("seed=0,1"), Witness(interrupt_at=3))
    (run,) = start(pool, jobs("seed=1")).runs
    before = contents(pool)
    result = start(pool, jobs("seed=0,1"))
    assert result.computed == 1
    name = run.path.name
    kept = {key: value for key, value in before.items() if key.startswith(name)}
    assert kept.items() <= contents(pool).items()
    for seed, one in enumerate(result.runs):
        assert differing(params_of(one), train(tiny(seed=seed))[0].params) == []


# -- bad input and failures --------------------------------------------------------


def test_a_pool_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    for place in (tmp_path / "file", tmp_path / "file" / "runs"):
        with pytest.raises(
            UserError, match=r"cannot (read|write) '.*file|cannot be used as a"
        ):
            start(place, jobs())
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


TASKS = """
import dataclasses
from rnnjax.tasks import Adding

@dataclasses.dataclass(frozen=True)
class Fine(Adding):
    length: int = 3

@dataclasses.dataclass(frozen=True)
class FailsToSample(Fine):
    def sample(self, key, batch, data):
        raise RuntimeError("no luck\\ntoday")

@dataclasses.dataclass(frozen=True)
class FailsAtTheEnd(Fine):
    def references(self):
        raise ValueError("nobody to compare with")

@dataclasses.dataclass(frozen=True)
class FailsToLoad(Fine):
    def load(self):
        raise KeyError("column")

@dataclasses.dataclass(frozen=True)
class FailsToDescribe(Fine):
    def spec(self, data):
        raise ZeroDivisionError("division by zero")
"""


def as_file(folder: Path) -> None:
    folder.write_text("not a folder")


def as_dangling_link(folder: Path) -> None:
    folder.symlink_to(folder.parent / "nowhere")


def as_full_of_folders(folder: Path) -> None:
    (folder / "config.yaml").mkdir(parents=True)


def as_link(folder: Path) -> None:
    (folder.parent.parent / "theirs").mkdir()
    folder.symlink_to(folder.parent.parent / "theirs")


def test_a_folder_that_cannot_be_made_costs_its_run_alone(pool):
    planned = jobs("seed=0,1,2")
    stopped = planned[1]
    folder = pool / f"{stopped.name}-{stopped.run_id}"
    pool.mkdir()
    as_link(folder)
    witness = Witness()
    result = start(pool, planned, witness)
    assert result.failed == 1
    (warning,) = witness.warnings
    assert warning == (
        f"1 run failed: '{folder}' is a link; rnnjax does not write through links"
    )
    done = {run.path: run.manifest().status for run in result.runs}
    assert list(done.values()) == ["done", "done"] and folder not in done


@pytest.mark.parametrize("block", [as_file, as_dangling_link, as_full_of_folders])
def test_what_is_in_the_place_of_a_run_is_set_aside(pool, block):
    planned = jobs("seed=0,1,2")
    folder = pool / f"{planned[1].name}-{planned[1].run_id}"
    pool.mkdir()
    block(folder)
    with pytest.warns(UserWarning, match="moved to"):
        result = start(pool, planned)
    assert result.failed == 0
    assert [run.manifest().status for run in result.runs] == ["done"] * 3
    assert len(list((pool / QUARANTINE).iterdir())) == 1


@pytest.mark.filterwarnings("ignore:1 run failed")
def test_a_command_whose_only_folder_cannot_be_made_ends_with_1(pool):
    planned = jobs("seed=0")
    pool.mkdir()
    as_link(pool / f"{planned[0].name}-{planned[0].run_id}")
    result = start(pool, planned)
    assert (result.failed, result.runs) == (1, ())


@pytest.fixture
def tasks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a file with tasks, in the present folder."""
    (tmp_path / "tasks.py").write_text(TASKS)
    monkeypatch.chdir(tmp_path)
    return "tasks.py"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "error"),
    [
        pytest.param(
            *("FailsToSample", "RuntimeError: no luck"), marks=pytest.mark.slow
        ),
        ("FailsAtTheEnd", "ValueError: nobody to compare with"),
    ],
)
def test_a_run_that_fails_and_its_neighbours(pool, tasks, name, error):
    axis = f"task={tasks}:Fine,{tasks}:{name}"
    planned = jobs(axis, "seed=0,1", task=[])
    for computed in (4, 2):  # What failed is tried again.
        witness = Witness()
        result = start(pool, planned, witness)
        assert (result.computed, result.failed) == (computed, 2)
        statuses = [run.manifest().status for run in result.runs]
        assert statuses == ["done", "done", "failed", "failed"]
        for run in result.runs[2:]:
            assert run.manifest().error == error
            assert run.manifest().finished is not None
            assert not run.has(METRICS) and not run.has(PARAMS)
        assert witness.warnings == [f"2 runs failed: {error}"]
        errors = load(result.sweep).runs["error"].to_list()
        assert errors == [None, None, error, error]


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("FailsToLoad", "KeyError: 'column'"),
        ("FailsToDescribe", "ZeroDivisionError: division by zero"),
    ],
)
def test_a_task_that_cannot_be_read_stops_before_anything_starts(
    pool, tasks, name, error
):
    with pytest.raises(UserError, match=f"task={name}.*{error}") as caught:
        start(pool, jobs(f"task={tasks}:Fine,{tasks}:{name}", task=[]))
    assert "\n" not in str(caught.value) and not pool.exists()


@pytest.mark.parametrize("terminal", [False, True])
def test_progress_is_shown(pool, terminal):
    start(pool, jobs("seed=0"))
    shown = io.StringIO()
    console = Console(file=shown, force_terminal=terminal, color_system=None, width=100)
    progress = LiveProgress(console, every=0.0)
    start(pool, jobs("seed=0,1,2", "steps=12"), progress)
    lines = shown.getvalue().splitlines()
    assert lines[0] == "2 runs in 1 pack, 1 already finished"
    if terminal:
        assert " 2/2 runs" in shown.getvalue()
    else:
        shares = [float(line.split("%")[0]) for line in lines[1:]]
        assert shares == sorted(shares) and shares[0] == 0 and shares[-1] == 100
    progress.warn("shapes f32[3,5] and [/b]")
    assert "shapes f32[3,5] and [/b]\n" in shown.getvalue()


@pytest.mark.parametrize("kept", ["state", "checkpoint"])
def test_in_another_environment_a_run_begins_anew(pool, tmp_path, monkeypatch, kept):
    """Its manifest names one environment, and `verify` holds it to that."""
    if kept == "state":
        start(pool, jobs("steps=10"))
    else:
        with pytest.raises(KeyboardInterrupt):
            start(pool, jobs("steps=13"), Witness(2))
        assert list((pool / "packs").iterdir())
    monkeypatch.setenv("XLA_FLAGS", "--xla_of=another")  # too late to change anything
    (run,) = start(pool, jobs("steps=13")).runs
    assert run.manifest().resumed_from == 0
    (whole,) = start(tmp_path / "whole", jobs("steps=13")).runs
    assert everything(run) == everything(whole)
    witness = Witness()
    start(tmp_path / "again", jobs("steps=10"))
    start(tmp_path / "again", jobs("steps=13"), witness)
    assert witness.packs == [PackSize(13, 1, 10)]  # in one environment it goes on


def test_a_run_says_what_it_really_resumed_from(pool):
    """Its own save goes before a shorter run that was finished meanwhile."""
    with pytest.raises(KeyboardInterrupt):
        start(pool, jobs("steps=13"), Witness(2))
    start(pool, jobs("steps=10"))
    (run,) = start(pool, jobs("steps=13")).runs
    assert run.manifest().resumed_from == 0
