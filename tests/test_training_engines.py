"""The engine of a run is a word of its configuration, and changes no gradient."""

import dataclasses

import jax
import numpy as np
import pytest

from rnnjax.errors import UserError
from rnnjax.store.run_id import run_id_of
from rnnjax.sweeps.compose import compose
from rnnjax.training.build import build_hyper, initial_params, signature
from rnnjax.training.program import Program
from tests.training_samples import tiny


def with_model(config, **changes):
    model = dataclasses.replace(config.model, **changes)
    return dataclasses.replace(config, model=model)


def gradient(config):
    """Loss, metric, gradient and light probe's cotangents of one update."""
    run = jax.jit(Program(signature(config))._gradient, static_argnums=2)
    return run(initial_params(config), build_hyper(config), 3, {})


@pytest.mark.parametrize(
    ("cell", "engines"),
    [
        pytest.param(
            "lru",
            [{"engine": "associative"}, {"engine": "associative", "remat": 2}],
            marks=pytest.mark.slow,
        ),
        pytest.param(
            *("gru", [{"engine": "newton"}, {"remat": "sqrt"}]), marks=pytest.mark.slow
        ),
    ],
)
def test_a_training_run_has_the_gradient_of_the_scan(cell, engines):
    config = tiny(cell, "light")
    expected = jax.tree.leaves(gradient(config))
    assert max(np.max(np.abs(leaf)) for leaf in expected[2:]) > 1e-3
    for changes in engines:
        other = with_model(config, **changes)
        assert signature(other) != signature(config)
        for one, leaf in zip(jax.tree.leaves(gradient(other)), expected, strict=True):
            np.testing.assert_allclose(one, leaf, rtol=2e-4, atol=2e-6)


def test_the_command_line_chooses_an_engine():
    job = compose("cell=lru", "model.engine=associative", "model.remat=sqrt")
    assert (job.config.model.engine, job.config.model.remat) == ("associative", "sqrt")
    model = signature(job.config).model
    assert (model.engine, model.remat) == ("associative", "sqrt")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("cell=lstm model.engine=associative", "^cell=lstm: engine=associative needs"),
        ("model.engine=assoc", "did you mean associative"),
        ("model.remat=0", "^model.remat=0 must be a number of steps"),
        ("model.remat=square", "^model.remat=square must be a whole number"),
        ("backprop=renormalise model.engine=newton", "use engine=scan"),
    ],
)
def test_what_does_not_fit_is_told_before_anything_starts(words, message):
    with pytest.raises(UserError, match=message):
        compose(*words.split())


def test_runs_from_before_there_was_a_choice_keep_their_names():
    resolved = compose().resolved
    model = {k: v for k, v in resolved["model"].items() if k not in ("engine", "remat")}
    assert run_id_of(resolved | {"model": model}, {}) == run_id_of(resolved, {})
    other = resolved["model"] | {"remat": 10}
    assert run_id_of(resolved | {"model": other}, {}) != run_id_of(resolved, {})
