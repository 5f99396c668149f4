"""A batch in shards: the same gradient, and the same bits wherever the shards lie."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnjax.errors import UserError
from rnnjax.training.build import build_hyper, initial_params, signature
from rnnjax.training.config import EvalConfig
from rnnjax.training.loop import PackTraining
from rnnjax.training.pack import mesh_for, run_mesh
from rnnjax.training.program import Program
from rnnjax.training.shards import split_batch, take_examples
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


@pytest.mark.slow
@pytest.mark.parametrize("probe", ["off", "light"])
def test_bits_do_not_depend_on_where_the_shards_lie(probe):
    configs = [tiny("lstm", probe, seed=seed, shards=2) for seed in (0, 1, 2)]
    together = train(*configs)
    for config, outcome in zip(configs, together, strict=True):
        lone = spread(config)
        assert differing(trained(lone), trained(outcome)) == []
        assert differing(lone.measurements, outcome.measurements) == []


@pytest.mark.slow
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


@pytest.mark.parametrize("task", TASKS)
def test_as_many_examples_as_steps(task):
    """Targets have their examples where the task says, whatever the sizes are."""
    config = tiny(task=task, task_options=TASKS[task])
    spec = signature(config).spec
    batch = Program(signature(config)).signature.task.heldout("test", spec.length, {})
    assert batch.inputs.shape[:2] == (spec.length, spec.length)
    batch = jax.tree.map(np.asarray, batch)
    parts = jax.tree.map(np.asarray, split_batch(spec, batch, 1))
    for one, other in zip(*map(jax.tree.leaves, (parts, batch)), strict=True):
        np.testing.assert_array_equal(one[0], other)
    some = take_examples(spec, batch, jnp.array([2, 0]))
    own = batch.targets[[2, 0]] if spec.readout == "last" else batch.targets[:, [2, 0]]
    np.testing.assert_array_equal(some.targets, own)
    np.testing.assert_array_equal(some.inputs, batch.inputs[:, [2, 0]])


def test_a_run_with_as_many_examples_as_steps():
    """Shards of the batch, evaluation and probes of a square batch."""
    length = 24
    config = tiny(task="copy", task_options={"delay": 4}, batch=length, steps=1)
    config = dataclasses.replace(config, eval=EvalConfig(every=1, size=length))
    params, hyper = initial_params(config), build_hyper(config)

    def found(shards):
        program = Program(signature(dataclasses.replace(config, shards=shards)))
        batch = program.signature.task.heldout("test", length, {})
        gradient = jax.jit(program._gradient, static_argnums=2)(params, hyper, 3, {})
        return gradient[:3], program.evaluate(params, hyper, batch)[:2]

    one, two = found(1), found(2)
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(two), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-7)


def test_shards_must_divide_the_batch():
    with pytest.raises(UserError, match="shards=3 does not divide batch=4 evenly"):
        tiny(shards=3)


def test_a_pack_of_several_runs_keeps_one_device_a_run():
    mesh = run_mesh()
    assert mesh_for(mesh, 2, 2) is mesh
    assert mesh_for(mesh, 1, 1) is mesh
