"""Initialisers: the spectra and distributions they promise, gate by gate."""

import functools
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rnnjax.errors import UserError
from rnnjax.initializers import (
    INITIALIZERS,
    Initializer,
    NegativeOf,
    chrono,
    constant,
    gate_bias,
    identity,
    lecun_normal,
    make_initializer,
    normal,
    orthogonal,
    per_gate,
    sparse,
    uniform,
)


KEY = jax.random.key(7)
SHAPE = (20, 20)
NUMBERS: dict[str, dict[str, float]] = {
    "orthogonal": {"gain": 0.9},
    "identity": {"gain": 0.9},
    "glorot_uniform": {"gain": 0.9},
    "glorot_normal": {"gain": 0.9},
    "lecun_normal": {"gain": 0.9},
    "normal": {"std": 0.3},
    "uniform": {"bound": 0.3},
    "constant": {"value": 0.3},
    "zeros": {},
    "sparse": {"nonzeros": 15, "spectral_radius": 0.9},
    "chrono": {"t_max": 50.0},
}
MATRICES = ["orthogonal", "identity", "glorot_uniform", "glorot_normal"]
MATRICES += ["lecun_normal", "sparse"]


def draw(init: Initializer, *shape: int) -> np.ndarray:
    """One draw, compiled as a whole."""
    return np.asarray(jax.jit(lambda key: init(key, shape))(KEY))


def singular_values(kernel: np.ndarray) -> np.ndarray:
    return np.linalg.svd(np.asarray(kernel, np.float64), compute_uv=False)


def test_the_table_holds_every_initializer() -> None:
    assert set(NUMBERS) == set(INITIALIZERS)


@pytest.mark.parametrize("name", NUMBERS)
def test_key_and_numbers_decide_traced_or_not(name: str) -> None:
    numbers = NUMBERS[name]

    @jax.jit
    def both(key, arguments):
        traced = make_initializer(name, **arguments)(key, SHAPE, jnp.float32)
        return make_initializer(name, **numbers)(key, SHAPE), traced

    arguments = {k: jnp.asarray(v) for k, v in numbers.items()}
    with jax.numpy_dtype_promotion("strict"):
        kernel, traced = both(KEY, arguments)
    assert kernel.dtype == traced.dtype == jnp.float32 and kernel.shape == SHAPE
    np.testing.assert_allclose(traced, kernel, rtol=2e-6, atol=1e-7)
    np.testing.assert_array_equal(both(KEY, arguments)[0], kernel)
    fixed = name in ("identity", "constant", "zeros")
    other, _ = both(jax.random.key(8), arguments)
    assert np.array_equal(other, kernel) == fixed


@pytest.mark.parametrize("name", NUMBERS)
def test_double_precision_alone_and_in_a_pack_of_keys(name: str) -> None:
    init = make_initializer(name, **NUMBERS[name])

    @jax.jit
    def alone_and_packed(keys):
        draw = lambda key: init(key, SHAPE, jnp.float64)
        return draw(keys[1]), jax.vmap(draw)(keys)

    with jax.enable_x64(True), jax.numpy_dtype_promotion("strict"):
        alone, pack = alone_and_packed(jax.random.split(KEY, 2))
    assert alone.dtype == pack.dtype == jnp.float64
    np.testing.assert_allclose(pack[1], alone, rtol=1e-12, atol=1e-14)


@functools.partial(jax.jit, static_argnums=1)
def draw_orthogonal(seed: int, shape: tuple[int, int], gain: float) -> jax.Array:
    return orthogonal(jnp.asarray(gain))(jax.random.key(seed), shape)


@settings(max_examples=8, deadline=None)
@given(
    shape=st.sampled_from([(5, 5), (3, 7), (7, 3)]),
    gain=st.floats(0.1, 4),
    seed=st.integers(0, 2**31 - 1),
)
def test_orthogonal_has_all_singular_values_at_the_gain(shape, gain, seed) -> None:
    kernel = draw_orthogonal(seed, shape, gain)
    np.testing.assert_allclose(singular_values(kernel), gain, rtol=3e-6)


def test_identity_is_scaled_and_may_be_rectangular() -> None:
    np.testing.assert_array_equal(draw(identity(0.5), 2, 3), 0.5 * np.eye(2, 3))


def test_per_gate_keeps_orthogonal_blocks_where_one_draw_does_not() -> None:
    n, gates = 32, 4
    kernel = draw(per_gate(orthogonal(), gates), n, gates * n)
    blocks = np.split(kernel, gates, axis=-1)
    for block in blocks:
        np.testing.assert_allclose(singular_values(block), 1, rtol=3e-6)
    assert all(np.abs(a - b).max() > 0.1 for a, b in pairwise(blocks))
    fused = np.split(draw(orthogonal(), n, gates * n), gates, axis=-1)
    for block in fused:
        assert singular_values(block).max() < 0.95
        assert singular_values(block).min() < 0.2


def test_per_gate_takes_one_initializer_for_each() -> None:
    init = per_gate([identity(2.0), constant(3.0)], 2)
    kernel = draw(init, 2, 4)
    np.testing.assert_array_equal(kernel, [[2, 0, 3, 3], [0, 2, 3, 3]])
    with pytest.raises(ValueError, match="1 initialisers for 2 gates"):
        per_gate([identity()], 2)
    with pytest.raises(ValueError, match="5 units cannot be divided into 2 gates"):
        init(KEY, (2, 5))


@pytest.mark.parametrize(
    "n, nonzeros, radius", [(48, 15, 0.95), (20, 3, 1.2), (6, 9, 1)]
)
def test_sparse_has_its_count_and_spectral_radius(n, nonzeros, radius) -> None:
    kernel = np.asarray(draw(sparse(nonzeros, radius), n, n), np.float64)
    np.testing.assert_array_equal((kernel != 0).sum(axis=0), min(nonzeros, n))
    np.testing.assert_allclose(
        np.abs(np.linalg.eigvals(kernel)).max(), radius, rtol=1e-4
    )
    if nonzeros < n:
        assert len(set((kernel != 0).sum(axis=1))) > 1, "places are drawn per column"


SPREAD: list[tuple[Initializer, tuple[int, int], float, float]] = [
    # initialiser, shape, standard deviation, largest possible magnitude
    (
        make_initializer("glorot_uniform"),
        (100, 300),
        (2 / 400) ** 0.5,
        (6 / 400) ** 0.5,
    ),
    (make_initializer("glorot_normal"), (100, 300), (2 / 400) ** 0.5, 0.16077),
    (lecun_normal(2.0), (100, 300), 0.2, 0.45474),
    (normal(0.3), (100, 300), 0.3, np.inf),
    (uniform(0.3), (100, 300), 0.3 / 3**0.5, 0.3),
]


@pytest.mark.parametrize("init, shape, std, largest", SPREAD)
def test_mean_variance_and_support(init, shape, std, largest) -> None:
    drawn = draw(init, *shape).astype(np.float64)
    # Five standard errors of the mean, and of the standard deviation of a normal.
    assert abs(drawn.mean()) < 5 * std / drawn.size**0.5
    assert abs(drawn.std() / std - 1) < 5 / (2 * drawn.size) ** 0.5
    assert np.abs(drawn).max() <= largest
    if np.isfinite(largest):
        assert np.abs(drawn).max() > 0.99 * largest


@pytest.mark.parametrize("t_max", [3, 20, 1000])
def test_chrono_follows_log_uniform(t_max: int) -> None:
    bias = np.sort(draw(chrono(t_max), 4000).astype(np.float64))
    assert bias[0] >= 0 and bias[-1] <= np.log(t_max - 1) + 1e-6
    uniform_again = (np.exp(bias) - 1) / (t_max - 2)
    empirical = (np.arange(4000) + 0.5) / 4000
    # Kolmogorov–Smirnov: exceeded by chance once in 10⁵ keys, and this one is fixed.
    assert np.abs(uniform_again - empirical).max() < 2.47 / 4000**0.5


def test_chrono_with_two_steps_is_zero() -> None:
    np.testing.assert_array_equal(draw(chrono(2), 5), np.zeros(5))


def test_gate_bias_of_an_lstm() -> None:
    bias = draw(gate_bias([NegativeOf(1), chrono(100), 0.5, jnp.float32(0)]), 64)
    i, f, g, o = np.split(bias, 4)
    np.testing.assert_array_equal(i, -f)
    assert f.min() >= 0 and f.std() > 0.3
    np.testing.assert_array_equal(g, 0.5)
    np.testing.assert_array_equal(o, 0.0)


def test_gate_bias_draws_each_gate_on_its_own() -> None:
    first, second = np.split(draw(gate_bias([chrono(50), chrono(50)]), 32), 2)
    assert np.abs(first - second).max() > 0.1


def test_gate_bias_refuses_what_it_cannot_draw() -> None:
    with pytest.raises(ValueError, match="gate 1 has no bias of its own"):
        gate_bias([NegativeOf(1), NegativeOf(0)])
    with pytest.raises(ValueError, match="7 units cannot be divided into 2 gates"):
        gate_bias([0.0, 1.0])(KEY, (7,))


@pytest.mark.parametrize("name", MATRICES)
@pytest.mark.parametrize("shape", [(4,), (2, 4, 4)])
def test_matrix_initializers_refuse_other_shapes(name: str, shape) -> None:
    with pytest.raises(UserError, match=f"{name} is for matrices"):
        make_initializer(name)(KEY, shape)


@pytest.mark.parametrize(
    "name, arguments, message",
    [
        ("ortogonal", {}, "unknown initializer 'ortogonal'; did you mean orthogonal"),
        ("orthogonal", {"gian": 1}, "unknown argument of orthogonal 'gian'.*gain"),
        ("orthogonal", {"gain": "big"}, "gain of initializer orthogonal.*'big'"),
        ("constant", {}, "initializer constant needs the argument value"),
        (
            "chrono",
            {"t_max": 1},
            "t_max of initializer chrono must be at least 2, got 1",
        ),
        ("sparse", {"nonzeros": 0}, "nonzeros of initializer sparse must be positive"),
    ],
)
def test_bad_names_and_numbers_are_named(name, arguments, message) -> None:
    with pytest.raises(UserError, match=message):
        make_initializer(name, **arguments)


def test_sparse_refuses_a_kernel_that_is_not_square() -> None:
    with pytest.raises(UserError, match="square kernels"):
        sparse()(KEY, (4, 5))
