"""Singular values of long products of Jacobians, against many digits."""

import dataclasses

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rnnjax.probes.dynamics.propagator import (
    factors,
    log_singular_values,
    propagator,
    propagator_spectrum,
    spectrum_over_lag,
)
from tests.dynamics_samples import elman


BITS = 40


def rounded(matrices):
    """Multiples of 2^−40, whose products are exact integers."""
    return np.round(matrices * 2.0**BITS) / 2.0**BITS


def many_digits(matrices, digits):
    """ln of the singular values of the exact product; −inf below 10^(50 − digits)."""
    n = matrices.shape[-1]
    product = np.array([[int(i == j) for j in range(n)] for i in range(n)], object)
    for matrix in matrices:
        whole = [[int(x) for x in row] for row in matrix * 2.0**BITS]
        product = np.array(whole, object).dot(product)
    with mpmath.workdps(digits):
        unit = mpmath.mpf(2) ** (-BITS * len(matrices))
        exact = mpmath.matrix([[mpmath.mpf(x) * unit for x in row] for row in product])
        values = mpmath.svd_r(exact, compute_uv=False)
        floor = mpmath.mpf(10) ** (50 - digits) * max(values)
        logs = [float(mpmath.log(x)) if x > floor else -np.inf for x in values]
    return np.array(logs)


@pytest.mark.parametrize("kind", ["gaussian", "saturated"])
def test_two_hundred_steps_equal_mpmath(kind):
    """16 × 16, spanning 170 decades, and 670 where units saturate."""
    random = np.random.default_rng(0)
    J = random.standard_normal((200, 16, 16)) / 4
    if kind == "saturated":
        J = 0.1 ** (4 * random.random((200, 16, 1)) ** 2) * J
    J = rounded(J)
    expected = many_digits(J, {"gaussian": 300, "saturated": 800}[kind])
    got = log_singular_values(J)
    decades = (expected[0] - expected[-1]) / np.log(10)
    assert decades > {"gaussian": 150, "saturated": 600}[kind]
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-6)
    # Benettin's QR alone gives growth rates, not singular values
    q, growth = np.eye(16), np.zeros(16)
    for matrix in J:
        q, r = np.linalg.qr(matrix @ q)
        growth += np.log(np.abs(np.diag(r)))
    assert np.max(np.abs(np.sort(growth)[::-1] - expected)) > 1
    found = propagator_spectrum(J)
    np.testing.assert_allclose(found.log10_condition, decades, rtol=1e-12)
    np.testing.assert_allclose(found.mean_log, np.mean(expected), rtol=1e-12)
    np.testing.assert_allclose(found.variance_log, np.var(expected), rtol=1e-10)
    assert found.zeros == 0


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(1, 5),
    steps=st.integers(0, 12),
    rows=st.floats(0, 12),
    columns=st.floats(0, 6),
    dead=st.integers(0, 2),
    repeated=st.booleans(),
)
def test_products_of_any_grading_equal_mpmath(
    seed, n, steps, rows, columns, dead, repeated
):
    """Rows and columns of any size, dead units, the same matrix again and again."""
    random = np.random.default_rng(seed)
    J = random.standard_normal((steps, n, n))
    if repeated and steps:
        J[:] = J[0]
    J = np.round(J * 2**20) / 2**20
    J *= 2.0 ** -np.round(random.uniform(0, rows, (steps, n, 1)))
    J *= 2.0 ** -np.round(random.uniform(0, columns, (steps, 1, n)))
    for _ in range(min(dead, steps)):
        J[random.integers(steps), random.integers(n)] = 0.0
    expected = many_digits(J, 400)
    got = log_singular_values(J)
    assert np.array_equal(np.isneginf(got), np.isneginf(expected))
    alive = np.isfinite(expected)
    np.testing.assert_allclose(got[alive], expected[alive], rtol=0, atol=1e-6)


def test_saturated_units_keep_their_digits():
    """A row, or a column, smaller than a rounding of the others is no dead unit."""
    random = np.random.default_rng(1)
    turn = np.linalg.qr(random.standard_normal((6, 6)))[0]
    slopes = np.array([1, 1, 0.5, 1e-9, 1e-20, 1e-30])
    for J in (slopes[:, None] * turn, turn * slopes[None, :]):
        got = log_singular_values(J[None])
        np.testing.assert_allclose(got, np.log(slopes), rtol=0, atol=1e-12)
    # U diag(φ′), again and again
    J = random.standard_normal((20, 6, 6)) * 10.0 ** random.uniform(-30, 0, (20, 1, 6))
    with mpmath.workdps(1000):
        product = mpmath.eye(6)
        for matrix in J:
            product = mpmath.matrix(matrix.tolist()) * product
        values = mpmath.svd_r(product, compute_uv=False)
        expected = [float(mpmath.log(x)) for x in values]
    np.testing.assert_allclose(log_singular_values(J), expected, rtol=0, atol=1e-6)


def test_lost_directions_are_minus_infinity_and_nothing_is_nan():
    random = np.random.default_rng(2)
    J = random.standard_normal((9, 6, 6))
    J[:, :3] = 0.3 * J[:, 3:]  # rank 3, with no zero in it
    for dtype in (np.float64, np.float32):
        found = propagator_spectrum(J.astype(dtype))
        assert found.zeros == 3
        assert np.array_equal(np.isneginf(found.log_singular_values), np.arange(6) > 2)
        assert found.log10_condition == np.inf
        assert np.isfinite([found.mean_log, found.variance_log]).all()
    twins = np.array([[3.0, 3.0, 0.5], [1.0, 1.0, -1.0], [2.0, 2.0, 0.25]])
    expected = np.log(np.linalg.svd(twins, compute_uv=False)[:2])
    np.testing.assert_allclose(log_singular_values(twins[None])[:2], expected)
    J[4] = 0.0
    found = propagator_spectrum(J)
    assert found.zeros == 6 and found.mean_log == -np.inf and found.variance_log == 0
    J[4, 0, 0] = np.nan
    found = propagator_spectrum(J)
    assert np.isnan(found.log_singular_values).all() and np.isnan(found.mean_log)


def test_a_linear_network_stretches_every_direction_alike(x64):
    """P = (g U)^T, U orthogonal: every ln σ is T ln g, dynamical isometry at g = 1."""
    g, steps = 0.9, 100
    U = np.linalg.qr(np.random.default_rng(3).standard_normal((8, 8)))[0]
    found = propagator(elman(g * U, steps, 2, "identity"), 1)
    expected = np.full(8, steps * np.log(g))
    np.testing.assert_allclose(found.log_singular_values, expected, atol=1e-5)
    np.testing.assert_allclose(found.log10_condition, 0, atol=1e-10)
    np.testing.assert_allclose(found.variance_log, 0, atol=1e-20)


def test_lags_are_counted_back_from_the_last_valid_step(x64):
    """Against products formed as they stand, for a walk of 5 valid steps of 7."""
    U = np.random.default_rng(4).standard_normal((4, 4))
    made = elman(U, 7, 2, "tanh")
    valid = jnp.arange(7)[:, None] < jnp.array([7, 5])[None]
    drive = dataclasses.replace(made.drive, valid=valid)
    made = dataclasses.replace(made, drive=drive)
    J = factors(made, 1)
    h = np.concatenate([np.zeros((1, 4)), np.asarray(made.states)[:, 1]])
    z = h[:-1] @ U.T + np.asarray(made.drive.values)[:, 1]
    slopes = 1 / np.cosh(z) ** 2
    np.testing.assert_allclose(J, slopes[:5, :, None] * U[None], atol=1e-12)
    np.testing.assert_array_equal(factors(made, 1, 1, 3), J[2:4])

    def plain(matrices):
        product = np.eye(4)
        for matrix in matrices:
            product = matrix @ product
        return np.log(np.linalg.svd(product, compute_uv=False))

    lags = [3, 0, 1, 5]
    got = spectrum_over_lag(J, lags)
    for row, lag in zip(got, lags, strict=True):
        np.testing.assert_allclose(row, plain(J[5 - lag :]), atol=1e-9)
    some = propagator(made, 1, 0, 2).log_singular_values
    np.testing.assert_allclose(some, plain(J[1:3]), atol=1e-9)
    np.testing.assert_array_equal(propagator(made, 1, 6, 6).log_singular_values, 0)
    with pytest.raises(ValueError, match="lags"):
        spectrum_over_lag(J, [6])
    with pytest.raises(ValueError, match="t = 3, s = 2"):
        propagator(made, 0, 3, 2)


def test_float32_jacobians_are_taken_as_they_are():
    U = np.random.default_rng(5).standard_normal((4, 4)).astype(np.float32)
    J = factors(elman(U, 30, 1, "tanh"), 0)
    assert J.dtype == np.float32
    np.testing.assert_allclose(
        log_singular_values(J), log_singular_values(J.astype(np.float64)), atol=1e-12
    )
    assert jax.tree.leaves(J)[0].shape == (30, 4, 4)


def test_equal_values_with_a_tiny_cosine_between_them() -> None:
    """The square of the cosine underflows, which must not make the angle infinite."""
    twist = np.eye(4)
    twist[0, 1] = 1e-170
    found = log_singular_values(np.stack([0.5 * twist] * 3))
    np.testing.assert_allclose(found, 3 * np.log(0.5))
