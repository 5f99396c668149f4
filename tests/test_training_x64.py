"""Double precision throughout, where JAX is asked for it."""

import dataclasses
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import jax
import numpy as np
import pytest

from rnnjax.cells import CELLS
from rnnjax.cli.main import main
from rnnjax.sweeps.compose import compose_sweep
from rnnjax.training.build import (
    build_hyper,
    build_task,
    draw_params,
    initial_params,
    signature,
)
from rnnjax.training.config import EvalConfig
from tests.training_samples import tiny, train


@pytest.mark.slow
def test_every_cell_can_be_built(x64):
    """The command builds each once, with a step of its engine."""
    own = [n for n, kind in CELLS.items() if kind.__module__.startswith("rnnjax.")]
    for job in compose_sweep([f"cell={','.join(own)}", "model.hidden=6"]):
        if job.config.cell in ("exprnn", "indrnn", "lru", "lstm", "urnn"):
            spec, key = signature(job.config).spec, jax.random.key(0)
            drawn = jax.eval_shape(partial(draw_params, job.config, spec), key)
            kinds = {str(leaf.dtype) for leaf in jax.tree.leaves(drawn)}
            assert kinds <= {"float64", "complex128"}, job.config.cell


@pytest.mark.slow
def test_the_loss_has_all_of_its_digits(x64):
    """Held against the equations in NumPy."""
    length, size = 7, 23  # of no other test: held-out examples are kept by task
    config = tiny(
        task="adding",
        task_options={"length": length},
        cell_options={"activation": "tanh", "recurrent_init": "orthogonal"},
        steps=2,
    )
    config = dataclasses.replace(config, eval=EvalConfig(every=1, size=size))
    (outcome,) = train(config)
    assert {x.dtype.name for x in jax.tree.leaves(outcome.params)} == {"float64"}
    task, data = build_task(config.task, config.task_options)
    batch = jax.jit(lambda: task.heldout("test", size, data))()
    p = outcome.params
    cell, head = p["stack_0_0"]["cell"], p["head"]
    h = np.zeros((size, config.model.hidden))
    for x in np.asarray(batch.inputs):
        h = np.tanh(x @ cell["V"] + h @ cell["U"] + cell["b"])
    answers = h @ head["kernel"] + head["bias"]
    expected = np.mean((answers - np.asarray(batch.targets)) ** 2)
    assert outcome.results["test_mean_squared_error"] == pytest.approx(
        expected, rel=1e-12
    )
    start = initial_params(config)["stack_0_0"]["cell"]["U"]
    np.testing.assert_allclose(start.T @ start, np.eye(5), atol=1e-14)


def test_the_numbers_of_a_run_have_all_of_their_digits(x64):
    config = tiny("leaky", lr=0.1, cell_options={"alpha": 0.3})
    leaves = jax.tree.leaves(build_hyper(config))
    numbers = [leaf for leaf in leaves if np.issubdtype(leaf.dtype, np.floating)]
    assert {leaf.dtype.name for leaf in numbers} == {"float64"}
    assert {0.1, 0.3} <= {float(leaf) for leaf in numbers}


def test_a_run_from_the_command_line(tmp_path):
    words = "task=adding task.length=7 model.hidden=4 steps=2 batch=4 eval.size=8"
    words += " probe.batch=4 probe.steps=[0]"
    root = {"PYTHONPATH": str(Path(__file__).parents[1]), "JAX_ENABLE_X64": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "rnnjax", "train", *words.split(), "out=o"],
        env=os.environ | root,
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "done after 2 steps" in done.stdout


def test_a_setting_that_nothing_runs_under(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with jax.numpy_dtype_promotion("strict"):
        for command in ("train", "probe"):
            assert main([command, "cell=elman"]) == 2
            err = capsys.readouterr().err
            assert err.startswith("rnnjax: JAX_NUMPY_DTYPE_PROMOTION=strict")
    assert not list(tmp_path.iterdir())
