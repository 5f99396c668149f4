"""Signal and noise at the probed steps of runs, in the pool and in a report."""

from pathlib import Path

import jax
import matplotlib.pyplot as plt
import numpy as np
import polars as pl
import pytest
import xarray as xr

from rnnjax.analysis.signal import signals
from rnnjax.analysis.signal_in_training import signal_in_training, signal_results
from rnnjax.cli.main import main
from rnnjax.errors import UserError
from rnnjax.quantities import ALL
from rnnjax.quantities.signal import EUCLIDEAN
from rnnjax.report.build import build
from rnnjax.report.figures.examples import examples_against_lag
from rnnjax.report.flow import read_flow
from rnnjax.report.runs import read_runs
from rnnjax.report.style import palette
from rnnjax.report.text_signal import first_word
from rnnjax.results import load
from rnnjax.run import open_run
from rnnjax.sweeps.compose import compose
from rnnjax.training.build import initial_params
from tests.launch_samples import jobs, start


SIGNAL = "probe.signal=16"
N_UP = "log10_examples_in_update"


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs in a pack, measured at updates 0, 4, 7 and 12."""
    folder = tmp_path_factory.mktemp("pool")
    start(folder, jobs("seed=0,1", SIGNAL, probe="full"))
    return folder


def test_a_run_holds_what_its_stored_parameters_give(pool: Path):
    found = load(pool)
    for path in found.runs["path"]:
        run = open_run(path)
        stored = run.probes
        assert stored["train_step"].to_numpy().tolist() == [0, 4, 7, 12]
        assert stored["budget_horizon"].attrs["examples"] == 4 * 12
        for step in (0, 12):
            alone = signals(run.config, run.params_at(step), 16)()
            for name in ("update_share", N_UP, "budget_horizon"):
                here = stored[name].sel(train_step=step)
                np.testing.assert_array_equal(here, alone[name].transpose(*here.dims))
        results = run.manifest.results
        far = stored[N_UP].sel(gradient_of=ALL, metric=EUCLIDEAN, bound="estimate")
        assert results[f"{N_UP}.start"] == float(far[0, -1])
        assert results[f"{N_UP}.end"] == float(far[-1, -1])
    assert {f"{N_UP}.start", "budget_horizon.end"} <= set(found.result_columns)
    assert set(found.probes()[N_UP].dims) > {"run", "train_step", "lag", "bound"}


@pytest.mark.slow
def test_a_run_is_measured_again_only_for_what_it_lacks(tmp_path: Path):
    def computed(*overrides: str) -> int:
        return start(tmp_path, jobs(*overrides, probe="full")).computed

    assert computed() == 1
    assert computed(SIGNAL) == 1
    assert computed(SIGNAL) == 0
    assert computed() == 0  # it has more than is asked for
    assert computed("probe.signal=17") == 1


def test_a_number_of_the_cell_takes_part():
    """Runs that differ in a number share a program, which must not fix that number."""
    words = "cell=leaky", "task=adding", "task.length=4", "model.hidden=5"
    shares = []
    for alpha in (0.2, 0.9):
        config = compose(*words, f"cell.alpha={alpha}").config
        params = initial_params(config)
        shares.append(signals(config, params, 16)()["update_share"])
    assert not np.allclose(*shares)


@pytest.mark.slow
def test_parameters_that_are_not_numbers_give_no_number():
    config = compose("cell=elman", "task=adding", "task.length=4", SIGNAL).config
    params = initial_params(config)
    broken = jax.tree.map(lambda x: x * np.nan, params)
    found = signal_in_training(config, {0: params, 3: broken})
    assert np.isfinite(found[N_UP].sel(bound="low").isel(train_step=0)).any()
    assert found[N_UP].isel(train_step=1).isnull().all()
    results = signal_results(found)
    assert np.isnan(results[f"{N_UP}.end"])
    assert np.isnan(results["budget_horizon.end"])


def test_too_few_examples_are_refused_before_training(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    with pytest.raises(UserError, match="too few examples; use at least 8, or 0"):
        compose("probe.signal=7")
    file, out = tmp_path / "few.npz", tmp_path / "runs"
    targets = np.arange(40) % 2
    np.savez(file, inputs=np.ones((40, 5, 1), np.float32), targets=targets)
    status = main(["train", "task=arrays", f"task.path={file}", SIGNAL, f"out={out}"])
    message = capsys.readouterr().err
    assert status == 2
    assert "at least 8 held-out examples" in message
    assert not out.exists()


def test_the_report_draws_and_says_it(pool: Path):
    _, runs = read_runs(pool)
    flow = read_flow(runs.frame)
    assert set(flow.examples["stage"]) == {"start", "between", "end"}
    assert set(flow.examples["budget"]) == {48.0}
    drawing = examples_against_lag(flow.examples, palette(runs.variants), "distance")
    assert drawing is not None
    plt.close(drawing.figure)
    page = build(pool).read_text()
    assert "Examples needed against lag" in page
    assert "exceeds the noise of the whole gradient from N*_up examples on" in page


def test_sentences_follow_from_the_numbers():
    row = {
        "run_id": "a",
        "variant": "LSTM",
        "setting": "",
        "distance": 50.0,
        "seed": 0,
        "train_step": 0,
        "lag": 49,
        "own": 1.0,
        "update": 3.0,
        "adapted": 2.0,
        "within": True,
        "budget": 64000.0,
        "stage": "start",
    }
    near = row | {"lag": 48, "within": False, "update": 9.0}
    blind = row | {"run_id": "b", "variant": "GRU", "update": np.inf, "within": False}
    (text,) = first_word(pl.DataFrame([near, row, blind]), "distance")
    assert text.startswith("At distance 50 and initialisation the signal of the first")
    assert "LSTM 1000 and GRU more than can be seen" in text
    assert text.endswith(
        "within the 64000 examples of the training run in 1 of 2 runs."
    )
    far = row | {"update": 12.3, "within": False}
    assert "LSTM 10¹²" in first_word(pl.DataFrame([far]), "distance")[0]


def test_a_run_without_it_has_no_rows(tmp_path: Path):
    start(tmp_path, jobs(probe="full"))
    _, runs = read_runs(tmp_path)
    assert read_flow(runs.frame).examples.is_empty()
    (run,) = load(tmp_path).runs["path"]
    assert isinstance(open_run(run).probes, xr.Dataset)
    assert N_UP not in open_run(run).probes
    assert open_run(run).config.probe.signal == 0
