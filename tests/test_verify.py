"""A run that is computed again has the bits of its record, or the first that differ is
named: each case is a finished run that was changed, with digests made to match."""

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import flax.serialization
import jax
import numpy as np
import pytest
import xarray as xr

from rnnjax.cli.main import main
from rnnjax.cli.verifying import sentence
from rnnjax.store.run_id import file_digest
from rnnjax.store.rundir import (
    BEST,
    MANIFEST,
    METRICS,
    PARAMS,
    PROBES,
    STATE,
    RunDir,
)
from rnnjax.sweeps import worker
from rnnjax.sweeps.settings import PackConfig
from rnnjax.sweeps.verifying import TOLERANCE, UPDATES, Verdict, verify
from tests.launch_samples import jobs, start
from tests.training_samples import compiled


SHORT, LONG = 12, 30
"""Updates; the longer run resumes from a shorter one and outlasts `UPDATES`."""

ANY = PackConfig()
"""The places that `verify` gives a pack, so that programs are compiled once."""

Change = Callable[[RunDir], None]


@pytest.fixture(autouse=True)
def shared(monkeypatch: pytest.MonkeyPatch) -> None:
    """Programs that are compiled once for all tests of this process."""
    monkeypatch.setattr(worker, "Compiled", compiled)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two short runs in a pack, the first best at step 6, and a longer one."""
    pool = tmp_path_factory.mktemp("verify") / "pool"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(worker, "Compiled", compiled)
        sizes = [f"steps={SHORT}", "probe.steps=[0,4,7,25]", "probe.keep_params=true"]
        assert start(pool, jobs("seed=4,5", *sizes, probe="full"), pack=ANY).failed == 0
        longer = [f"steps={LONG}", *sizes[1:]]
        assert start(pool, jobs("seed=4", *longer, probe="full"), pack=ANY).failed == 0
    return pool


def runs_of(pool: Path) -> list[RunDir]:
    """Its runs, the shorter ones first."""
    runs = [RunDir(file.parent) for file in pool.glob(f"*/{MANIFEST}")]
    return sorted(runs, key=lambda run: (run.manifest().steps, run.config()["seed"]))


def rewrite(run: RunDir, **changes: Any) -> None:
    """Another manifest, which knows the files as they are now."""
    manifest = run.manifest().replace(**changes)
    found = {n: file_digest(run.path / n) for n in manifest.files if run.has(n)}
    whole = manifest.replace(files=manifest.files | found)
    (run.path / MANIFEST).write_text(whole.to_json())


def elsewhere(run: RunDir, **changes: Any) -> None:
    """As if another machine had made it."""
    changes = changes or {"processor": "01234567"}
    rewrite(run, environment=dataclasses.replace(run.manifest().environment, **changes))


def flip(file: str) -> Change:
    """One bit of the first number of the first array of a msgpack file."""

    def change(run: RunDir) -> None:
        tree: Any = flax.serialization.msgpack_restore((run.path / file).read_bytes())
        run_state: Any = (
            flax.serialization.msgpack_restore(tree["run"]) if "run" in tree else {}
        )
        leaves, treedef = jax.tree.flatten(run_state.get("best", tree))
        leaves[0] = np.array(leaves[0])
        leaves[0].reshape(-1).view(np.uint8)[0] ^= 1
        changed = jax.tree.unflatten(treedef, leaves)
        if run_state:
            content = flax.serialization.msgpack_serialize(
                run_state | {"best": changed}
            )
            changed = tree | {"run": content}
        (run.path / file).write_bytes(flax.serialization.msgpack_serialize(changed))
        rewrite(run)

    return change


def metric(step: int, column: str, factor: float) -> Change:
    """One number of the metrics, in proportion."""

    def change(run: RunDir) -> None:
        frame = run.metrics()
        values = frame[column].to_numpy().copy()
        values[frame["step"].to_list().index(step)] *= factor
        frame.with_columns(**{column: values}).write_parquet(run.path / METRICS)
        rewrite(run)

    return change


def probe(step: int, name: str, add: float) -> Change:
    """One number of a probe."""

    def change(run: RunDir) -> None:
        data = run.probes()
        values = data[name].transpose("train_step", ...).values
        values[data.train_step.values.tolist().index(step)].flat[-1] += add
        write_probes(run, data)

    return change


def write_probes(run: RunDir, data: xr.Dataset) -> None:
    data.to_netcdf(run.path / PROBES, engine="h5netcdf")
    rewrite(run)


def without_last_row(run: RunDir) -> None:
    run.metrics()[:-1].write_parquet(run.path / METRICS)
    rewrite(run)


def other_type(run: RunDir) -> None:
    frame = run.metrics()
    frame.with_columns(frame["loss"].cast(float).cast(str)).write_parquet(
        run.path / METRICS
    )
    rewrite(run)


def without_variable(run: RunDir) -> None:
    write_probes(run, run.probes().drop_vars("log10_adjoint"))


def missing(file: str) -> Change:
    return lambda run: (run.path / file).unlink()


def forgotten(file: str) -> Change:
    """Gone, and the manifest does not know of it either."""

    def change(run: RunDir) -> None:
        (run.path / file).unlink()
        files = {k: sha for k, sha in run.manifest().files.items() if k != file}
        (run.path / MANIFEST).write_text(run.manifest().replace(files=files).to_json())

    return change


def broken(file: str) -> Change:
    """Its digest is right, but nobody can read it."""

    def change(run: RunDir) -> None:
        (run.path / file).write_bytes(b"nothing")
        rewrite(run)

    return change


def torn(run: RunDir) -> None:
    content = (run.path / PARAMS).read_bytes()
    (run.path / PARAMS).write_bytes(content[:-1])


def result(run: RunDir) -> None:
    results = run.manifest().results
    rewrite(run, results=results | {"test_accuracy": results["test_accuracy"] + 0.05})  # pyright: ignore[reportOptionalOperand]


def both(*changes: Change) -> Change:
    def change(run: RunDir) -> None:
        for one in changes:
            one(run)

    return change


def side_by_side(run: RunDir) -> None:
    pack = run.manifest().pack
    assert pack is not None
    rewrite(run, pack=dataclasses.replace(pack, how="vmap", tolerance=1e-4))


def precision(run: RunDir) -> None:
    elsewhere(run, x64=True)
    rewrite(run, run_id="0123456789ab")


def configured(run: RunDir) -> None:
    text = (run.path / "config.yaml").read_text()
    (run.path / "config.yaml").write_text(text.replace("lr: 0.05", "lr: 0.06"))
    rewrite(run)


def nothing(run: RunDir) -> None:
    pass


def versions(**found: str) -> dict[str, Any]:
    known = {"jax": "0.0.1", "jaxlib": "0.0.1", "flax": "0.0.1", "optax": "0.0.1"}
    return {"versions": known | found}


# Change, outcome, and what the line has to say.
SHORT_CASES: dict[str, tuple[Change, str, list[str]]] = {
    "as it was": (
        nothing,
        "equal",
        ["equal, bit by bit (4 metrics rows, 4 probed steps, "],
    ),
    "parameter": (
        flip(PARAMS),
        "differs",
        ["step 12 in parameters 'embed/embedding' ("],
    ),
    "best": (flip(BEST), "differs", ["step 12 in best parameters '"]),
    "state": (flip(STATE), "differs", ["step 12 in state 'best/"]),
    "early parameters": (
        flip("params_at.msgpack"),
        "differs",
        ["step 0 in probed parameters '"],
    ),
    "metrics": (
        metric(5, "loss", 1 + 1e-9),
        "differs",
        ["differs first at step 5 in metrics 'loss' (1.0", " here, ", "stored)"],
    ),
    "rows": (without_last_row, "differs", ["step 12 in metrics '", "none stored"]),
    "type": (other_type, "differs", ["step 5 in metrics 'loss'"]),
    "probe": (
        probe(4, "log10_adjoint", 0.1),
        "differs",
        ["differs first at step 4 in probes 'log10_adjoint' (", "number apart)"],
    ),
    "variable": (
        without_variable,
        "differs",
        ["probes 'log10_adjoint'", "none stored"],
    ),
    "result": (result, "differs", ["step 12 in results 'test_accuracy' (0."]),
    "several": (
        both(flip(PARAMS), metric(6, "loss", 2)),
        "differs",
        ["differs first at step 6 in metrics 'loss'", "; at step 12 in parameters"],
    ),
    "metrics gone": (missing(METRICS), "differs", ["metrics.parquet' is missing"]),
    "probes gone": (missing(PROBES), "differs", ["probes.nc' is missing"]),
    "best gone": (missing(BEST), "differs", ["best.msgpack' is missing"]),
    "probes forgotten": (forgotten(PROBES), "differs", ["in probes '", "none stored"]),
    "state not kept": (forgotten(STATE), "equal", ["equal, bit by bit"]),
    "torn": (torn, "differs", ["params.msgpack' was changed or damaged"]),
    "unreadable metrics": (broken(METRICS), "differs", ["metrics.parquet: "]),
    "unreadable probes": (broken(PROBES), "differs", ["probes.nc: "]),
    "unreadable parameters": (broken(PARAMS), "differs", ["params.msgpack: "]),
    "other machine, same bits": (elsewhere, "equal", ["equal, bit by bit"]),
    "other machine, within": (
        both(elsewhere, flip(PARAMS), metric(5, "loss", 1.001)),
        "within",
        [f"within {TOLERANCE} of the", "in all 12 updates (different processors)"],
    ),
    "other machine, outside": (
        both(elsewhere, metric(5, "loss", 1.01)),
        "differs",
        [
            "step 5 in metrics 'loss'",
            "the promise is equality within 0.002",
            "different processors",
        ],
    ),
    "other libraries": (
        both(lambda run: elsewhere(run, **versions()), flip(PARAMS)),
        "within",
        ["jax 0.0.1 then, ", "jaxlib 0.0.1 then"],
    ),
    "other device": (
        both(lambda run: elsewhere(run, device="NVIDIA H100"), flip(PARAMS)),
        "within",
        ["(NVIDIA H100 then, cpu here)"],
    ),
    "processor not recorded": (
        both(lambda run: elsewhere(run, processor=None), flip(PARAMS)),
        "within",
        ["the processor was not recorded"],
    ),
    "side by side, within": (
        both(side_by_side, metric(5, "loss", 1 + 1e-5)),
        "within",
        ["within 0.0001 of the", "(probes 0.002)", "side by side"],
    ),
    "side by side, outside": (
        both(side_by_side, metric(5, "loss", 1.001)),
        "differs",
        ["the promise is equality within 0.0001", "for 12 updates"],
    ),
    "other code": (
        both(lambda run: rewrite(run, source_digest="0123456789ab")),
        "equal",
        ["equal, bit by bit, though made by different numeric code ("],
    ),
    "other code, other numbers": (
        both(lambda run: rewrite(run, source_digest="0123456789ab"), flip(PARAMS)),
        "differs",
        ["parameters '", "(made by different numeric code)"],
    ),
    "other schema": (
        lambda run: rewrite(run, schema=1),
        "refused",
        ["cannot be verified", "format 1"],
    ),
    "other precision": (precision, "refused", ["double precision", "JAX_ENABLE_X64=1"]),
    "other configuration": (configured, "refused", ["do not match its run id"]),
    "unfinished": (
        lambda run: rewrite(run, status="interrupted"),
        "refused",
        ["it is interrupted, not finished"],
    ),
    "no manifest": (missing(MANIFEST), "refused", ["has no manifest.json"]),
    "no configuration": (missing("config.yaml"), "refused", ["config.yaml"]),
}

LONG_CASES: dict[str, tuple[Change, str, list[str]]] = {
    "resumed": (nothing, "equal", ["equal, bit by bit (", " 5 probed steps"]),
    "resumed, early number": (metric(5, "loss", 2), "differs", ["step 5 in metrics"]),
    "late, here": (metric(25, "loss", 2), "differs", ["first at step 25 in metrics"]),
    "late, elsewhere": (
        both(elsewhere, metric(25, "loss", 2)),
        "within",
        ["up to step 24 of 30", f"as the promise covers {UPDATES} updates"],
    ),
    "late probe, elsewhere": (
        both(elsewhere, probe(25, "log10_adjoint", 9.0)),
        "within",
        ["up to step 24 of 30"],
    ),
    "early, elsewhere": (
        both(elsewhere, metric(20, "loss", 2)),
        "differs",
        ["differs first at step 20 in metrics 'loss'", "the promise is"],
    ),
    "late file, elsewhere": (
        both(elsewhere, missing(PARAMS)),
        "differs",
        ["params.msgpack' is missing"],
    ),
}


@pytest.fixture(scope="module")
def verdicts(
    trained: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Verdict]:
    """On all cases together: one launch computes both runs again."""
    folder = tmp_path_factory.mktemp("changed")
    short, _, long = runs_of(trained)
    copies = []
    for original, cases in ((short, SHORT_CASES), (long, LONG_CASES)):
        for name, (change, _, _) in cases.items():
            copy = RunDir(folder / name.replace(" ", "_") / original.path.name)
            shutil.copytree(original.path, copy.path)
            change(copy)
            copies.append(copy)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(worker, "Compiled", compiled)
        found = verify(copies)
    return dict(zip([*SHORT_CASES, *LONG_CASES], found, strict=True))


@pytest.mark.parametrize("name", [*SHORT_CASES, *LONG_CASES])
def test_a_changed_run(name, verdicts):
    _, outcome, parts = (SHORT_CASES | LONG_CASES)[name]
    text = sentence(verdicts[name])
    assert verdicts[name].outcome == outcome, text
    assert [part for part in parts if part not in text] == [], text
    assert "\n" not in text


def test_the_cases_are_what_they_say(trained):
    short, other, long = (run.manifest() for run in runs_of(trained))
    assert short.results["best_step"] == 6
    assert (short.steps, other.steps, long.steps) == (SHORT, SHORT, LONG)
    assert long.resumed_from == SHORT and short.pack and short.pack.size == 2
    assert long.lineage == short.lineage != other.lineage


def test_a_pool_with_one_bad_run(trained, tmp_path, capsys):
    """Of two lengths; the pool itself is left as it is."""
    pool = tmp_path / "pool"
    shutil.copytree(trained, pool)
    short, other, long = runs_of(pool)
    before = {f: f.read_bytes() for f in pool.rglob("*") if f.is_file()}
    assert main(["verify", str(pool), "--all"]) == 0
    assert "3 runs: 3 equal, bit by bit" in capsys.readouterr().out
    flip(PARAMS)(other)
    assert main(["verify", str(pool), "--all"]) == 1
    out = capsys.readouterr().out
    (line,) = [line for line in out.splitlines() if other.path.name in line]
    assert "differs first at step 12 in parameters" in line
    assert "3 runs: 2 equal, bit by bit, 1 differs\n" in out
    changed = {other.path / PARAMS, other.path / MANIFEST}
    after = {f: f.read_bytes() for f in pool.rglob("*") if f.is_file()}
    assert {f for f in after if after[f] != before.get(f)} == changed
    assert after.keys() == before.keys()
    # one run by its run_id, and a sweep
    key = short.manifest().run_id
    assert main(["verify", f"{pool}/{key[:8]}"]) == 0
    assert main(["verify", str(other.path)]) == 1
    capsys.readouterr()
    # what cannot be read is no success
    (long.path / MANIFEST).write_text("{")
    (pool / "index.jsonl").unlink()
    shutil.rmtree(other.path)
    assert main(["verify", str(pool), "--all"]) == 2
    out = capsys.readouterr().out
    assert f"cannot be verified: left out of the pool: '{long.path}" in out
    assert "2 runs: 1 equal, bit by bit, 1 cannot be verified" in out


def test_what_is_no_finished_run(tmp_path, capsys):
    for words, part in [
        ([str(tmp_path / "no" / "ne")], "there is no folder"),
        ([str(tmp_path)], "is not the directory of a run"),
        ([str(tmp_path), "--all"], "is not a sweep, a pool of runs or a run"),
        ([str(tmp_path), "more"], "does not take 'more'"),
        ([str(tmp_path), "--al"], "unknown option '--al'"),
    ]:
        assert main(["verify", *words]) == 2
        assert part in capsys.readouterr().err


CELL = """
from pathlib import Path
import jax.numpy as jnp
from rnnjax.cells import Cell

Path(__file__).with_name("executed").touch()

class Plain(Cell):
    def setup(self):
        self.kernel("V", self.inputs, self.features, "glorot_uniform")
        self.kernel("U", self.features, self.features, "orthogonal")

    def step(self, h, x):
        return jnp.tanh(self.project("V", x) + self.recur("U", h))
"""


def test_a_cell_of_the_users_is_executed_by_permission_only(tmp_path, capsys):
    """The copy in the run, whatever the file has become, as if in its place."""
    file = tmp_path / "cell.py"
    file.write_text(CELL)
    pool = tmp_path / "pool"
    (run,) = start(pool, jobs(f"cell={file}:Plain"), pack=ANY).runs
    file.unlink()
    executed = tmp_path / "executed"  # the cell writes it beside itself
    executed.unlink()
    assert main(["verify", str(run.path)]) == 2
    out = capsys.readouterr().out
    assert "own cell in" in out and "would be executed" in out and "--run-code" in out
    assert not executed.exists()
    assert main(["verify", str(run.path), "--run-code"]) == 0
    assert "equal, bit by bit" in capsys.readouterr().out
    assert executed.exists() and not (run.path / "source" / "executed").exists()
    flip(PARAMS)(run)
    assert main(["verify", str(run.path), "--run-code"]) == 1
    capsys.readouterr()
    copy = run.source("cell")
    copy.write_text(CELL.replace("tanh", "sin"))
    assert main(["verify", str(run.path), "--run-code"]) == 2
    assert "is not the file that the run was made with" in capsys.readouterr().out


def test_other_data_cannot_verify_a_run(tmp_path, capsys):
    """Data that changed or is gone; the run beside it is verified."""
    file = tmp_path / "my.npz"
    inputs = np.random.default_rng(0).integers(0, 5, (60, 4))
    np.savez(file, inputs=inputs, targets=np.arange(60) % 2)
    pool = tmp_path / "pool"
    own = [f"task.path={file}", "task=arrays", "eval.size=5"]
    (run,) = start(pool, jobs(*own, task=[]), pack=ANY).runs
    start(pool, jobs(), pack=ANY)
    assert main(["verify", str(pool), "--all"]) == 0
    np.savez(file, inputs=inputs[::-1], targets=np.arange(60) % 2)
    assert main(["verify", str(run.path)]) == 2
    assert "is not what the run" in capsys.readouterr().out
    file.unlink()
    assert main(["verify", str(pool), "--all"]) == 2
    out = capsys.readouterr().out
    assert f"{run.path.name}: cannot be verified: " in out and "my.npz" in out
    assert "2 runs: 1 equal, bit by bit, 1 cannot be verified" in out


def test_a_run_that_diverged(tmp_path):
    (run,) = start(tmp_path, jobs("lr=1000", "loss_bound=5", "log_every=1")).runs
    assert run.manifest().status == "diverged"
    (verdict,) = verify([run])
    assert verdict.outcome == "equal", sentence(verdict)
    at = run.manifest().diverged_at
    assert at is not None
    rewrite(run, diverged_at=at + 1)
    (verdict,) = verify([run])
    assert f"manifest 'diverged_at' ({at} here, {at + 1} stored)" in sentence(verdict)
