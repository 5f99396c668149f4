"""Learning-rate schedules: their formula, their program, their bits."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from rnnjax.cli.main import main
from rnnjax.sweeps.compose import compose
from rnnjax.training.build import signature
from rnnjax.training.schedules import (
    Constant,
    Cosine,
    Exponential,
    Linear,
    factor,
    rate_of,
)
from tests.training_samples import differing, tiny, train, trained


RATES = {
    "constant": Constant(),
    "warm-up": Constant(warmup=5),
    "linear": Linear(warmup=3, decay_steps=11, end_factor=0.25),
    "cosine": Cosine(decay_steps=9),
    "exponential": Exponential(warmup=2, half_life=1.5, end_factor=0.1),
}


def formula(config: Any, k: int) -> float:
    """As the docstring has it, in double precision."""
    warm = min((k + 1) / config.warmup, 1) if config.warmup else 1
    j = max(k - config.warmup, 0)
    fall = 1.0
    if config.name in ("linear", "cosine"):
        p = min(j / (config.decay_steps - config.warmup), 1)
        fall = 1 - p if config.name == "linear" else (1 + math.cos(math.pi * p)) / 2
    if config.name == "exponential":
        fall = 2 ** (-j / config.half_life)
    end = getattr(config, "end_factor", 0.0)
    return warm * (end + (1 - end) * fall)


@pytest.mark.parametrize("name", RATES)
def test_the_factor_follows_its_formula(name):
    config, steps = RATES[name], jnp.arange(20)
    found = jax.vmap(lambda k: factor(rate_of(config), k))(steps)
    expected = [formula(config, k) for k in range(20)]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7)
    if name == "constant":
        assert set(found.tolist()) == {1.0}


def test_the_factor_is_that_of_optax():
    steps = jnp.arange(20)
    cosine = optax.schedules.cosine_decay_schedule(1.0, 9)
    linear = optax.schedules.linear_schedule(1.0, 0.25, 8, transition_begin=3)
    for name, peer in (("cosine", cosine), ("linear", linear)):
        config = RATES[name]
        found = jax.vmap(lambda k, c=config: factor(rate_of(c), k))(steps)
        after = config.warmup  # optax knows the decay alone
        expected = np.array([peer(k) for k in range(20)])
        np.testing.assert_allclose(found[after:], expected[after:], atol=1e-6)


def test_schedules_share_a_program_and_keep_their_bits():
    configs = [tiny(lr_schedule=rate, seed=3) for rate in RATES.values()]
    assert len({signature(config) for config in configs}) == 1
    packed = train(*configs)
    for config, outcome in zip(configs, packed, strict=True):
        (alone,) = train(config)
        assert differing(trained(alone), trained(outcome)) == []
    assert len({float(outcome.metrics["loss"][-1]) for outcome in packed}) == len(RATES)
    # The same as no schedule at all.
    assert differing(train(tiny(seed=3))[0].params, packed[0].params) == []


def test_a_rate_of_zero_changes_nothing():
    """Behind the end of a decay to 0, parameters stay."""
    rate = Linear(decay_steps=7)
    short, long = (train(tiny(lr_schedule=rate, steps=s))[0] for s in (7, 12))
    assert differing(short.params, long.params) == []


@pytest.mark.parametrize(
    ("words", "part"),
    [
        ("lr_schedule=cosin", "did you mean cosine?"),
        ("lr_schedule=cosine", "lr_schedule.decay_steps needs a value"),
        ("lr_schedule=exponential", "lr_schedule.half_life needs a value"),
        (
            "lr_schedule=linear lr_schedule.decay_steps=9 lr_schedule.warmup=9",
            "at least 10",
        ),
        ("lr_schedule.decay_steps=9", "it belongs to lr_schedule=cosine or linear"),
    ],
)
def test_mistakes(words, part, capsys):
    assert main(["train", *words.split()]) == 2
    assert part in capsys.readouterr().err


def test_a_schedule_is_composed():
    words = ["lr_schedule=cosine", "lr_schedule.decay_steps=${steps}", "steps=300"]
    job = compose(*words, "lr_schedule.warmup=10")
    assert job.config.lr_schedule == Cosine(warmup=10, decay_steps=300)
