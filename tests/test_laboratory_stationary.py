"""λ₁ on stationary input, and the error of a time average."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnjax.analysis.dynamics import (
    DROPPED,
    STEPS,
    _exponents,
    random_steps,
    stationary,
)
from rnnjax.cells import Elman
from rnnjax.models.sequence import SequenceModel
from rnnjax.probes.backward.single_layer import walk_layer
from rnnjax.probes.backward.trace import forward
from rnnjax.probes.dynamics.time_average import autocorrelation_time, time_average
from tests.probe_models import CLASSES, VOCABULARY, batch_of, spec_of


BATCH, SPEC = batch_of("last", 12, [12, 7, 9]), spec_of("last", 12)
N = 6


def network(activation: str, gain: float):
    """A recurrence that has walked, its parameters, and the table of its inputs."""
    cell = Elman(3, N, activation=activation)
    model = SequenceModel(cell, CLASSES, vocabulary=VOCABULARY, embedding=3)
    params = model.init(jax.random.key(0), BATCH.inputs, BATCH.lengths)["params"]
    own = params["stack_0_0"]["cell"]
    turn = np.linalg.qr(np.random.default_rng(0).standard_normal((N, N)))[0]
    own["U"] = jnp.asarray(gain * turn, jnp.float32)
    (walked,) = forward(model, params, BATCH, SPEC).walked
    return walked, own


def test_steps_are_drawn_from_the_valid_ones():
    walked, _ = network("tanh", 1.0)
    valid = np.arange(12)[:, None] < np.asarray(BATCH.lengths)
    inputs = np.where(valid[..., None], walked.inputs, np.nan)
    drawn = random_steps(dataclasses.replace(walked, inputs=inputs), 500, 4)
    assert drawn.shape == (500, 4, 3) and not np.isnan(drawn).any()
    rows = {tuple(row) for row in drawn.reshape(-1, 3)}
    assert rows == {tuple(row) for row in inputs[valid]}


def test_a_linear_network_has_the_logarithm_of_its_gain():
    found = stationary(network("identity", 0.9)[0])
    np.testing.assert_allclose(found.lyapunov, np.log(0.9), atol=1e-4)
    assert np.all(found.lyapunov_error < 1e-4) and found.kaplan_yorke == 0
    assert found.lyapunov.attrs["version"] == 3


def test_a_chaotic_network_against_numpy():
    """Benettin's method in float64, on the very same input."""
    walked, cell = network("tanh", 3.0)
    found = stationary(walked)
    U, V, b = (np.asarray(cell[name], np.float64) for name in "UVb")
    x = random_steps(walked, DROPPED + STEPS, 4).astype(np.float64)
    growth = np.zeros((DROPPED + STEPS, 4))
    for chain in range(4):
        h, v = np.zeros(N), np.ones(N) / np.sqrt(N)
        for t, drive in enumerate(x[:, chain] @ V + b):
            h = np.tanh(h @ U + drive)
            v = (v @ U) * (1 - h**2)
            size = np.linalg.norm(v)
            growth[t, chain], v = np.log(size), v / size
    known = time_average(growth[DROPPED:])
    error = float(found.lyapunov_error[0])
    # states in float32 part from those in float64: the averages agree
    assert abs(float(found.lyapunov[0]) - known.mean) < 4 * np.hypot(error, known.error)
    assert 0.3 < error / known.error < 3


@pytest.mark.parametrize("memory", [0.0, 0.8, -0.5])
def test_the_error_of_a_time_average(memory):
    """Of an autoregressive series, whose variance of the mean is known; coverage."""
    random = np.random.default_rng(0)
    length, chains, repeats = 2000, 4, 200
    noise = random.standard_normal((length, chains * repeats))
    series = np.zeros_like(noise)
    for t in range(1, length):
        series[t] = memory * series[t - 1] + noise[t]
    groups = series[100:].reshape(length - 100, repeats, chains)
    found = [time_average(groups[:, i]) for i in range(repeats)]
    exact = 1 / (1 - memory) / np.sqrt((length - 100) * chains)
    errors = np.array([one.error for one in found])
    assert 0.8 < np.median(errors) / exact < 1.2
    covered = [abs(one.mean) < 2 * one.error for one in found]
    assert 0.9 < np.mean(covered) <= 1.0
    if memory >= 0:
        times = [one.correlation for one in found]
        expected = (1 + memory) / (1 - memory)
        assert np.median(times) == pytest.approx(expected, rel=0.15)


def test_a_series_that_is_too_short_has_no_error():
    walk = np.cumsum(np.random.default_rng(0).standard_normal((300, 1)), axis=0)
    found = time_average(walk)
    assert found.correlation > 20 and np.isnan(found.error)
    assert autocorrelation_time(np.ones((20, 2))) == 1.0
    lost = time_average(np.array([[0.0], [-np.inf]]))
    assert lost.mean == -np.inf and lost.error == 0.0
    assert np.isnan(time_average(np.array([[0.0], [np.nan]])).mean)


def test_walks_differ_where_the_input_is_constant():
    """Chaotic without input: walks from one state would be one walk four times."""
    matrix = 2.5 * np.random.default_rng(0).standard_normal((16, 16)) / 4
    cell = Elman(inputs=1, features=16)
    params = {"U": jnp.asarray(matrix, jnp.float32), "V": jnp.zeros((1, 16))}
    params["b"] = jnp.full(16, 0.3)
    walked = walk_layer(cell, params, jnp.zeros((20, 2, 1)))
    found = _exponents(walked, jnp.zeros((600, 4, 1)), jnp.asarray([4, 11, 20, 33]))
    growth = np.asarray(found.growth)[-50:, :, 0]
    assert np.ptp(growth, axis=1).min() > 0
