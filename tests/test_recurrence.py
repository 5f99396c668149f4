"""The reverse scan against autodiff of the plain scan, for every cell."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnjax.cells import LSTM, Elman
from rnnjax.recurrence.functional import make_weights
from rnnjax.recurrence.layer import Recurrent, make_drive
from rnnjax.recurrence.reverse import reverse_scan
from rnnjax.recurrence.scaled import NO_EXPONENT, Scaled, log10_norm
from rnnjax.recurrence.scan import Taps, plain_scan
from tests.recurrence_samples import (
    LABELS,
    LENGTHS,
    B,
    M,
    N,
    T,
    arguments,
    compiled,
    direction,
    measure,
    normwise,
    pairing,
    rows,
)


TOLERANCE = {"float32": 1e-6, "float64": 1e-12}
PADDING = np.arange(T)[:, None] >= LENGTHS[None, :]

every_cell = pytest.mark.parametrize("label", rows(LABELS))
both_precisions = pytest.mark.parametrize(
    "dtype", [pytest.param("float32", marks=pytest.mark.slow), "float64"]
)


@every_cell
@both_precisions
def test_states_of_both_engines_are_equal(label: str, dtype: str) -> None:
    engines, _, _ = measure(label, dtype)
    actual, expected = engines["scan"], engines["plain"]
    bound = 4 * np.finfo(dtype).eps
    assert normwise(actual.run, expected.run) < bound
    assert normwise(actual.value, expected.value) < bound


@every_cell
@both_precisions
def test_gradients_equal_autodiff_to_first_and_second_order(
    label: str, dtype: str
) -> None:
    engines, _, _ = measure(label, dtype)
    actual, expected = engines["scan"], engines["plain"]
    for order in ("gradient", "second"):
        parts = zip(getattr(actual, order), getattr(expected, order), strict=True)
        for name, (part, reference) in zip(("params", "x", "h0"), parts, strict=True):
            error = normwise(part, reference)
            assert error < TOLERANCE[dtype], (order, name)


@every_cell
@both_precisions
def test_taps_carry_adjoints_and_seam_cotangents(label: str, dtype: str) -> None:
    engines, _, _ = measure(label, dtype)
    actual, expected = engines["scan"].taps, engines["plain"].taps
    assert normwise(actual["states"], expected["states"]) < TOLERANCE[dtype]
    assert actual["seams"].keys() == expected["seams"].keys()
    for site, cotangent in expected["seams"].items():
        assert normwise(actual["seams"][site], cotangent) < TOLERANCE[dtype], site
        assert np.all(actual["seams"][site][PADDING] == 0), site


@every_cell
def test_gradients_equal_finite_differences(label: str, x64: None) -> None:
    engines, _, _ = measure(label, "float64")
    args, towards = arguments(label, "float64"), direction(label, "float64")
    run, step = compiled(label, "float64"), 1e-6
    ends = []
    for sign in (1, -1):
        moved = jax.tree.map(lambda a, d: a + sign * step * d, args, towards)  # noqa: B023
        ends.append(run(moved, towards)[0]["plain"][0])
    slope = (ends[0] - ends[1]) / (2 * step)
    gradient = pairing(engines["scan"].gradient, towards)
    np.testing.assert_allclose(gradient, slope, rtol=1e-6)


def unscaled(mantissa: Any, exponent: np.ndarray) -> Any:
    """Mantissa × 2^k in double precision, which these sizes need not fear."""

    def one(x: np.ndarray) -> np.ndarray:
        k = exponent.reshape(exponent.shape + (1,) * (x.ndim - exponent.ndim))
        wide = np.complex128 if np.iscomplexobj(x) else np.float64
        return x.astype(wide) * np.exp2(np.maximum(k, -1000).astype(float))

    return jax.tree.map(one, mantissa)


@every_cell
def test_exponents_change_no_adjoint(label: str) -> None:
    _, plain, scaled = measure(label, "float64")
    adjoint = unscaled(scaled.adjoint, scaled.exponent)
    for t in range(T):
        at = jax.tree.map(lambda a: a[t], (adjoint, plain.adjoint))  # noqa: B023
        for b in np.flatnonzero(~PADDING[t]):
            one, reference = jax.tree.map(lambda a: a[b], at)  # noqa: B023
            assert normwise(one, reference) < 1e-12, (t, b)
    for site, delta in plain.deltas.items():
        actual = unscaled(scaled.deltas[site], scaled.exponent)
        assert normwise(actual, delta) < 1e-12, site
        np.testing.assert_allclose(scaled.values[site], plain.values[site], rtol=1e-14)
    assert normwise(unscaled(scaled.drive, scaled.exponent), plain.drive) < 1e-12
    initial = unscaled(scaled.initial, scaled.initial_exponent)
    assert normwise(initial, plain.initial) < 1e-12


@every_cell
def test_exponents_keep_every_bit_where_nothing_underflows(label: str) -> None:
    _, plain, scaled = measure(label, "float32")
    adjoint = unscaled(scaled.adjoint, scaled.exponent)
    ulp = np.finfo(np.float32).eps
    leaves = zip(jax.tree.leaves(adjoint), jax.tree.leaves(plain.adjoint), strict=True)
    for actual, reference in leaves:
        top = np.max(np.abs(reference), axis=-1, keepdims=True)
        assert np.all(np.abs(actual - reference) <= 8 * ulp * top)


@every_cell
def test_padding_gives_exact_zeros(label: str) -> None:
    for dtype in TOLERANCE:
        _, plain, scaled = measure(label, dtype)
        for back in (plain, scaled):
            for leaf in jax.tree.leaves((back.adjoint, back.drive, back.deltas)):
                assert np.all(leaf[PADDING] == 0)
            for leaf in jax.tree.leaves((back.adjoint, back.deltas)):
                assert np.any(leaf[~PADDING] != 0)
        assert np.all(scaled.exponent[PADDING] == NO_EXPONENT)


def test_a_vanished_gradient_keeps_its_logarithm() -> None:
    steps, batch, n = 400, 2, 8
    cell = Elman(inputs=1, features=n, activation="sigmoid")
    rng = np.random.default_rng(0)
    U, _ = np.linalg.qr(rng.normal(size=(n, n)))
    V, b = rng.normal(size=(1, n)), rng.normal(size=n)
    x, h0 = rng.normal(size=(steps, batch, 1)), rng.normal(size=(batch, n))
    last = rng.normal(size=(batch, n))

    slopes, h = [], h0
    for x_t in x:
        h = 1 / (1 + np.exp(-(x_t @ V + h @ U + b)))
        slopes.append(h * (1 - h))
    expected, adjoint, log_scale = [], last, np.zeros(batch)
    for slope in reversed(slopes):
        size = np.linalg.norm(adjoint, axis=-1)
        log_scale, adjoint = log_scale + np.log10(size), adjoint / size[:, None]
        expected.append(log_scale)
        adjoint = (adjoint * slope) @ U.T
    expected = np.stack(expected[::-1])
    assert np.all(expected[0] < -200)

    @jax.jit
    def run(params: Any, x: jax.Array, h0: jax.Array, last: jax.Array) -> jax.Array:
        static, weights = make_weights(cell, params)
        drive = make_drive(static, weights, x)
        states = plain_scan(static, weights, h0, drive, Taps())
        cotangent = jnp.zeros_like(states).at[-1].set(last)
        zero = jnp.zeros((steps, batch), jnp.int32)
        back = reverse_scan(
            static, weights, h0, drive, states, cotangent, exponents=zero
        )
        assert back.exponent is not None
        return log10_norm(Scaled(back.adjoint, back.exponent))

    params = {"U": U, "V": V, "b": b}
    single = jax.tree.map(lambda a: jnp.asarray(a, jnp.float32), (params, x, h0, last))
    np.testing.assert_allclose(run(*single), expected, atol=1e-3)


def test_no_residual_holds_a_kernel_per_step() -> None:
    n = N + 1  # no other size of the arrays below
    layer = Recurrent(LSTM(inputs=M, features=n))
    x = jnp.zeros((T, B, M))
    variables = layer.init(jax.random.key(0), x)

    def loss(variables: Any, engine: Any) -> jax.Array:
        outputs, _ = layer.clone(engine=engine).apply(variables, x)
        return jnp.sum(jnp.square(outputs))

    text = str(jax.make_jaxpr(jax.grad(loss), static_argnums=1)(variables, "scan"))
    assert f"f32[{T},{B},{4 * n}]" in text
    assert f"f32[{T},{n},{4 * n}]" not in text
