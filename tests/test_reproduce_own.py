"""What the figures bring along: cells, a task, and how learning curves are read."""

import importlib
import sys

import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr
from jax import random

from rnnjax.reproduce.catalogue import experiments_folder, find
from rnnjax.user_code import execute_file


CHRONO = sys.modules[find("chrono").run.__module__]
LEARNING = importlib.import_module("rnnjax.experiments.shared.learning")
OWN = execute_file(experiments_folder() / "shared" / "cells_and_task.py")


@pytest.mark.parametrize("variable", [False, True])
def test_a_warped_sequence_names_the_symbol_before(variable):
    task = OWN.Warped(length=30, warp=4, variable=variable)
    batch = task.sample(random.key(3), 20, {})
    stays = set()
    for symbols, targets, mask in zip(
        *(np.asarray(x).T for x in (batch.inputs, batch.targets, batch.mask)),
        strict=True,
    ):
        starts = np.flatnonzero(np.diff(symbols, prepend=-1))
        stays |= set(np.diff(starts).tolist())
        for step in range(30):
            place = np.searchsorted(starts, step, side="right") - 1
            assert mask[step] == (place > 0)
            if place > 0:
                assert targets[step] == symbols[starts[place] - 1]
    assert stays == ({1, 2, 3, 4} if variable else {4})
    assert set(np.unique(batch.inputs)) == set(range(10))


def test_own_cells_follow_their_equations():
    numbers = np.random.default_rng(0)
    draw = lambda *shape: jnp.asarray(numbers.normal(size=shape), jnp.float32)
    x, h = draw(5, 3), draw(5, 4)
    for kind in (OWN.LinearTransition, OWN.LearnedLeak):
        cell = kind(inputs=3, features=4)
        params = cell.init(random.key(0), h, x)["params"]
        params = {name: draw(*value.shape) for name, value in params.items()}
        found, _ = cell.apply({"params": params}, h, x)
        V, U, b = params["V"], params["U"], params["b"]
        if kind is OWN.LinearTransition:
            expected = h @ U + np.maximum(x @ V + b[None], 0)
        else:
            keep = 1 / (1 + np.exp(-params["keep"]))[None]
            expected = keep * h + (1 - keep) * np.tanh(h @ U + x @ V + b[None])
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def curves(values) -> xr.DataArray:
    loss = np.array(values, np.float32)
    steps = 10 * np.arange(1, loss.shape[-1] + 1)
    return xr.DataArray(loss, dims=("rate", "seed", "step"), coords={"step": steps})


def test_learning_curves_are_read_as_they_say():
    nan = np.nan
    loss = curves([[[4, 3, 2], [4, 1, nan]], [[4, 2, 1.5], [4, 3, 0.5]]])
    # a run that diverged is worse than any other, whatever it reached before
    assert LEARNING.final_loss(loss).to_numpy().tolist() == [[2, np.inf], [1.5, 0.5]]
    assert LEARNING.best_rate(loss).to_numpy().tolist() == loss[1].to_numpy().tolist()
    assert LEARNING.updates_to(loss, 2).to_numpy().tolist() == [
        [LEARNING.NEVER, 20],
        [30, 30],
    ]


def goals(**updates) -> xr.Dataset:
    """Losses on the adding problem that fall below a half of 1/6 at these updates."""
    steps = np.arange(10, 101, 10)
    loss = [
        [np.where(steps < update, 1 / 6, 0.0) for update in seeds]
        for seeds in updates.values()
    ]
    return xr.Dataset(
        {
            "loss": (
                ("task", "network", "rate", "seed", "step"),
                [np.stack(loss)[:, None]],
            )
        },
        {"task": ["adding"], "network": list(updates), "step": steps},
    )


def test_a_ratio_of_updates_keeps_runs_that_did_not_get_there():
    six = goals(slow=[999] * 6, fast=[20, 20, 25, 40, 50, 50])
    found = CHRONO.faster("slow", "fast")(six)
    # the slow ones count as the budget of 100
    assert (found.low, found.high) == (2.0, 5.0)
    # where the fast ones did not get there, nothing is gained
    never = goals(slow=[30] * 6, fast=[999] * 6)
    assert CHRONO.faster("slow", "fast")(never).high == 0.0
