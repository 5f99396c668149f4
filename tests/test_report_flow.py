"""Tidy tables of a sweep, labels that do not overlap, colours that stand out."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from rnnjax import results
from rnnjax.probes.adjoints.decay import transient_of
from rnnjax.probes.adjoints.norms import by_lag
from rnnjax.report.aggregate import median_of
from rnnjax.report.build import build, what_came_out
from rnnjax.report.flow import lag_table, read_flow
from rnnjax.report.layout import spread
from rnnjax.report.runs import tidy
from rnnjax.report.study import read_study
from rnnjax.report.style import DASHES, SERIES, palette
from rnnjax.report.tables import bounds, decay_at, first_word_shares
from rnnjax.store.pool import Pool
from tests.report_samples import (
    SIGMA,
    VARIANTS,
    config_of,
    opinion_sweep,
    probes_of,
    store,
)


def of(*configs: dict[str, Any], results: dict[str, Any] | None = None) -> Any:
    """Make a pool of finished runs."""

    def make(folder: Path) -> None:
        for config in configs:
            store(Pool(folder), config, "done", results)

    return make


def opinion(variant: str, seed: int = 0, **task: Any) -> dict[str, Any]:
    return config_of(variant, seed, {"name": "opinion", **task})


def plain(cell: str, phi: str, **other: Any) -> dict[str, Any]:
    cell_options = {"name": cell, "activation": phi}
    task = {"name": "adding", "length": 50}
    start = {"cell": cell_options, "activation": phi, "variant": None, "task": task}
    return start | {"seed": 0} | other


CASES = {
    "variants": (
        of(opinion("lstm_chrono", distance=4), opinion("gru", distance=16)),
        [("LSTM chrono", "", 4.0), ("GRU", "", 16.0)],
        "task.distance",
    ),
    "cells and activations": (
        of(plain("elman", "tanh"), plain("elman", "relu"), plain("gru", "tanh")),
        [("Elman tanh", "", 50.0), ("Elman ReLU", "", 50.0), ("GRU tanh", "", 50.0)],
        "task.length",
    ),
    "one cell, a learning rate": (
        of(plain("elman", "tanh", lr=0.01), plain("elman", "tanh", lr=0.1)),
        [("Elman lr=0.01", "", 50.0), ("Elman lr=0.1", "", 50.0)],
        "task.length",
    ),
    "two forms of a task": (
        of(
            opinion("gru", distance=4, form="sentiment"),
            opinion("gru", distance=4, form="next_word"),
        ),
        [("GRU", "form=sentiment", 4.0), ("GRU", "form=next_word", 4.0)],
        "task.distance",
    ),
    "seeds alone": (
        of(opinion("gru", 0), opinion("gru", 1)),
        [("GRU", "", None), ("GRU", "", None)],
        None,
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_lines_and_axes(case: str, tmp_path: Path) -> None:
    make, rows, axis = CASES[case]
    make(tmp_path)
    runs = tidy(results.load(tmp_path))
    assert runs.axis == axis
    names = runs.frame.select("variant", "setting", "distance")
    assert set(names.rows()) == set(rows)


def test_labels_of_the_sweep_name_the_lines(tmp_path: Path) -> None:
    of(plain("elman", "tanh"), plain("elman", "relu"))(tmp_path)
    found = results.load(tmp_path)
    first, second = found.runs["run_id"]
    labels = {"elman-tanh": [first], "elman-relu": [second]}
    assert tidy(found, labels).variants == ["Elman tanh", "Elman ReLU"]


BOTH = ("accuracy", "mean_squared_error")


@pytest.mark.parametrize(
    ("recorded", "known", "words"),
    [
        (BOTH[:1], BOTH[:1], "accuracy"),
        (BOTH[1:], BOTH[1:], "mean squared error"),
        (BOTH, BOTH, "accuracy or mean squared error"),
        (("speed",), (), "test metric"),
    ],
)
def test_the_metric_is_what_the_manifests_say(
    recorded: tuple[str, ...], known: tuple[str, ...], words: str, tmp_path: Path
) -> None:
    pool = Pool(tmp_path)
    for seed, metric in enumerate(recorded):
        final = {f"test_{metric}": 0.25, f"validation_{metric}": 0.5, "solved": False}
        config = plain("elman", "tanh", task={"name": "user.py:Mine"}, seed=seed)
        rows = {"step": [5, 10], "loss": [2.0, 1.0], f"validation_{metric}": [0.0, 0.5]}
        store(pool, config, "done", final, pl.DataFrame(rows), metric=metric)
    runs = tidy(results.load(tmp_path))
    assert (runs.metrics, runs.metric) == (known, words)
    assert runs.frame["metric"].to_list() == [0.25] * len(known) or not known
    build(tmp_path)
    table = pl.read_csv(tmp_path / "runs.csv")
    curves = pl.read_csv(tmp_path / "figures" / "training_curves.csv")
    for name in known:
        assert table[f"test_{name}"].drop_nulls().to_list() == [0.25]
        assert curves[f"validation_{name}"].drop_nulls().to_list() == [0.0, 0.5]
    assert not {"metric", "validation_metric"} & {*table.columns, *curves.columns}


@given(st.data())
def test_lags_are_counted_from_the_last_loss_step(data: st.DataObject) -> None:
    steps = data.draw(st.integers(1, 6))
    last = np.array(data.draw(st.lists(st.integers(0, steps - 1), min_size=1)))
    norms = np.arange(steps * len(last), dtype=float).reshape(steps, len(last))
    found = by_lag(norms, last)
    for example, end in enumerate(last):
        for lag in range(steps):
            value = found[lag, example]
            if lag <= end:
                assert value == norms[end - lag, example]
            else:
                assert np.isnan(value)


@pytest.fixture(scope="module")
def flow(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("flow")
    names = ("elman_sigmoid", "elman_relu", "lstm")
    opinion_sweep(folder, names, (4, 60), (0, 1), mishaps=False, metrics=False)
    return read_flow(tidy(results.load(folder)).frame)


@pytest.mark.parametrize("variant", ["elman_sigmoid", "elman_relu", "lstm"])
@pytest.mark.parametrize("stage", ["start", "end"])
def test_slopes_are_those_of_the_runs(flow: Any, variant: str, stage: str) -> None:
    name = {"elman_sigmoid": "Elman sigmoid", "elman_relu": "Elman ReLU"}
    true = VARIANTS[variant]["slopes"][stage == "end"]
    here = flow.decays.filter(stage=stage, variant=name.get(variant, "LSTM"))
    assert np.allclose(here.filter(distance=60.0)["slope"], true, atol=0.01)


def test_exact_zeros_are_counted_and_not_fitted(flow: Any) -> None:
    dead = flow.decays.filter(variant="Elman ReLU", seed=1, distance=60.0)
    assert (dead["zeros"] == 30).all() and dead["slope"].is_finite().all()
    assert (dead["first_word"] == -np.inf).all()
    others = flow.decays.filter(pl.col("variant") != "Elman ReLU")
    assert (others["zeros"] == 0).all()
    table = decay_at(flow.decays).filter(variant="Elman ReLU", distance=60.0)
    assert table["zeros"].to_list() == [1] and table["seeds"].to_list() == [2]
    assert table["first_word_low"].to_list() == [-np.inf]


def test_the_bound_is_that_of_sigmoid_elman_alone(flow: Any) -> None:
    table = bounds(flow.decays)
    assert table["variant"].unique().to_list() == ["Elman sigmoid"]
    start = table.filter(stage="start")["bound"]
    assert np.allclose(start, np.log10(SIGMA / 4))
    assert (table["margin"] == table["slope"] - table["bound"]).all()


def test_shares_of_a_sentence_sum_to_one(flow: Any) -> None:
    keys = ["run_id", "train_step", "parameter", "sentence"]
    sums = flow.shares.group_by(keys).agg(pl.col("share").sum())
    assert len(sums) == 12 * 2 * 3 * 4
    assert np.allclose(sums["share"], 1, atol=1e-4)
    words = flow.shares.filter(distance=4.0, sentence=0, time=0)["word"].unique()
    assert words.to_list() == ["good"]
    first = first_word_shares(flow.shares, ["layer0/V"])
    assert set(first["parameter"]) == {"layer0/V"} and len(first) == 3 * 2 * 2


@pytest.mark.parametrize(("lags", "skip"), [(1, 0), (4, 1), (16, 5), (1000, 5)])
def test_a_fit_leaves_out_the_transient(lags: int, skip: int) -> None:
    assert transient_of(lags) == skip


@given(st.lists(st.sampled_from([-np.inf, -3.0, 0.0, 2.0, np.inf]), min_size=1))
def test_medians_of_infinities(values: list[float]) -> None:
    frame = pl.DataFrame({"x": values}, schema={"x": pl.Float64})
    with np.errstate(invalid="ignore"):
        expected = np.median(values)
    assert np.array_equal(frame.select(median_of("x")).item(), expected, equal_nan=True)


@given(st.lists(st.floats(-0.5, 1.5), min_size=1, max_size=12), st.floats(0.01, 0.3))
def test_labels_keep_their_order_and_their_distance(
    wanted: list[float], gap: float
) -> None:
    wanted = sorted(wanted)
    places = spread(wanted, gap)
    gap = min(gap, 1 / max(1, len(wanted) - 1))
    assert all(b - a >= gap - 1e-6 for a, b in pairwise(places))
    if len(wanted) > 1:
        assert -1e-6 <= places[0] and places[-1] <= 1 + 1e-6
    if all(b - a >= gap for a, b in pairwise(wanted)) and 0 <= wanted[0]:
        if wanted[-1] <= 1:
            assert np.allclose(places, wanted)


def luminance(colour: str) -> float:
    """Relative luminance of WCAG."""
    parts = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


@pytest.mark.parametrize(("theme", "ground"), [(0, "#ffffff"), (1, "#181c21")])
def test_lines_stand_out_on_paper_and_on_a_dark_screen(theme: int, ground: str) -> None:
    back = luminance(ground)
    for colours in SERIES:
        pair = sorted([back, luminance(colours[theme])])
        assert (pair[1] + 0.05) / (pair[0] + 0.05) >= 3


def test_every_variant_has_a_look_of_its_own() -> None:
    most = len(SERIES) * len(DASHES)
    looks = palette([str(i) for i in range(most)])
    assert len(set(looks.values())) == most


def test_a_run_that_exploded_is_not_ranked_among_those_that_vanish(
    tmp_path: Path,
) -> None:
    sweep = tmp_path / "sweep"
    pool = Pool(sweep / "runs")
    for variant in ("elman_tanh", "elman_relu", "lstm"):
        for seed in (0, 1):
            probes = probes_of(VARIANTS[variant]["slopes"], [30, 30, 20, 30], seed=seed)
            if variant == "elman_relu":
                lost = slice(None) if seed else [0]
                probes["log10_adjoint"][..., lost] = np.nan
            task = {"name": "opinion", "distance": 30}
            store(pool, config_of(variant, seed, task), "done", probes=probes)
    study = read_study(pool.path)
    table = decay_at(study.flow.decays)
    relu = table.row(by_predicate=pl.col("variant") == "Elman ReLU", named=True)
    assert (relu["seeds"], relu["exploded"], relu["lost"]) == (2, 2, 1)
    assert relu["slope"] == pytest.approx(-0.03, abs=0.01), "the rest of seed 0"
    assert relu["zeros"] == 0 and relu["first_word_low"] == relu["first_word_high"]
    others = table.filter(pl.col("variant") != "Elman ReLU")
    assert (others["exploded"] == 0).all()
    said = dict(what_came_out(study))["Gradients"]
    (told,) = [line for line in said if "explode" in line]
    assert "Elman ReLU (in all examples of 1 and in some examples of 1 of 2" in told
    lost = study.flow.decays.filter(variant="Elman ReLU", seed=1)
    assert lost["slope"].is_nan().all() and lost["horizon"].is_nan().all()
    assert (lost["exploded"] == 1).all() and (lost["lags"] == 30).all()


def test_lags_of_a_walk_that_is_read_at_step_0():
    """Its lag is the time step itself; examples of two lengths."""
    norms = np.full((1, 1, 1, 6, 2), np.nan)
    norms[0, 0, 0, :6, 0] = -np.arange(6.0)
    norms[0, 0, 0, :4, 1] = -np.arange(4.0)
    dims = ("train_step", "layer", "array", "time", "example")
    data = xr.Dataset(
        {
            "log10_adjoint": (dims, norms),
            "last_step": ("example", [5, 3]),
            "lag_is_time": ("layer", [1]),
        },
        {"train_step": [0], "layer": ["layer0.backward"], "array": ["joint"]},
    )
    table = lag_table(data)
    assert table["lag"].to_list() == [0, 1, 2, 3, 4, 5]
    np.testing.assert_allclose(table["log10_norm"], -np.arange(6.0))
    np.testing.assert_allclose(table["log10_ratio"], -np.arange(6.0))
