"""How every cell starts: the distributions that its paper or docstring names."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnjax.cells import CELLS
from rnnjax.errors import UserError
from tests import cells_reference as reference


def start(name: str, *wanted: str, features: int = 64, **options: Any) -> Any:
    """These parameters or effective kernels of a fresh cell, as NumPy arrays."""
    cell = CELLS[name](inputs=3, features=features, param_dtype=jnp.float64, **options)

    @jax.jit  # compiles what is wanted alone
    def draw(key: jax.Array) -> list[jax.Array]:
        made = cell.init(key, cell.initial_state((1,)), jnp.zeros((1, 3)))
        kernels: Any = cell.apply(made, method="kernels")
        drawn = {**made["params"], **kernels}
        return [drawn[name] for name in wanted]

    return [np.asarray(array) for array in draw(jax.random.key(0))]


@pytest.mark.parametrize(
    ("name", "kernel", "gates"),
    [
        ("elman", "U", 1),
        ("lstm", "U", 4),
        ("gru", "U", 3),
        ("gru_before", "U", 2),
        ("gru_before", "Uh", 1),
        ("minimal_rnn", "U", 1),
        ("minimal_rnn", "Uz", 1),
    ],
)
def test_recurrent_kernels_start_orthogonal_gate_by_gate(
    name: str, kernel: str, gates: int, x64: None
) -> None:
    (fused,) = start(name, kernel, features=16)
    blocks = np.split(fused, gates, axis=1)
    for block in blocks:
        np.testing.assert_allclose(block @ block.T, np.eye(16), atol=1e-12)
    for one, other in zip(blocks, blocks[1:], strict=False):
        assert not np.allclose(one, other)


@pytest.mark.parametrize(
    ("name", "gates"),
    {
        "atr": 1,
        "cfn": 2,
        "fastgrnn": 1,
        "fastrnn": 1,
        "gated_antisymmetric": 1,
        "janet": 2,
        "leaky": 1,
        "lightru": 1,
        "ligru": 2,
        "mgu": 2,
        "multiplicative_lstm": 5,
        "mut1": 2,
        "nbrc": 2,
        "peephole_lstm": 4,
        "ran": 2,
        "scrn": 1,
        "star": 1,
        "ugrnn": 2,
    }.items(),
)
def test_each_recurrent_matrix_is_drawn_alone(name: str, gates: int) -> None:
    drawn = []

    def record(key: Any, shape: Any, dtype: Any) -> jax.Array:
        drawn.append(shape)
        return jnp.zeros(shape, dtype)

    kind: Any = CELLS[name]
    cell = kind(inputs=3, features=5, recurrent_init=record)
    state = cell.initial_state((1,))
    jax.eval_shape(cell.init, jax.random.key(0), state, jnp.zeros((1, 3)))
    assert drawn == [(5, 5)] * gates


LOG_T = np.log(99.0)


@pytest.mark.parametrize(
    ("name", "bias", "signs"),
    [
        ("lstm", "b", [-1, 1, 0, 0]),
        ("gru", "b", [0, 1, 0]),
        ("gru_before", "b", [0, 1, 0]),
        ("minimal_rnn", "bu", [1]),
        ("mingru", "b", [-1, 0]),
        ("minlstm", "b", [1, -1, 0]),
        ("brc", "b", [0, 1]),
        ("nbrc", "b", [0, 1]),
        ("cfn", "b", [1, -1]),
        ("fastgrnn", "b", [1, None]),
        ("janet", "b", [1, 0]),
        ("lightru", "b", [-1]),
        ("ligru", "b", [1, 0]),
        ("mgu", "b", [-1, 0]),
        ("multiplicative_lstm", "b", [-1, 1, 0, 0]),
        ("mut1", "b", [-1, 0]),
        ("peephole_lstm", "b", [-1, 1, 0, 0]),
        ("ran", "b", [-1, 1]),
        ("star", "b", [-1, 0]),
        ("ugrnn", "b", [1, 0]),
    ],
)
def test_chrono_biases(
    name: str, bias: str, signs: list[int | None], x64: None
) -> None:
    (fused,) = start(name, bias, chrono=100.0)
    gates = np.split(fused, len(signs))
    drawn = [sign * gate for sign, gate in zip(signs, gates, strict=True) if sign]
    for sign, gate in zip(signs, gates, strict=True):
        if sign == 0:
            assert np.all(gate == 0)
    for gate in drawn:
        np.testing.assert_array_equal(gate, drawn[0])  # b_i = −b_f, unit by unit
        assert np.all((gate >= 0) & (gate <= LOG_T))
    assert 30 < np.mean(np.exp(drawn[0])) < 70  # e^b is uniform on [1, 99]
    assert np.max(np.exp(drawn[0])) > 85


@pytest.mark.parametrize(
    ("name", "options", "bias", "expected"),
    [
        ("elman", {"bias": 0.5}, "b", [0.5]),
        ("lstm", {}, "b", [0, 1, 0, 0]),
        ("lstm", {"forget_bias": 2.0}, "b", [0, 2, 0, 0]),
        ("gru", {"update_bias": 1.5}, "b", [0, 1.5, 0]),
        ("minimal_rnn", {"update_bias": 1.5}, "bu", [1.5]),
        ("mingru", {"update_bias": -1.5}, "b", [-1.5, 0]),
        ("indrnn", {"bias": 0.5}, "b", [0.5]),
        ("brc", {"update_bias": 0.5}, "b", [0, 0.5]),
        ("brc", {}, "wa", [1]),
        ("cfn", {}, "b", [1, -1]),
        ("fastgrnn", {"update_bias": 2.0}, "b", [2, 1]),
        ("fastrnn", {"bias": 0.5}, "b", [0.5]),
        ("janet", {}, "b", [1, 0]),
        ("leaky", {"bias": 0.5}, "b", [0.5]),
        ("lightru", {"forget_bias": -1.5}, "b", [-1.5]),
        ("ligru", {"update_bias": 1.5}, "b", [1.5, 0]),
        ("mgu", {"forget_bias": -1.5}, "b", [-1.5, 0]),
        ("minlstm", {"forget_bias": 1.5}, "b", [1.5, 0, 0]),
        ("multiplicative_lstm", {}, "b", [0, 1, 0, 0]),
        ("mut1", {"update_bias": -1.5}, "b", [-1.5, 0]),
        ("nbrc", {"update_bias": 1.5}, "b", [0, 1.5]),
        ("peephole_lstm", {"forget_bias": 2.0}, "b", [0, 2, 0, 0]),
        ("ran", {}, "b", [0, 1]),
        ("star", {}, "b", [-1, 0]),
        ("ugrnn", {}, "b", [1, 0]),
        ("rhn", {}, "b1", [0, -2]),
        ("rhn", {"coupled": False, "transform_bias": -3.0}, "b5", [0, -3, 3]),
    ],
)
def test_constant_biases(
    name: str, options: Any, bias: str, expected: list[float], x64: None
) -> None:
    (fused,) = start(name, bias, features=4, **options)
    np.testing.assert_array_equal(fused, np.repeat(expected, 4))


def test_eigenvalues_of_lru_start_on_the_ring(x64: None) -> None:
    inside = {"r_min": 0.4, "r_max": 0.9, "max_phase": 1.5}
    eigenvalues, gamma = start("lru", "lambda", "gamma", features=256, **inside)
    modulus, phase = np.abs(eigenvalues), np.angle(eigenvalues)
    assert np.all((modulus >= 0.4) & (modulus <= 0.9))
    assert np.all((phase >= 0) & (phase <= 1.5))
    # uniform on the ring: |λ|² is uniform between the squares
    assert abs(np.mean(modulus**2) - (0.16 + 0.81) / 2) < 0.05
    assert modulus.min() < 0.45 and modulus.max() > 0.88 and phase.max() > 1.4
    np.testing.assert_allclose(np.exp(gamma), np.sqrt(1 - modulus**2))


def test_kernels_of_lru_start_with_unit_variance(x64: None) -> None:
    B, C = start("lru", "B", "C", features=64)
    for part, size in ((B.real, 6), (B.imag, 6), (C.real, 64), (C.imag, 64)):
        assert np.std(part) == pytest.approx(1 / np.sqrt(size), rel=0.15)


@pytest.mark.parametrize("features", [5, 8])
def test_the_matrix_of_urnn_is_unitary(features: int, x64: None) -> None:
    wanted = ("W", "angles", "reflections")
    kernel, angles, reflections = start("urnn", *wanted, features=features)
    params = {"angles": angles, "reflections": reflections}
    W = kernel.T
    np.testing.assert_allclose(W @ W.conj().T, np.eye(features), atol=1e-13)
    np.testing.assert_allclose(W, reference.unitary(params), atol=1e-13)
    assert np.pi / 2 < np.max(np.abs(angles)) <= np.pi


@pytest.mark.parametrize("skew_init", ["henaff", "cayley"])
def test_the_matrix_of_exprnn_is_orthogonal(skew_init: str, x64: None) -> None:
    kernel, A = start("exprnn", "B", "A", features=7, skew_init=skew_init)
    B = kernel.T
    np.testing.assert_allclose(B @ B.T, np.eye(7), atol=1e-13)
    np.testing.assert_allclose(B, reference.orthogonal({"A": A}, 7), atol=1e-13)
    # rotations in the planes (0, 1), (2, 3), (4, 5); an odd unit stays
    angles = A[[0, 11, 18]]
    assert np.count_nonzero(A) == 3 and np.all(angles != 0)
    np.testing.assert_allclose(np.diag(B), [*np.repeat(np.cos(angles), 2), 1])
    bound = np.pi if skew_init == "henaff" else 1
    assert np.all(np.abs(angles) <= bound)
    assert skew_init == "henaff" or np.all(angles < 0)


def test_exprnn_names_its_starts(x64: None) -> None:
    with pytest.raises(UserError, match="'caley'; did you mean cayley"):
        start("exprnn", "A", skew_init="caley")


def test_eigenvalues_of_antisymmetric_have_the_real_part_of_the_damping(
    x64: None,
) -> None:
    A, U = start("antisymmetric", "A", "U", gamma=0.3)
    eigenvalues = np.linalg.eigvals(A.T)
    np.testing.assert_allclose(eigenvalues.real, -0.3, atol=1e-12)
    assert np.std(U) == pytest.approx(1 / 8, rel=0.1)


@pytest.mark.parametrize(
    ("name", "parameters", "bound"),
    [
        ("lem", ["V", "U", "Uy", "b"], 64**-0.5),
        ("cornn", ["V", "Wy", "Wz", "b"], (3 + 2 * 64) ** -0.5),
        ("rhn", ["V", "R1", "R5"], 64**-0.5),
        ("urnn", ["V_re", "V_im"], (6 / (3 + 128)) ** 0.5),
        ("urnn", ["b"], 0.01),
        ("exprnn", ["b"], 0.01),
        ("peephole_lstm", ["pi", "pf", "po"], 0.1),
    ],
)
def test_uniform_starts(
    name: str, parameters: list[str], bound: float, x64: None
) -> None:
    for array in start(name, *parameters):
        assert 0.9 * bound < np.max(np.abs(array)) <= bound


def test_indrnn_starts_between_its_bounds(x64: None) -> None:
    (u,) = start("indrnn", "u", features=256, u_min=0.5, u_max=1.5)
    assert 0.5 <= u.min() < 0.55 and 1.45 < u.max() <= 1.5


def test_scalars_and_kernels_of_the_fast_cells(x64: None) -> None:
    new, old, U = start("fastrnn", "new", "old", "U")
    scale, shift, V = start("fastgrnn", "scale", "shift", "V", features=256)
    assert [float(x) for x in (*new, *old, *scale, *shift)] == [-3, 3, 1, -4]
    assert np.std(U) == pytest.approx(0.1, rel=0.1)
    assert np.std(V) == pytest.approx(0.1, rel=0.1)
