"""When the host looks: rows, evaluations, probes, and runs that end early."""

import dataclasses
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rnnjax.training.build import initial_params
from rnnjax.training.config import EvalConfig, ProbeConfig, RunConfig
from rnnjax.training.history import COLUMNS
from rnnjax.training.schedule import schedule_of
from tests.training_samples import differing, tiny, train, trained


NAMES = [name.format(metric="accuracy") for name in COLUMNS]


def config(steps: int, log_every: int, evaluate: int, probe: ProbeConfig) -> RunConfig:
    return RunConfig(
        cell="elman",
        task="opinion",
        steps=steps,
        log_every=log_every,
        eval=EvalConfig(every=evaluate),
        probe=probe,
    )


@given(
    steps=st.integers(0, 60),
    log_every=st.integers(1, 70),
    evaluate=st.integers(1, 70),
    probed=st.lists(st.integers(0, 80)),
)
def test_schedules(steps, log_every, evaluate, probed):
    found = {
        preset: schedule_of(
            config(steps, log_every, evaluate, ProbeConfig(preset, tuple(probed)))
        )
        for preset in ("off", "light", "full")
    }
    off, light, full = found.values()
    logged = set(range(log_every, steps + 1, log_every))
    evaluated = {*range(evaluate, steps + 1, evaluate), steps}
    rows = (logged | evaluated) - {0}
    for schedule in found.values():
        every = range(steps + 3)
        assert set(filter(schedule.evaluates, every)) == evaluated
        assert set(filter(schedule.closes_row, every)) == rows
        assert (schedule.evaluations, schedule.rows) == (len(evaluated), len(rows))
    within = {step for step in probed if step <= steps} | {steps}
    assert off.probes == set() and full.probes == within
    # The norms of the light probe come with the update that starts there.
    assert light.probes == {min(step + 1, steps) for step in within} - {0}
    for schedule in found.values():
        at, stops = 0, []
        while at < steps:
            at = schedule.next_stop(at)
            stops.append(at)
        looked = rows | evaluated | schedule.probes | {steps}
        assert stops == sorted(looked - {0})


def test_a_schedule_of_any_length_takes_no_memory():
    """One of 10⁹ rows, and one whose list of rows would be walked at every stop."""
    tracemalloc.start()
    for log_every in (1, 3):
        schedule = schedule_of(config(10**9, log_every, 10**6, ProbeConfig("off")))
        assert schedule.next_stop(999_999_998) in (999_999_999, 10**9)
        assert schedule.rows >= 10**9 // log_every
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 100_000


def test_rows_average_over_the_updates_since_the_last_one():
    each = tiny(log_every=1)
    (single,) = train(each)
    (joined,) = train(dataclasses.replace(each, log_every=5))
    assert single.metrics["step"].tolist() == list(range(1, 13))
    assert joined.metrics["step"].tolist() == [5, 6, 10, 12]
    assert set(joined.metrics) == {"step", *NAMES}
    bounds = [(0, 5), (5, 6), (6, 10), (10, 12)]
    for row, (first, last) in enumerate(bounds):
        for name in ("loss", "accuracy", "grad_norm", "clipped"):
            mean = np.mean(single.metrics[name][first:last])
            assert joined.metrics[name][row] == pytest.approx(mean, rel=1e-6)
        top = np.max(single.metrics["grad_norm"][first:last])
        assert joined.metrics["grad_norm_max"][row] == pytest.approx(top, rel=1e-6)
    evaluated = ~np.isnan(joined.metrics["validation_accuracy"])
    assert evaluated.tolist() == [False, True, False, True]
    assert differing(joined.params, single.params) == []


@pytest.mark.parametrize(
    ("probe", "measured"), [("off", []), ("light", []), ("full", [0])]
)
def test_no_update_at_all(probe, measured):
    run = tiny(probe=probe, steps=0)
    (outcome,) = train(run)
    assert (outcome.status, outcome.steps) == ("done", 0)
    assert differing(outcome.params, initial_params(run)) == []
    assert {name: column.size for name, column in outcome.metrics.items()} == {
        name: 0 for name in ("step", *NAMES)
    }
    assert list(outcome.measurements) == measured
    assert 0 <= outcome.results["test_accuracy"] <= 1  # pyright: ignore
    assert outcome.results["validation_accuracy"] is None
    assert outcome.results["stopped_early"] is False


def test_fewer_updates_than_a_row_has():
    (outcome,) = train(tiny(steps=3, log_every=50))
    assert outcome.metrics["step"].tolist() == [3] and outcome.steps == 3


def test_a_solved_run_stops_and_the_others_go_on():
    solving = tiny(
        seed=2,
        lr=0.02,
        eval=EvalConfig(every=40, size=20, stop_when_solved=True),
        probe="full",
        probe_steps=(0,),
        steps=400,
        log_every=40,
    )
    frozen = dataclasses.replace(solving, lr=0.0)
    first, second = train(solving, frozen)
    assert first.status == second.status == "done"
    assert first.results["stopped_early"] and first.results["solved"]
    assert first.results["validation_accuracy"] >= 0.95  # pyright: ignore
    assert 0 < first.steps < second.steps == 400 and first.steps % 40 == 0
    assert first.metrics["step"].tolist() == [*range(40, first.steps + 1, 40)]
    assert np.nanmax(first.metrics["validation_accuracy"][:-1], initial=0) < 0.95
    assert list(first.measurements) == [0, first.steps]
    assert list(second.measurements) == [0, 400]
    assert differing(second.params, initial_params(frozen)) == []
    (alone,) = train(solving)
    assert differing(trained(first), trained(alone)) == []
    # The same updates as a run that was to stop there.
    patient = dataclasses.replace(
        solving,
        eval=dataclasses.replace(solving.eval, stop_when_solved=False),
        steps=first.steps,
    )
    assert differing(train(patient)[0].params, first.params) == []
