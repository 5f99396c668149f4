"""Activations against arbitrary-precision arithmetic: values, slopes, derivatives."""

import functools
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import mpmath as mp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from rnnjax.activations import (
    ACTIVATIONS,
    Activation,
    activation,
    sigmoid,
    tanh,
    with_slope,
)
from rnnjax.errors import UserError


NAMES = list(ACTIVATIONS)
DIGITS = 60
POINTS = [s * z for z in (0.0, 1e-3, 0.5, 1.0, 4.0, 12.0, 30.0) for s in (1, -1)][1:]
EPSILON = {"float32": 1e-6, "float64": 1e-12}
SELU_SCALE = mp.mpf(1.0507009873554805)
SELU_ALPHA = mp.mpf(1.6732632423543772)

# φ and φ′ on the real axis, the slope written as in the textbook.
EXACT: dict[str, tuple[Callable, Callable]] = {
    "sigmoid": (
        lambda z: 1 / (1 + mp.exp(-z)),
        lambda z: mp.exp(-z) / (1 + mp.exp(-z)) ** 2,
    ),
    "tanh": (mp.tanh, lambda z: mp.sech(z) ** 2),
    "relu": (lambda z: max(z, mp.mpf(0)), lambda z: mp.mpf(z > 0)),
    "leaky_relu": (
        lambda z: z if z > 0 else z * mp.mpf("0.01"),
        lambda z: mp.mpf(1) if z > 0 else mp.mpf("0.01"),
    ),
    "elu": (
        lambda z: z if z > 0 else mp.expm1(z),
        lambda z: mp.mpf(1) if z > 0 else mp.exp(z),
    ),
    "selu": (
        lambda z: SELU_SCALE * (z if z > 0 else SELU_ALPHA * mp.expm1(z)),
        lambda z: SELU_SCALE * (1 if z > 0 else SELU_ALPHA * mp.exp(z)),
    ),
    "gelu": (lambda z: z * mp.ncdf(z), lambda z: mp.ncdf(z) + z * mp.npdf(z)),
    "silu": (
        lambda z: z / (1 + mp.exp(-z)),
        lambda z: (1 + mp.exp(-z) * (1 + z)) / (1 + mp.exp(-z)) ** 2,
    ),
    "softplus": (lambda z: mp.log1p(mp.exp(z)), lambda z: 1 / (1 + mp.exp(-z))),
    "softsign": (lambda z: z / (1 + abs(z)), lambda z: 1 / (1 + abs(z)) ** 2),
    "mish": (
        lambda z: z * mp.tanh(mp.log1p(mp.exp(z))),
        lambda z: (
            mp.tanh(mp.log1p(mp.exp(z)))
            + z * mp.sech(mp.log1p(mp.exp(z))) ** 2 / (1 + mp.exp(-z))
        ),
    ),
    "hard_tanh": (
        lambda z: max(mp.mpf(-1), min(mp.mpf(1), z)),
        lambda z: mp.mpf(abs(z) < 1),
    ),
    "hard_sigmoid": (
        lambda z: max(mp.mpf(0), min(mp.mpf(1), (z + 3) / 6)),
        lambda z: mp.mpf(abs(z) < 3) / 6,
    ),
    "identity": (lambda z: z, lambda z: mp.mpf(1)),
    "sin": (mp.sin, mp.cos),
}
KINKS = {
    "relu": [0.0],
    "leaky_relu": [0.0],
    "elu": [0.0],
    "selu": [0.0],
    "softsign": [0.0],
    "hard_tanh": [1.0, -1.0],
    "hard_sigmoid": [3.0, -3.0],
}


def in_dtype(dtype: str):
    """A context in which arrays of this dtype exist."""
    return jax.enable_x64(dtype == "float64")


@functools.cache
def compiled(name: str, dtype: str) -> Callable[[np.ndarray], dict[str, np.ndarray]]:
    """Everything that is asked of an activation at the points z, in one compilation."""
    phi = ACTIVATIONS[name]

    @jax.jit
    def everything(z):
        ones = jnp.ones_like(z)
        slope, curvature = jax.jvp(phi.slope, (z,), (ones,))
        value, forward = jax.jvp(phi, (z,), (ones,))
        return {
            "value": value,
            "slope": slope,
            "forward": forward,
            "reverse": jax.vmap(jax.grad(phi))(z),
            "curvature": curvature,
            "reverse over reverse": jax.vmap(jax.grad(jax.grad(phi)))(z),
            "forward over reverse": jax.vmap(jax.jacfwd(jax.grad(phi)))(z),
            "reverse over forward": jax.vmap(
                jax.grad(lambda x: jax.jvp(phi, (x,), (jnp.ones_like(x),))[1])
            )(z),
        }

    def call(z: np.ndarray) -> dict[str, np.ndarray]:
        with in_dtype(dtype), jax.numpy_dtype_promotion("strict"):
            found = everything(jnp.asarray(z, dtype))
            return {key: np.asarray(array) for key, array in found.items()}

    return call


FAR = np.geomspace(20, 1e4, 1500)
GRID = np.concatenate([np.linspace(-20, 20, 2000), FAR, -FAR, POINTS])


@functools.cache
def on_the_grid(name: str, dtype: str) -> dict[str, np.ndarray]:
    """All quantities on `GRID`; its last entries are `POINTS`."""
    return compiled(name, dtype)(GRID)


def assert_exact(got: np.ndarray, exact: list, dtype: str, relative: float) -> None:
    """Relative agreement wherever the exact number is a normal one of the dtype."""
    tiny = float(np.finfo(dtype).tiny)
    for z, found, wanted in zip(POINTS, got, exact, strict=True):
        error = abs(mp.mpf(float(found)) - wanted)
        assert error <= relative * abs(wanted) + tiny, (z, found, wanted)


@pytest.mark.parametrize("dtype", EPSILON)
@pytest.mark.parametrize("name", NAMES)
def test_slope_is_exact_in_every_mode(name: str, dtype: str) -> None:
    with mp.workdps(DIGITS):
        exact = [EXACT[name][1](mp.mpf(z)) for z in POINTS]
        for key in ("slope", "forward", "reverse"):
            got = on_the_grid(name, dtype)[key]
            assert got.dtype == dtype
            assert_exact(got[-len(POINTS) :], exact, dtype, EPSILON[dtype])


@pytest.mark.parametrize("name", NAMES)
def test_textbook_slope_is_the_derivative_of_the_textbook_function(name: str) -> None:
    """The reference itself: φ′ of the table is the numerical derivative of φ."""
    function, slope = EXACT[name]
    with mp.workdps(DIGITS):
        for z in (mp.mpf(z) for z in POINTS if z not in KINKS.get(name, [])):
            assert mp.almosteq(mp.diff(function, z), slope(z), 1e-15, 1e-25), z


@pytest.mark.parametrize("dtype", EPSILON)
@pytest.mark.parametrize("name", NAMES)
def test_second_derivative_in_every_order_of_modes(name: str, dtype: str) -> None:
    smooth = [z not in KINKS.get(name, []) for z in POINTS]
    # 1 + 1e-196 is to be told from 1: the slope of GELU at z = 30.
    with mp.workdps(450):
        exact = [
            mp.diff(EXACT[name][1], mp.mpf(z)) if fine else mp.mpf(0)
            for z, fine in zip(POINTS, smooth, strict=True)
        ]
        for key in (
            "curvature",
            "reverse over reverse",
            "forward over reverse",
            "reverse over forward",
        ):
            got = on_the_grid(name, dtype)[key][-len(POINTS) :]
            got = np.where(smooth, got, 0)
            assert_exact(got, exact, dtype, 4 * EPSILON[dtype])


@pytest.mark.parametrize("dtype", EPSILON)
@pytest.mark.parametrize("name", NAMES)
def test_value_and_range(name: str, dtype: str) -> None:
    got = on_the_grid(name, dtype)["value"]
    assert got.dtype == dtype
    with mp.workdps(DIGITS):
        exact = np.array([float(EXACT[name][0](mp.mpf(z))) for z in POINTS])
    np.testing.assert_allclose(
        got[-len(POINTS) :], exact, rtol=EPSILON[dtype], atol=EPSILON[dtype]
    )
    low, high = ACTIVATIONS[name].range
    slack = EPSILON[dtype]
    assert np.all((got >= low - slack) & (got <= high + slack))
    for end, reached in ((low, got.min()), (high, got.max())):
        assert abs(end - reached) < 2e-3 or (math.isinf(end) and abs(reached) > 99)


@pytest.mark.parametrize("name", NAMES)
def test_slope_bounds_hold_and_are_tight(name: str) -> None:
    slope = on_the_grid(name, "float64")["slope"]
    low, high = ACTIVATIONS[name].slope_bounds
    assert np.all((slope >= low - 1e-14) & (slope <= high + 1e-14))
    np.testing.assert_allclose([slope.min(), slope.max()], [low, high], atol=2e-4)


@pytest.mark.parametrize("dtype", EPSILON)
@pytest.mark.parametrize("name", NAMES)
def test_everything_is_finite_far_out(name: str, dtype: str) -> None:
    for key, got in on_the_grid(name, dtype).items():
        assert np.all(np.isfinite(got)), key


# XLA may take a subnormal number for 0, where some slopes jump.
FLOATS = st.floats(-30, 30, width=32, allow_subnormal=False)


@settings(max_examples=12, deadline=None)
@given(z=arrays(np.float32, 64, elements=FLOATS))
def test_float32_slope_keeps_the_digits_of_float64(z: np.ndarray) -> None:
    for name in NAMES:
        narrow = compiled(name, "float32")(z)
        wide = compiled(name, "float64")(z.astype(np.float64))["slope"]
        # Near a sign change of the slope, and for the cosine, errors are absolute.
        near = (z > -3) & (z < 0) if name in ("gelu", "silu", "mish") else name == "sin"
        bound = 1e-6 * np.where(near, np.maximum(np.abs(wide), 0.25), np.abs(wide))
        # A factor below the smallest normal number is flushed to 0; z multiplies it.
        bound = bound + np.maximum(np.abs(z), 1.0) * np.finfo(np.float32).tiny
        for key in ("slope", "forward", "reverse"):
            error = np.abs(narrow[key].astype(np.float64) - wide)
            assert np.all(error <= bound), (name, key, z[error > bound])


@pytest.mark.parametrize("phi", [sigmoid, tanh], ids=lambda phi: phi.name)
def test_third_derivative_at_zero(phi: Activation) -> None:
    """|z| inside a slope would lose the even derivatives there."""
    with mp.workdps(DIGITS):
        exact = float(mp.diff(EXACT[phi.name][0], 0, 3))
    third = jax.grad(jax.grad(jax.grad(phi)))(jnp.float32(0))
    np.testing.assert_allclose(third, exact, rtol=1e-6)


def test_a_saturated_slope_is_not_zero_in_float32() -> None:
    z = jnp.float32(12)
    assert 1 - np.tanh(np.float32(12)) ** 2 == 0
    np.testing.assert_allclose(jax.grad(tanh)(z), 1 / np.cosh(12.0) ** 2, rtol=1e-6)


def test_lookup_names_the_nearest() -> None:
    assert activation("tanh") is tanh
    with pytest.raises(UserError, match="unknown activation 'leaky_rel'.*leaky_relu"):
        activation("leaky_rel")


def test_name_is_the_key_and_formula_is_given() -> None:
    assert set(EXACT) == set(NAMES)
    for name, phi in ACTIVATIONS.items():
        assert phi.name == name and "z" in phi.formula


def test_with_slope_makes_the_derivative() -> None:
    function = with_slope(jnp.sin, lambda z: 7.0 * jnp.ones_like(z))
    assert function(0.5) == jnp.sin(0.5)
    assert jax.grad(function)(0.5) == 7.0
