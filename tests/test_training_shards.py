"""A batch in shards: the same gradient, and the same bits wherever the shards lie."""

import dataclasses

import jax
import numpy as np
import pytest

from rnnjax.errors import UserError
from rnnjax.training.build import build_hyper, initial_params, signature
from rnnjax.training.loop import PackTraining
from rnnjax.training.pack import mesh_for, run_mesh
from rnnjax.training.program import Program
from tests.recurrence_samples import rows
from tests.training_samples import CAPACITY, compiled, differing, tiny, train, trained


TASKS = {
    "opinion": {"distance": 5},  # a loss at the last step
    "copy": {"delay": 3},  # at every step
}


def spread(config):
    """The outcome of a run that is alone, its shards on two devices."""
    mesh = mesh_for(run_mesh(), 1, config.shards)
    assert dict(mesh.shape) == {"runs": 1, "shards": 2}
    training = PackTraining(compiled(signature(config), mesh, CAPACITY), [config])
    return training.run()[0]


@pytest.mark.parametrize(
    "probe", ["off", pytest.param("light", marks=pytest.mark.rare)]
)
def test_bits_do_not_depend_on_where_the_shards_lie(probe):
    configs = [tiny("lstm", probe, seed=seed, shards=2) for seed in (0, 1, 2)]
    together = train(*configs)
    for config, outcome in zip(configs, together, strict=True):
        lone = spread(config)
        assert differing(trained(lone), trained(outcome)) == []
        assert differing(lone.measurements, outcome.measurements) == []


@pytest.mark.parametrize("task", rows(TASKS, ["opinion"]))
def test_gradient_is_that_of_the_undivided_batch(task):
    config = tiny("gru", "light", task=task, task_options=TASKS[task], batch=6)
    params, hyper = initial_params(config), build_hyper(config)

    def gradient(shards):
        parted = dataclasses.replace(config, shards=shards)
        run = jax.jit(Program(signature(parted))._gradient, static_argnums=2)
        return run(params, hyper, 3, {})

    whole = gradient(1)
    for shards in (2, 3):
        for one, other in zip(
            jax.tree.leaves(gradient(shards)), jax.tree.leaves(whole), strict=True
        ):
            np.testing.assert_allclose(one, other, rtol=2e-5, atol=2e-7)


def test_shards_must_divide_the_batch():
    with pytest.raises(UserError, match="shards=3 does not divide batch=4 evenly"):
        tiny(shards=3)


def test_a_pack_of_several_runs_keeps_one_device_a_run():
    mesh = run_mesh()
    assert mesh_for(mesh, 2, 2) is mesh
    assert mesh_for(mesh, 1, 1) is mesh
