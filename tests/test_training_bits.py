"""A run gives the same bits alone, in any pack, under a full probe, and resumed.

A light probe takes part in the program of the updates. XLA may compile that one
differently, so that the last bit differs on some processors; runs under a light probe
have the same bits as each other, and are those without it up to rounding.
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from rnnjax.probes import light
from rnnjax.store.checkpoint import PackCheckpoint
from rnnjax.training.build import build_hyper, signature
from rnnjax.training.config import ClippingConfig, ModelConfig, RunConfig
from rnnjax.training.history import Outcome
from rnnjax.training.loop import PackTraining
from rnnjax.training.optimizers import SGD
from rnnjax.training.program import Program
from rnnjax.training.saving import Saving
from tests.training_samples import (
    PROBE_STEPS,
    differing,
    tiny,
    train,
    trained,
    training,
)


# Options that act at the start alone, so that runs which differ in them share a pack.
STARTS: dict[str, Callable[[int], dict[str, Any]]] = {
    "elman": lambda i: {"recurrent_init": ("orthogonal", "identity")[i % 2]},
    "lstm": lambda i: {"forget_bias": float(i)},
    "gru": lambda i: {"update_bias": i - 3.0},
    "urnn": lambda i: {},
}
PRESETS = ("off", "light", "full")
SIZES = (2, 3, 6, 7)


def runs(cell: str, probe: str) -> list[RunConfig]:
    """Seven runs with seeds, learning rates and starts of their own."""
    return [
        tiny(cell, probe, cell_options=STARTS[cell](i), seed=i, lr=10 ** -(0.5 + i / 3))
        for i in range(7)
    ]


@pytest.fixture(
    scope="module",
    params=[
        "elman",
        *(
            pytest.param(cell, marks=pytest.mark.slow)
            for cell in ("lstm", "gru", "urnn")
        ),
    ],
)
def cell(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def alone(cell: str) -> list[Outcome]:
    """Each run by itself and without a probe."""
    return [train(config)[0] for config in runs(cell, "off")]


@pytest.fixture(scope="module")
def alone_and_light(cell: str) -> list[Outcome]:
    """Each run by itself under a light probe."""
    return [train(config)[0] for config in runs(cell, "light")]


@pytest.fixture(scope="module", params=PRESETS)
def packed(request: pytest.FixtureRequest, cell: str) -> tuple[str, dict[int, Any]]:
    """The outcomes of packs by their size, under one preset."""
    configs = runs(cell, request.param)
    return request.param, {size: train(*configs[:size]) for size in SIZES}


def test_alone_and_packed_and_probed(alone, alone_and_light, packed):
    preset, packs = packed
    same = alone_and_light if preset == "light" else alone
    for size, outcomes in packs.items():
        for i, outcome in enumerate(outcomes):
            assert differing(trained(outcome), trained(same[i])) == [], (size, i)
    assert len({str(outcome.metrics["loss"]) for outcome in alone}) == len(alone)


def assert_a_light_probe_changes_nothing(cell: str, model: ModelConfig) -> None:
    """Up to rounding, which gradient descent at a small rate hardly enlarges."""
    descent = SGD()
    off, light = (
        train(tiny(cell, probe, model=model, optimizer=descent))[0].params
        for probe in ("off", "light")
    )
    for a, b in zip(jax.tree.leaves(off), jax.tree.leaves(light), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-6 * np.abs(b).max())


def test_a_light_probe_changes_nothing_but_the_last_bits(cell):
    assert_a_light_probe_changes_nothing(cell, tiny().model)


def test_measurements_alone_and_packed(cell, packed):
    preset, packs = packed
    # The light probe rides on the update that follows; the last one has none.
    last = {"off": [], "light": [11], "full": [12]}[preset]
    steps = [*PROBE_STEPS, *last] if last else []
    for i in (0, 2):
        (single,) = train(runs(cell, preset)[i])
        assert list(single.measurements) == steps
        for outcomes in packs.values():
            if i < len(outcomes):
                found = outcomes[i].measurements
                assert differing(found, single.measurements) == []


class Killed(BaseException):
    """The process dies."""


def killed_at(advances: int) -> Callable[[int, int], None]:
    """A progress that dies after so many stops, before the last of them is saved."""
    left = iter(range(advances))

    def tell(updates: int, ended: int) -> None:
        if next(left, None) is None:
            raise Killed

    return tell


def test_killed_and_resumed(cell, packed, tmp_path):
    preset, packs = packed
    configs = runs(cell, preset)[:3]

    def begin() -> PackTraining:
        checkpoint = PackCheckpoint(tmp_path, [str(c.seed) for c in configs])
        return training(configs, Saving(checkpoint, every_seconds=0))

    for advances, saved in ((2, 4), (3, 6)):
        with pytest.raises(Killed):
            begin().run(killed_at(advances))
        assert begin().at == saved if preset == "full" else begin().at > 0
    outcomes = begin().run()
    for outcome, whole in zip(outcomes, packs[3], strict=True):
        assert differing(trained(outcome), trained(whole)) == []
        assert differing(outcome.measurements, whole.measurements) == []


def test_resumed_on_other_slots(tmp_path: Path):
    configs = runs("elman", "off")[:3]
    saving = Saving(PackCheckpoint(tmp_path, ["a", "b", "c"]), every_seconds=0)
    with pytest.raises(Killed):
        training(configs, saving).run(killed_at(3))
    resumed = training(configs, saving, capacity=2)
    assert resumed.at == 6
    for outcome, whole in zip(resumed.run(), train(*configs), strict=True):
        assert differing(trained(outcome), trained(whole)) == []


def test_a_run_that_ended_between_two_saves_stays_ended(tmp_path: Path):
    """It diverges after the first save, and the process dies after a later one."""
    descent: dict[str, Any] = {"activation": "relu", "optimizer": SGD(), "steps": 20}
    clipping = ClippingConfig("none")
    good, bad = (
        tiny(lr=lr, clipping=clipping, loss_bound=1e6, **descent) for lr in (0.05, 6.0)
    )
    saving = Saving(PackCheckpoint(tmp_path, ["good", "bad"]), every_seconds=0)
    ended_before: list[int] = []

    def tell(updates: int, ended: int) -> None:
        if any(ended_before):  # and was saved as such
            raise Killed
        ended_before.append(ended)

    with pytest.raises(Killed):
        training([good, bad], saving).run(tell)
    outcomes = training([good, bad], saving).run()
    (whole,) = train(bad)
    assert whole.diverged_at is not None and 5 < whole.diverged_at <= 10
    assert outcomes[1].diverged_at == whole.diverged_at
    for outcome, other in zip(outcomes, train(good, bad), strict=True):
        assert differing(trained(outcome), trained(other)) == []


def test_the_light_probe_shows_the_update_that_follows():
    run = tiny(probe="light")
    (outcome,) = train(run)
    program = Program(signature(run))
    hyper = build_hyper(run)

    @jax.jit
    def norms(params, step):
        tapped = program._gradient(params, hyper, step, {})[3]
        return light.norms(program.model(hyper), tapped)

    for step, found in outcome.measurements.items():
        (until,) = train(dataclasses.replace(run, steps=step))
        expected = norms(until.params, step)
        assert list(found.adjoint) == ["layer0"] and "layer0/U" in found.delta
        for one, other in zip(
            jax.tree.leaves(found), jax.tree.leaves(expected), strict=True
        ):
            assert one.shape == (5,)
            np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_a_light_probe_changes_nothing_in_two_directions():
    """Two layers, whose walks from the end are read at step 0."""
    model = ModelConfig(hidden=5, embedding=3, layers=2, bidirectional=True)
    assert_a_light_probe_changes_nothing("elman", model)
