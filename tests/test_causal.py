"""Experiments on the gradient itself: what is cut off is not learnt."""

import jax
import numpy as np
import pytest

from rnnjax.errors import UserError
from rnnjax.store.run_id import run_id_of
from rnnjax.sweeps.compose import compose, compose_sweep
from rnnjax.sweeps.jobs import run_config
from rnnjax.training.build import build_hyper, initial_params, signature
from rnnjax.training.config import (
    BackpropConfig,
    EvalConfig,
    ModelConfig,
    RunConfig,
)
from tests.training_samples import differing, tiny, train


def sentences(rule: BackpropConfig, cell: str = "lstm", **changes) -> RunConfig:
    """30 words, the first decides: its lag from the last word is 29."""
    defaults = {
        "cell_options": {"chrono": 30.0},
        "task_options": {"distance": 30},
        "model": ModelConfig(hidden=24, embedding=16),
        "eval": EvalConfig(every=100, size=500, stop_when_solved=True),
        "backprop": rule,
        "lr": 1e-2,
        "batch": 32,
        "steps": 400,
        "log_every": 100,
    }
    return tiny(cell, **(defaults | changes))


@pytest.mark.slow
def test_a_word_beyond_the_cut_is_not_learnt():
    lags = (10, 28, 29, 40)
    runs = [sentences(BackpropConfig("cut", lag)) for lag in lags]
    scores = [float(outcome.results["test_accuracy"]) for outcome in train(*runs)]  # pyright: ignore
    below, above = scores[:2], scores[2:]
    assert max(below) < 0.65 and min(above) >= 0.95, scores


@pytest.mark.slow
def test_a_sigmoid_network_learns_from_a_gradient_that_keeps_its_size():
    scores = []
    for name in ("exact", "renormalise"):
        options = {"activation": "sigmoid"}
        rule = BackpropConfig(name)
        run = sentences(rule, "elman", cell_options=options, lr=3e-3)
        scores.append(float(train(run)[0].results["test_accuracy"]))  # pyright: ignore
    assert scores[0] < 0.65 and scores[1] >= 0.95, scores


def test_lags_share_a_program_and_rules_do_not():
    rules = [BackpropConfig("cut", 3), BackpropConfig("cut", 7)]
    runs = [tiny(backprop=rule) for rule in rules]
    assert signature(runs[0]) == signature(runs[1])
    assert [int(build_hyper(run).lag) for run in runs] == [3, 7]  # pyright: ignore
    others = [tiny(), tiny(backprop=BackpropConfig("renormalise"))]
    assert len({signature(run) for run in (*runs, *others)}) == 3
    assert build_hyper(others[0]).lag is None
    assert differing(initial_params(runs[0]), initial_params(others[0])) == []


@pytest.mark.slow
def test_a_cut_beyond_the_sequence_trains_like_no_cut():
    (exact,) = train(tiny(steps=6))
    (cut,) = train(tiny(steps=6, backprop=BackpropConfig("cut", 5)))
    for one, other in zip(
        jax.tree.leaves(cut.params), jax.tree.leaves(exact.params), strict=True
    ):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)


def test_a_rule_is_part_of_what_a_run_is():
    cut = ["backprop=cut", "backprop.lag=5,6"]
    jobs = [compose(), *compose_sweep(cut), compose("backprop=renormalise")]
    assert len({run_id_of(job.resolved, {}) for job in jobs}) == 4
    rules = [(job.config.backprop.name, job.config.backprop.lag) for job in jobs]
    expected = [("exact", None), ("cut", 5), ("cut", 6), ("renormalise", None)]
    assert rules == expected
    # a record of before there was a choice is that of the exact rule
    before = {k: v for k, v in jobs[0].resolved.items() if k != "backprop"}
    assert run_id_of(before, {}) == run_id_of(jobs[0].resolved, {})
    assert run_config(before) == jobs[0].config
    assert [job.name for job in jobs[1:3]] == [
        "elman-opinion-lag=5",
        "elman-opinion-lag=6",
    ]


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["backprop=cut"], "backprop=cut needs backprop.lag, a whole number"),
        (["backprop=cut", "backprop.lag=-1"], "backprop.lag=-1 is out of range"),
        (["backprop=cut", "backprop.lag=1.5"], "backprop.lag=1.5 must be a whole"),
        (["backprop.lag=3"], "unknown key 'backprop.lag' with backprop=exact"),
        (["backprop=renormalize"], "did you mean renormalise?"),
        (["backprop=sham", "model.remat=4"], "does not support remat=4"),
        (["pairs=true", "task=copy"], "examples of task copy have no twins"),
        (["pairs=true", "batch=7"], "pairs=true needs an even batch"),
    ],
)
def test_a_rule_that_is_wrong_is_a_sentence(overrides, sentence):
    with pytest.raises(UserError) as found:
        compose(*overrides)
    assert sentence in str(found.value) and "\n" not in str(found.value)
