"""Search: trials in packs, and successive halving that extends runs."""

import math
import sys

import numpy as np
import optuna
import polars as pl
import pytest

from rnnjax import sweeps
from rnnjax.cli.main import main
from rnnjax.errors import UserError
from rnnjax.results import load
from rnnjax.sweeps import worker
from rnnjax.sweeps.search import search
from rnnjax.sweeps.search_space import SearchConfig
from tests.launch_samples import OPINION, SIZES, Witness
from tests.training_samples import CAPACITY, compiled


RATE = "lr=tag(log,interval(1e-3,1e-1))"


@pytest.fixture(autouse=True)
def shared(monkeypatch: pytest.MonkeyPatch) -> None:
    """Programs that are compiled once for all tests of this process."""
    monkeypatch.setattr(worker, "Compiled", compiled)


def found(tmp_path, *words, **options):
    sizes = [*SIZES, *OPINION, f"pack.capacity={CAPACITY}", f"out={tmp_path}"]
    witness = Witness()
    config = SearchConfig(**options)
    return search([*sizes, *words], config, progress=witness).trials, witness


def test_random_points_are_packed_and_averaged_over_seeds(tmp_path):
    table, witness = found(tmp_path, RATE, "seed=0,1", trials=3, sampler_seed=4)
    assert [pack.runs for pack in witness.packs] == [6]
    assert table.columns == ["lr", "value", "steps", "state", "runs"]
    asked = optuna.samplers.RandomSampler(seed=4)
    study = optuna.create_study(sampler=asked)
    rates = optuna.distributions.FloatDistribution(1e-3, 1e-1, log=True)
    expected = {study.ask({"lr": rates}).params["lr"] for _ in range(3)}
    assert set(table["lr"]) == expected
    runs = load(tmp_path).runs
    for row in table.iter_rows(named=True):
        own = runs.filter(pl.col("run_id").is_in(row["runs"].split()))
        assert own["seed"].to_list() == [0, 1] and set(own["lr"]) == {row["lr"]}
        mean = np.mean(own["best_validation_accuracy"].to_numpy())
        assert math.isclose(row["value"], float(mean)) and row["state"] == "done"
    assert table["value"].is_sorted(descending=True)  # an accuracy
    again, idle = found(tmp_path, RATE, "seed=0,1", trials=3, sampler_seed=4)
    assert again.equals(table) and idle.packs == []


def test_of_an_error_the_smallest_is_best(tmp_path):
    words = [*SIZES, "task=adding", "task.length=6", RATE, f"out={tmp_path}"]
    table = search(words, SearchConfig(trials=3)).trials
    runs = load(tmp_path).runs
    assert set(runs["metric"]) == {"mean_squared_error"} and table["value"].is_sorted()
    assert table["value"][0] == runs["best_validation_mean_squared_error"].min()


def test_a_grid_has_all_points_and_what_diverges_comes_last(tmp_path):
    """A loss is better small; a logarithmic interval has equal ratios."""
    words = ["lr=tag(log,interval(1e-3,1000))", "cell.bias=0,.5", "loss_bound=5"]
    options = {"method": "grid", "points": 3, "objective": "test_loss"}
    table, witness = found(tmp_path, *words, **options)
    assert len(table) == 6 and sum(pack.runs for pack in witness.packs) == 6
    rates = sorted(set(table["lr"]))
    assert rates == pytest.approx([1e-3, 1.0, 1000.0])
    states = dict(zip(table["lr"], table["state"], strict=True))
    assert states[1e-3] == "done" and states[1000.0] == "failed"
    assert table["state"].to_list()[-1] == "failed"
    good = table.filter(pl.col("state") == "done")["value"]
    assert good.is_sorted() and table["value"].to_list()[: len(good)] == good.to_list()


def test_halving_resumes_the_best(tmp_path):
    """12 steps in three rounds of 3, 6, 12: 8 trials, then 4, then 2."""
    options = {"method": "halving", "trials": 8, "factor": 2, "rounds": 3}
    table, _ = found(tmp_path, RATE, **options)
    assert table["steps"].to_list() == [12] * 2 + [6] * 2 + [3] * 4
    assert table["state"].to_list() == ["done"] * 2 + ["stopped"] * 6
    runs = load(tmp_path).runs
    # Each round resumes from the one before, whose runs stay.
    assert sorted(runs["steps"]) == [3] * 8 + [6] * 4 + [12] * 2
    resumed = runs.filter(pl.col("steps") > 3)
    assert resumed["resumed_from"].to_list() == (resumed["steps"] // 2).to_list()
    # The same numbers as of runs that were never stopped.
    whole, _ = found(tmp_path / "whole", RATE, trials=8)
    values = dict(zip(whole["runs"], whole["value"], strict=True))
    for row in table.head(2).iter_rows(named=True):
        assert values[row["runs"]] == row["value"]


def test_tpe_asks_a_pack_at_a_time(tmp_path):
    table, witness = found(tmp_path, RATE, method="tpe", trials=9)
    assert len(table) == 9 and len(set(table["lr"])) == 9
    assert [pack[:2] for pack in witness.packs] == [(12, 1)]  # 8 in the first round


def test_the_command(tmp_path, capsys):
    words = ["search", *SIZES, *OPINION, RATE, "--trials", "2", f"out={tmp_path}"]
    assert main([*words, f"pack.capacity={CAPACITY}"]) == 0
    out = capsys.readouterr().out
    assert "the best of 2 trials" in out
    (file,) = tmp_path.glob("searches/*.csv")
    assert len(pl.read_csv(file)) == 2


@pytest.mark.parametrize(
    ("words", "part"),
    [
        ([], "nothing to search"),
        (["seed=0,1"], "nothing to search"),
        (["lr=interval(1,0)"], "not a valid interval"),
        (["lr=tag(log,interval(0,1))"], "not a valid interval"),
        (["zip=[{lr: 1}, {lr: 2}]"], "does not support zip"),
        (["lrr=interval(0,1)"], "did you mean lr"),
        (["lr=interval(1e-3,1)", "cell=lstn"], "lstm"),
    ],
)
def test_what_cannot_be_searched(tmp_path, words, part):
    with pytest.raises(UserError, match=part):
        found(tmp_path / "runs", *words)
    assert not (tmp_path / "runs").exists()


def test_a_number_that_no_run_has(tmp_path):
    with pytest.raises(UserError, match="did you mean test_accuracy"):
        found(tmp_path, RATE, trials=1, objective="test_acuracy")


def test_without_optuna(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "optuna", None)
    monkeypatch.delattr(sweeps, "search", raising=False)
    monkeypatch.delitem(sys.modules, "rnnjax.sweeps.search", raising=False)
    assert main(["search", RATE]) == 2
    assert "pip install 'rnnjax[search]'" in capsys.readouterr().err
    assert main(["search", RATE, "--method", "halfing"]) == 2
    assert "halving" in capsys.readouterr().err
