"""Means over seeds with intervals; short names of columns; two runs side by side."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from rnnjax import results
from rnnjax.errors import UserError
from rnnjax.store.aggregate import aggregate, student, wilson
from rnnjax.store.compare import Pair, compare
from rnnjax.store.names import column, quoted
from rnnjax.store.pool import Pool
from tests.store_samples import store_run


numbers = st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=9)


@given(numbers, st.floats(0.5, 0.999))
@settings(max_examples=50, deadline=None)
def test_students_interval_is_scipys(values, confidence):
    sample = np.array(values)
    error = stats.sem(sample)
    low, high = student(
        sample.mean()[None],
        sample.std(ddof=1)[None],
        np.array([sample.size]),
        confidence,
    )
    wanted = sample.mean() + error * np.array(
        stats.t.interval(confidence, sample.size - 1)
    )
    np.testing.assert_allclose([low[0], high[0]], wanted, rtol=1e-9, atol=1e-9)


@given(st.integers(1, 30).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
@settings(max_examples=50, deadline=None)
def test_wilsons_interval_is_scipys(counts):
    k, n = counts
    low, high = wilson(np.array([k / n]), np.array([n]), 0.95)
    wanted = stats.binomtest(k, n).proportion_ci(0.95, "wilson")
    np.testing.assert_allclose([low[0], high[0]], wanted, rtol=1e-9, atol=1e-12)


def test_groups_and_what_is_missing():
    frame = pl.DataFrame(
        {
            "cell": ["b", "a", "b", "b", "a"],
            "loss": [1.0, 5.0, 3.0, float("inf"), None],
            "solved": [True, False, True, None, True],
        }
    )
    found = aggregate(frame, ["cell"], ["loss", "solved"])
    assert found.columns == ["cell", "runs"] + [
        f"{name}{end}"
        for name in ("loss", "solved")
        for end in ("", ".low", ".high", ".n")
    ]
    assert found["cell"].to_list() == ["b", "a"] and found["runs"].to_list() == [3, 2]
    assert found["loss"].to_list() == [2.0, 5.0] and found["loss.n"].to_list() == [2, 1]
    # half of the range of two values is 12.7 wide: a loss below 0 there is none
    assert found["loss.low"][0] == 0.0
    np.testing.assert_allclose(found["loss.high"][0], 2 + stats.t.ppf(0.975, 1))
    assert found["loss.low"][1] is None  # One value has no spread.
    assert found["solved"].to_list() == [1.0, 0.5] and found["solved.high"][0] == 1.0
    (whole,) = aggregate(frame, [], ["loss"]).to_dicts()
    assert (whole["runs"], whole["loss"]) == (5, 3.0)


def test_no_interval_leaves_the_range_of_its_value():
    frame = pl.DataFrame(
        {
            "test_accuracy": [0.99, 0.7],
            "test_loss": [0.1, 0.9],
            "validation_accuracy": [0.9, 0.2],
            "best_step": [10, 90],
            "run_seconds": [1.0, 2.0],
            "test_mean_squared_error.long": [1.5, 0.1],
            "margin": [0.1, 0.2],
        }
    )
    values = frame.columns
    (found,) = aggregate(frame, [], values).to_dicts()
    ends = {name: (found[f"{name}.low"], found[f"{name}.high"]) for name in values}
    assert ends["test_accuracy"] == (0.0, 1.0) == ends["validation_accuracy"]
    assert ends["test_loss"][0] == 0.0 and ends["test_loss"][1] > 1
    low, high = ends["test_mean_squared_error.long"]
    assert low == 0.0 and high > 1
    assert ends["best_step"] == ends["run_seconds"] == (None, None)
    assert ends["margin"][0] < 0
    assert found["best_step"] == 50.0
    narrow = aggregate(frame, [], ["test_accuracy"], 0.1).to_dicts()[0]
    assert 0.8 < narrow["test_accuracy.low"] < narrow["test_accuracy.high"] < 0.9


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two cells with three seeds each, one of them with another hidden size."""
    folder = tmp_path_factory.mktemp("pool")
    for cell in ("lstm", "gru"):
        for seed in range(3):
            metric = "accuracy" if cell == "lstm" else "mean_squared_error"
            share = 0.5 + seed / 10
            run = {f"test_{metric}": share, "solved": seed > 0}
            store_run(Pool(folder), cell, seed, results=run, metric=metric)
    store_run(Pool(folder), "lstm", 9, status="failed", results={})
    return folder


def test_runs_are_averaged_over_seeds(folder):
    found = results.load(folder).aggregate()
    assert found["cell.name"].to_list() == ["lstm", "gru"]
    assert found["test_accuracy"].to_list() == [pytest.approx(0.6), None]
    assert found["test_mean_squared_error"].to_list() == [None, pytest.approx(0.6)]
    assert found["runs"].to_list() == [3, 3]
    (chosen,) = results.load(folder).select("cell = 'gru'").aggregate().to_dicts()
    assert chosen["solved"] == pytest.approx(2 / 3) and chosen["solved.n"] == 3
    by = results.load(folder).aggregate(["cell"], ["solved"], confidence=0.5)
    assert by.columns == [
        "cell.name",
        "runs",
        "solved",
        "solved.low",
        "solved.high",
    ] + ["solved.n"]
    with pytest.raises(UserError, match="cannot average column 'status'"):
        results.load(folder).aggregate(["cell"], ["status"])


COLUMNS = [
    "cell.name",
    "cell.bias",
    "probe.preset",
    "task.bias",
    "task.distance",
    "seed",
]


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("cell", "cell.name"),
        ("probe", "probe.preset"),
        ("seed", "seed"),
        ("distance", "task.distance"),
        ("task.distance", "task.distance"),
    ],
)
def test_short_names(name, meant):
    assert column(name, COLUMNS) == meant


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("bias", "column 'bias' could be cell.bias or task.bias"),
        ("distanc", "unknown column 'distanc'; did you mean distance"),
        ("cel", "unknown column 'cel'; did you mean cell"),
    ],
)
def test_names_that_are_none(name, message):
    with pytest.raises(UserError, match=message):
        column(name, COLUMNS)


def test_conditions_keep_words_functions_and_texts():
    text = "cell = 'cell' AND \"seed\" < abs(seed) OR distance(x) = task.distance"
    assert quoted(text, COLUMNS) == (
        '"cell.name" = \'cell\' AND "seed" < abs("seed") '
        'OR distance(x) = "task.distance"'
    )
    with pytest.raises(UserError, match="could be"):
        quoted("bias > 1", COLUMNS)


def test_two_runs_side_by_side(tmp_path):
    pool = Pool(tmp_path)
    one = store_run(pool, seed=0, config={"name": "a"}, run_seconds=2.0)
    other = store_run(pool, "gru", 1, config={"name": "b"}, steps=7)
    pairs = compare(one, other)
    assert pairs == [
        Pair("configuration", "cell.name", "lstm", "gru"),
        Pair("configuration", "seed", 0, 1),
        Pair("run", "status", "done", "done"),
        Pair("run", "steps", 0, 7),
        Pair("run", "run_seconds", 2.0, None),
        Pair("run", "compile_seconds", None, None),
        Pair("result", "accuracy", 0.5, 0.6),
    ]
