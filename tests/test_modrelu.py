"""modReLU against its equation in NumPy, and next to the point without a phase."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnjax.activations import modrelu


def by_hand(u: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The equation of modReLU in NumPy, on complex numbers."""
    return np.maximum(np.abs(u) + b, 0) * u / np.abs(u)


@pytest.mark.parametrize("kind", ["float64", "complex128"])
def test_modrelu_value_and_gradient(kind: str) -> None:
    random = np.random.default_rng(0)
    z = random.normal(size=(6, 5)).astype(kind)
    if kind == "complex128":
        z = z + 1j * random.normal(size=(6, 5))
    b = random.uniform(-0.9, 0.3, size=5)
    weights = random.normal(size=(2, 6, 5))

    def loss(z, b, f, np=np):
        out = f(z, b)
        return np.sum(weights[0] * out.real + weights[1] * out.imag)

    with jax.enable_x64(True), jax.numpy_dtype_promotion("strict"):
        zj, bj = jnp.asarray(z), jnp.asarray(b)
        out = modrelu(zj, bj)
        assert out.dtype == kind
        np.testing.assert_allclose(out, by_hand(z, b), rtol=1e-14)
        dz, db = jax.grad(lambda z, b: loss(z, b, modrelu, jnp), (0, 1))(zj, bj)
    step = 1e-6
    for direction in (1.0, 1j) if kind == "complex128" else (1.0,):
        for i in np.ndindex(z.shape):
            up, down = z.copy(), z.copy()
            up[i] += step * direction
            down[i] -= step * direction
            slope = (loss(up, b, by_hand) - loss(down, b, by_hand)) / (2 * step)
            # JAX's gradient of a real loss is ∂/∂x − i ∂/∂y.
            np.testing.assert_allclose(
                (np.asarray(dz)[i] * direction).real, slope, atol=1e-8
            )
    for i in range(b.size):
        change = step * (np.arange(b.size) == i)
        slope = (loss(z, b + change, by_hand) - loss(z, b - change, by_hand)) / (
            2 * step
        )
        np.testing.assert_allclose(db[i], slope, atol=1e-8)


@pytest.mark.parametrize("dtype", ["float32", "complex64"])
def test_modrelu_at_zero_and_next_to_it(dtype: str) -> None:
    tiny = [0.0, 1e-38, -1e-30, 1e-18, 0.5]
    z = jnp.asarray(tiny, dtype)

    def loss(z, b):
        return jnp.sum(jnp.real(modrelu(z, b)))

    for b in (-0.1, 0.0, 0.1):
        shift = jnp.full(5, b, jnp.float32)
        value = modrelu(z, shift)
        dz, db = jax.jit(jax.grad(loss, (0, 1)))(z, shift)
        for array in (value, dz, db):
            assert np.all(np.isfinite(array)) and array[0] == 0
        np.testing.assert_allclose(value[-1], 0.5 + b, rtol=1e-6)
        assert db[-1] == 1


def test_modrelu_where_the_square_overflows() -> None:
    z = jnp.asarray([3e25 - 4e25j], jnp.complex64)
    value, slope = jax.jvp(lambda z: modrelu(z, jnp.zeros(1)), (z,), (1 + z,))
    np.testing.assert_allclose(value, z, rtol=1e-6)
    np.testing.assert_allclose(slope, 1 + z, rtol=1e-6)
