"""Results of a pool, a sweep or one run, as tables and data sets."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
import xarray as xr

from rnnjax import results
from rnnjax.errors import UserError
from rnnjax.results import Results
from rnnjax.run import open_run
from rnnjax.store.joined import join_probes
from rnnjax.store.pool import Pool
from rnnjax.store.rundir import run_path
from rnnjax.store.sweep_record import SweepRecord, write_sweep
from rnnjax.store.writing import begin_run
from tests.store_samples import config_of, manifest_of, store_run


RUNS = [("lstm", 0, 3), ("gru", 0, 5), ("lstm", 1, 4)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pool of three finished runs and one that is running, and a sweep of two."""
    folder = tmp_path_factory.mktemp("results")
    pool = Pool(folder / "pool")
    runs = [store_run(pool, cell, seed, length=length) for cell, seed, length in RUNS]
    begun = manifest_of("feedfeedfeed")
    path = run_path(pool.path, "sample", begun.run_id)
    pool.add(begin_run(path, config_of("rnn", 9), begun))
    keys = [run.manifest().run_id for run in runs]
    chosen = (keys[2], "not-begun", keys[0])
    record = SweepRecord("two", "rnnjax", "2026", chosen, pool.path)
    write_sweep(folder / "sweeps" / "two", record)
    return folder


@pytest.fixture(scope="module")
def pool(folder: Path) -> Results:
    return results.load(folder / "pool")


@pytest.mark.filterwarnings("ignore:.*lacks 1 of the 3 runs")
def test_what_can_be_loaded(folder: Path, pool: Results):
    assert pool.runs["cell.name"].to_list() == ["lstm", "gru", "lstm", "rnn"]
    sweep = results.load(folder / "sweeps" / "two")
    assert sweep.runs["seed"].to_list() == [1, 0]
    one = results.load(pool.runs["path"][1])
    assert one.runs.select("cell.name", "status").row(0) == ("gru", "done")
    assert one.runs["path"][0] == pool.runs["path"][1]


def test_the_current_folder_can_be_loaded(
    folder: Path, pool: Results, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(pool.runs["path"][1])
    assert results.load(".").runs["path"].to_list() == [pool.runs["path"][1]]


def test_what_cannot_be_loaded(folder: Path, tmp_path: Path):
    for path in (tmp_path, folder / "none", folder / "pool" / "index.jsonl"):
        with pytest.raises(UserError, match="no folder|is not a sweep"):
            results.load(path)


def test_metrics(pool: Results):
    table = pool.metrics()
    assert table.columns == ["run_id", "cell.name", "seed", "step", "loss"]
    assert table.select("cell.name", "seed", "step", "loss").rows() == [
        ("lstm", 0, 10, 1.0),
        ("lstm", 0, 20, 0.5),
        ("gru", 0, 10, 1.0),
        ("gru", 0, 20, 0.5),
        ("lstm", 1, 10, 2.0),
        ("lstm", 1, 20, 1.5),
    ]
    assert pool.metrics(["accuracy"]).columns == [
        "run_id",
        "accuracy",
        "step",
        "loss",
    ]


def test_a_label_that_is_also_a_metric_gets_another_name(pool: Results):
    runs = pool.runs.with_columns(pl.lit("mse").alias("loss"))
    table = Results(runs, pool.config_columns).metrics(["loss"])
    assert table.columns == ["run_id", "run.loss", "step", "loss"]
    assert table.row(0)[1:] == ("mse", 10, 1.0)


def test_probes(pool: Results):
    probes = pool.probes()
    assert probes["log10_adjoint"].dims == ("run", "time", "state")
    assert dict(probes.sizes) == {"run": 3, "time": 5, "state": 1}
    assert list(probes["cell.name"].values) == ["lstm", "gru", "lstm"]
    assert list(probes["seed"].values) == [0, 0, 1]
    assert list(probes["run"].values) == pool.runs["run_id"].to_list()[:3]
    assert probes.attrs == {"quantity": "lagged adjoint", "exponent": 1}
    assert probes["log10_adjoint"].attrs == {"units": "log10"}
    for number, (_, _, length) in enumerate(RUNS):
        values = probes["log10_adjoint"].values[number, :, 0]
        expected = np.linspace(-5, 0, length, dtype=np.float32)
        np.testing.assert_array_equal(values[:length], expected)
        assert np.isnan(values[length:]).all()
        words = [f"word{t}" for t in range(length)] + [""] * (5 - length)
        assert list(probes["word"].values[number]) == words


@pytest.mark.parametrize(
    ("where", "seeds"),
    [
        (pl.col("cell.name") == "lstm", [0, 1]),
        ("cell.name = 'lstm'", [0, 1]),
        ("\"cell.name\" = 'lstm' AND seed > 0", [1]),
        ("cell.name IN ('gru', 'a.b') OR cell.hidden > 8.5", [0]),
        ("status = 'running'", [9]),
        ("seed > 99", []),
    ],
)
def test_select(pool: Results, where: pl.Expr | str, seeds: list[int]):
    assert pool.select(where).runs["seed"].to_list() == seeds


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("cell.nane = 'lstm'", "unknown column 'cell.nane'; did you mean cell.name"),
        (pl.col("sead") == 1, "unknown column 'sead'; did you mean seed"),
        ("seed >", "cannot select 'seed >'"),
        ("seed", "cannot select 'seed'"),
        ("", "cannot select ''"),
    ],
)
def test_conditions_that_are_none(pool: Results, where: pl.Expr | str, message: str):
    with pytest.raises(UserError, match=message) as caught:
        pool.select(where)
    assert "\n" not in str(caught.value)


def test_run_by_prefix(pool: Results):
    key = pool.runs["run_id"][1]
    assert str(pool.run(key[:6]).path) == pool.runs["path"][1]
    with pytest.raises(UserError, match="unknown run 'zzz'"):
        pool.run("zzz")
    with pytest.raises(UserError, match="several run ids"):
        pool.run("")


def test_errors_of_tables(pool: Results):
    with pytest.raises(UserError, match="unknown column 'cel.name'; did you mean"):
        pool.metrics(["cel.name"])
    unfinished = pool.select("status = 'running'")
    for read in (unfinished.metrics, unfinished.probes):
        with pytest.raises(UserError, match="none of the 1 runs is finished"):
            read()


def test_varying_columns_leave_out_what_is_cosmetic(tmp_path: Path):
    pool = Pool(tmp_path)
    store_run(pool, seed=0, config={"probe": {"every": 1}, "name": "a"})
    store_run(pool, seed=1, config={"probe": {"every": 2}, "name": "b"})
    loaded = results.load(tmp_path)
    assert loaded.varying() == ("seed",)
    assert loaded.runs["config.name"].to_list() == ["a", "b"]


def test_joining_runs_that_differ_in_everything():
    lstm = xr.Dataset(
        {
            "norm": (("state", "lag"), np.ones((2, 3), np.float32)),
            "dead": (("lag",), np.array([True, False, True])),
            "only": (("gate",), np.arange(2, dtype=np.int32)),
        },
        coords={"state": ["h", "c"]},
    )
    elman = xr.Dataset(
        {
            "norm": (("state", "lag"), np.zeros((1, 2), np.float32)),
            "dead": (("lag",), np.array([False, True])),
        },
        coords={"state": ["h"], "depth": 1},
    )
    joined = join_probes([lstm, elman], ["a", "b"], {"x": pl.Series([None, "y"])})
    assert joined["norm"].dtype == np.float32 and joined["dead"].dtype == np.float32
    norm = joined["norm"]
    np.testing.assert_array_equal(norm.sel(run="a", state="c"), [1, 1, 1])
    np.testing.assert_array_equal(norm.sel(run="b", state="h"), [0, 0, np.nan])
    assert norm.sel(run="b", state="c").isnull().all()
    np.testing.assert_array_equal(joined["dead"], [[1, 0, 1], [0, 1, np.nan]])
    np.testing.assert_array_equal(joined["only"], [[0, 1], [np.nan, np.nan]])
    np.testing.assert_array_equal(joined["depth"], [np.nan, 1])
    assert list(joined["x"].values) == ["", "y"]


def test_joining_one_run_changes_no_type():
    flags = xr.Dataset({"dead": (("lag",), np.array([True, False]))})
    assert join_probes([flags], ["a"], {})["dead"].dtype == bool


def test_the_manifest_of_another_run_gives_no_numbers(tmp_path):
    """It is whole, and sealed; the configuration beside it is another."""
    pool = Pool(tmp_path)
    one, other = store_run(pool, seed=0), store_run(pool, seed=1)
    (one.path / "manifest.json").write_bytes(other.manifest_bytes())
    with pytest.raises(UserError, match=f"{one.path.name}/config.yaml' was changed"):
        print(open_run(one.path).results)
