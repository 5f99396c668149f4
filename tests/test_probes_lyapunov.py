"""Lyapunov exponents against networks whose exponents are known."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnjax.cells import LSTM
from rnnjax.probes.dynamics.jacobian import jacobians
from rnnjax.probes.dynamics.joint_state import select
from rnnjax.probes.dynamics.lyapunov import kaplan_yorke, lyapunov
from tests.dynamics_samples import Autonomous, elman, walk
from tests.recurrence_samples import quick_jit


run = quick_jit(lyapunov, static_argnames=("k", "transient", "every"))


def sigma(z):
    return 1 / (1 + np.exp(-z))


def gaussian(n, seed, scale=1.0):
    return scale * np.random.default_rng(seed).standard_normal((n, n)) / np.sqrt(n)


@pytest.mark.parametrize("every", [1, 7])
def test_a_linear_network_grows_at_log_g_in_every_direction(every, x64):
    g = 1.07
    U = g * np.linalg.qr(gaussian(6, 0))[0]
    found = run(elman(U, 60, 2, "identity"), every=every)
    np.testing.assert_allclose(found.exponents, np.log(g), rtol=0, atol=1e-5)
    np.testing.assert_allclose(found.mean, np.log(g), rtol=0, atol=1e-5)
    np.testing.assert_allclose(found.spread, 0, atol=1e-12)
    np.testing.assert_allclose(found.drift, 0, atol=0.02 if every > 1 else 1e-12)
    assert found.exponents.shape == (2, 6) and found.growth.shape == (60, 2, 6)
    assert kaplan_yorke(np.asarray(found.mean)) == 6
    if every == 1:
        np.testing.assert_allclose(found.error, 0, atol=1e-12)


def test_a_quiet_network_decays_at_the_eigenvalues_of_its_weights(x64):
    """h ← J tanh(h) towards 0: λ_i = ln|μ_i(J)|; real and complex pairs."""
    n, steps = 8, 1200
    J = gaussian(n, 1)
    J *= 0.8 / np.abs(np.linalg.eigvals(J)).max()
    cell = Autonomous(inputs=n, features=n, param_dtype=jnp.float64)
    start = jnp.full((1, n), 1e-3)
    made = walk(cell, {"J": jnp.asarray(J.T)}, np.zeros((steps, 1, n)), initial=start)
    found = run(made, transient=200)
    expected = np.sort(np.log(np.abs(np.linalg.eigvals(J))))[::-1]
    got = np.sort(np.asarray(found.exponents[0]))[::-1]
    np.testing.assert_allclose(got, expected, rtol=0, atol=0.005)
    assert found.steps.tolist() == [steps - 200]
    assert np.max(np.abs(found.drift)) < 0.01
    leading = run(made, k=2, transient=200)
    assert leading.exponents.shape == (1, 2)
    np.testing.assert_allclose(leading.exponents[0], expected[:2], rtol=0, atol=0.005)
    assert kaplan_yorke(got) == 0


def test_an_lstm_at_rest_forgets_at_the_rate_of_its_gates(x64):
    """λ = ln|σ(b_f) + σ(b_i) σ(b_o) μ_i(U_g)|, and as many of −∞: h_t hangs on c_t."""
    n, steps = 5, 1000
    b_i, b_f, b_o = -0.5, 1.5, 0.7
    U = np.concatenate([gaussian(n, seed, 0.9) for seed in range(4)])
    b = np.concatenate([np.full(n, x) for x in (b_i, b_f, 0.0, b_o)])
    params = {"U": U.T, "V": np.zeros((1, 4 * n)), "b": b}
    cell = LSTM(inputs=1, features=n, param_dtype=jnp.float64)
    made = walk(cell, jax.tree.map(jnp.asarray, params), np.zeros((steps, 1, 1)))
    found = run(made, transient=200)
    mu = np.linalg.eigvals(U[2 * n : 3 * n])
    expected = np.log(np.abs(sigma(b_f) + sigma(b_i) * sigma(b_o) * mu))
    got = np.asarray(found.exponents[0])
    assert not np.isnan(got).any()
    np.testing.assert_array_equal(got[n:], -np.inf)
    np.testing.assert_array_equal(found.zeros, np.arange(2 * n) >= n)
    np.testing.assert_array_equal(found.mean, got)
    np.testing.assert_array_equal(found.error[0, n:], 0)
    np.testing.assert_allclose(np.sort(got[:n]), np.sort(expected), rtol=0, atol=0.01)
    assert np.isfinite(found.error).all() and np.isfinite(found.drift).all()


def test_driven_exponents_equal_a_qr_of_the_matrices(x64):
    """Chaotic and ragged, whatever `every`; padding and the transient do not count."""
    steps, lengths, transient = 40, np.array([40, 23, 0]), 6
    made = elman(gaussian(5, 2, 4.0), steps, 3, "sin")
    valid = jnp.arange(steps)[:, None] < jnp.asarray(lengths)[None]
    drive = dataclasses.replace(made.drive, valid=valid)
    made = dataclasses.replace(made, drive=drive)
    found = run(made, transient=transient)
    sparse = run(made, transient=transient, every=4)
    start = jax.random.normal(jax.random.key(0), (5, 5), jnp.float64)
    J = np.asarray(jacobians(made))
    for b, length in enumerate(lengths[:2]):
        q, growth = np.linalg.qr(start)[0], []
        for matrix in J[:length, b]:
            q, r = np.linalg.qr(matrix @ q)
            growth.append(np.log(np.abs(np.diag(r))))
        counted = np.stack(growth[transient:])
        expected = counted.mean(0)
        np.testing.assert_allclose(found.exponents[b], expected, atol=1e-10)
        np.testing.assert_allclose(sparse.exponents[b], expected, atol=1e-8)
        number = len(counted)
        assert found.steps[b] == number == np.sum(found.counted[:, b])
        half = counted[: (number + 1) // 2].mean(0)
        np.testing.assert_allclose(found.drift[b], expected - half, atol=1e-10)
        blocks = np.arange(number) * 10 // number
        means = [counted[blocks == block].mean(0) for block in range(10)]
        error = np.std(means, axis=0, ddof=1) / np.sqrt(10)
        np.testing.assert_allclose(found.error[b], error, atol=1e-10)
    assert np.isnan(found.exponents[2]).all() and found.steps[2] == 0
    both = np.asarray(found.exponents[:2])
    np.testing.assert_allclose(found.mean, both.mean(0), atol=1e-12)
    np.testing.assert_allclose(found.spread, both.std(0, ddof=1), atol=1e-12)
    assert both[0, 0] > 0 > both[0, -1], "no chaos"
    alone = run(select(made, [1]), transient=transient)
    np.testing.assert_allclose(alone.exponents[0], both[1], atol=1e-10)


def test_padding_in_front_does_not_count_either(x64):
    """A walk from the end meets the padding first."""
    made = elman(gaussian(4, 3), 12, 1, "tanh")
    short = jax.tree.map(lambda x: x[:8], (made.drive, made.states, made.inputs))
    ahead = jnp.arange(12)[:, None] >= 4

    def behind(x):
        return jnp.concatenate([jnp.zeros((4, *x.shape[1:]), x.dtype), x[:8]])

    late = dataclasses.replace(
        made,
        drive=dataclasses.replace(
            made.drive, values=behind(made.drive.values), valid=ahead
        ),
        states=behind(made.states),
    )
    drive, states, inputs = short
    early = dataclasses.replace(made, drive=drive, states=states, inputs=inputs)
    a, b = run(early, transient=2), run(late, transient=2)
    assert a.steps.tolist() == b.steps.tolist() == [6]
    # the tangents turn with each QR of the padding, but for their signs they stay
    np.testing.assert_allclose(a.exponents, b.exponents, atol=1e-10)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_dead_units_are_minus_infinity_and_saturated_ones_are_not(dtype):
    with jax.enable_x64(dtype == np.float64):
        U = gaussian(6, 4).astype(dtype)
        made = elman(U, 20, 2, "relu")
        off = jnp.zeros((20, 2, 6), dtype).at[9, 0, 2].set(-100)
        high = made.drive.values + jnp.asarray(50, dtype) + off
        made = dataclasses.replace(
            made, drive=dataclasses.replace(made.drive, values=high)
        )
        found = run(made)
        assert np.isneginf(found.exponents[0]).tolist() == [False] * 5 + [True]
        assert np.isfinite(found.exponents[1]).all()
        assert found.zeros.tolist() == [0] * 5 + [1]
        np.testing.assert_array_equal(found.mean[5], found.exponents[1, 5])
        assert not np.isnan(found.spread).any() and not np.isnan(found.error).any()
        # tanh at z = 25: slope 8e-22 beside slopes of 1
        orthogonal = np.linalg.qr(gaussian(6, 5))[0].astype(dtype)
        made = elman(orthogonal, 3, 1, "tanh")
        values = jnp.zeros((3, 1, 6), dtype).at[..., 3].set(25)
        made = dataclasses.replace(
            made,
            states=jnp.zeros_like(made.states),
            drive=dataclasses.replace(made.drive, values=values),
        )
        total = np.sum(run(made).exponents[0])
        np.testing.assert_allclose(total, -2 * np.log(np.cosh(25.0)), rtol=1e-4)


def test_kaplan_yorke_dimension():
    assert kaplan_yorke(np.array([-1.0, 0.25, 0.5])) == 2.75
    assert kaplan_yorke(np.array([-0.1, -0.2])) == 0
    assert kaplan_yorke(np.array([0.5, 0.1]), size=2) == 2
    assert np.isnan(kaplan_yorke(np.array([0.5, 0.1]), size=3))
    assert kaplan_yorke(np.array([0.5, -np.inf, -np.inf])) == 1
    assert np.isnan(kaplan_yorke(np.array([0.5, np.nan])))


def test_arguments_out_of_range_are_refused():
    made = elman(np.eye(3, dtype=np.float32), 2, 1, "tanh")
    for wrong in ({"k": 4}, {"k": 0}, {"transient": -1}, {"every": 0}):
        with pytest.raises(ValueError, match="="):
            lyapunov(made, **wrong)
