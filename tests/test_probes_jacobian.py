"""Jacobians of the joint state, their spectra, and Lanczos against the matrix."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnjax.probes.dynamics.jacobian import (
    Method,
    jacobians,
    leading_singular_values,
    spectrum,
)
from rnnjax.probes.dynamics.joint_state import join, joint_size, select, split
from rnnjax.recurrence.layer import Recurrent
from tests.dynamics_samples import elman, walk
from tests.probe_loop import flat, unflat
from tests.recurrence_samples import M, build, noise, rows


STEPS, LENGTHS = 4, [4, 2, 1]
WIDE = 40


def sample(label):
    """A cell with random weights and start, its inputs and its ragged walk."""
    cell = build(label, jnp.float64)
    x = noise(1, jax.ShapeDtypeStruct((STEPS, len(LENGTHS), M), jnp.float64))
    made = jax.eval_shape(Recurrent(cell).init, jax.random.key(0), x)
    params = noise(2, made["params"], 0.5).get("cell", {})
    initial = noise(3, cell.initial_state((len(LENGTHS),)), 0.5)
    return cell, params, np.asarray(x), walk(cell, params, x, LENGTHS, initial)


def by_jacfwd(cell, params, x, initial):
    """Jacobians of one example, by `jacfwd` of linen's call in an unrolled loop."""

    @jax.jit
    def run(x, state):
        found = []
        for x_t in x:
            step = lambda s, x_t=x_t: cell.apply({"params": params}, s, x_t)[0]
            joint = lambda v, s=state, f=step: flat(f(unflat(v, s)))
            found.append(jax.jacfwd(joint)(flat(state)))
            state = step(state)
        return jnp.stack(found)

    return np.asarray(run(x, initial))


@pytest.mark.parametrize(
    "label",
    rows(["elman", "lstm", "gru", "urnn", "user_plain"], ["lstm", "user_plain"]),
)
def test_jacobians_equal_jacfwd_of_the_joint_step(label, x64):
    cell, params, x, made = sample(label)
    with jax.numpy_rank_promotion("allow"):
        found = np.asarray(jax.jit(jacobians)(made))
        starts = [jax.tree.map(lambda a, b=b: a[b], made.initial) for b in range(3)]
        expected = [by_jacfwd(cell, params, x[:, b], starts[b]) for b in range(2)]
    size = {"lstm": 8, "urnn": 8}.get(label, 4)
    assert found.shape == (STEPS, 3, size, size) and size == joint_size(made.initial)
    for b, reference in enumerate(expected):
        real = LENGTHS[b]
        np.testing.assert_allclose(found[:real, b], reference[:real], atol=1e-13)
        assert np.abs(reference).max() > 0.1
    padding = np.broadcast_to(np.eye(size), found[2:, 1].shape)
    np.testing.assert_array_equal(found[2:, 1], padding)
    np.testing.assert_array_equal(jacobians(made, steps=[3, 0]), found[[3, 0]])
    one = jacobians(select(made, [1]), steps=[1])
    np.testing.assert_allclose(one[0, 0], found[1, 1], atol=1e-14)


def test_a_joint_vector_gives_its_state_back(x64):
    state = {"a": jnp.arange(6.0).reshape(2, 3), "z": jnp.ones((2, 2)) * (1 + 2j)}
    vector = join(state)
    assert vector.shape == (2, 7) == (2, joint_size(state))
    np.testing.assert_array_equal(vector[0], [0, 1, 2, 1, 1, 2, 2])
    back = split(vector, state)
    jax.tree.map(np.testing.assert_array_equal, back, state)
    assert back["z"].dtype == state["z"].dtype


def test_spectra_of_matrices_with_known_ones():
    angle = 0.3
    turn = 2 * np.array(
        [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    )
    shear = np.array([[0.5, 3.0], [0.0, -0.25]])
    broken = np.full((2, 2), np.inf)
    got = spectrum(np.stack([turn, shear, np.zeros((2, 2)), broken]).astype(np.float32))
    np.testing.assert_allclose(got.norm[0], 2, rtol=1e-6)
    np.testing.assert_allclose(
        np.sort(np.angle(got.eigenvalues[0])), [-angle, angle], rtol=1e-6
    )
    np.testing.assert_allclose(np.abs(got.eigenvalues[0]), 2, rtol=1e-6)
    np.testing.assert_allclose(got.departure[0], 0, atol=1e-6)
    np.testing.assert_allclose(got.eigenvalues[1], [0.5, -0.25], atol=1e-12)
    np.testing.assert_allclose(got.departure[1], 3, rtol=1e-12)
    fro = np.linalg.norm(shear)
    np.testing.assert_allclose(got.relative_departure[1], 3 / fro, rtol=1e-12)
    np.testing.assert_allclose(np.prod(got.singular_values[1]), 0.125, rtol=1e-12)
    assert got.departure[2] == got.relative_departure[2] == got.norm[2] == 0
    assert np.isnan(got.norm[3]) and np.isnan(got.eigenvalues[3]).all()
    assert got.singular_values.shape == (4, 2)


def test_dead_units_are_exact_zeros_and_saturated_ones_keep_their_digits():
    turn = np.linalg.qr(np.random.default_rng(0).standard_normal((6, 6)))[0]
    dead = np.array([1, 0, 0.5, 1, 0, 1.0])[:, None] * turn
    slopes = np.array([1, 0.5, 1e-5, 1e-9, 1e-20, 1e-30])
    got = spectrum(np.stack([dead, slopes[:, None] * turn])).singular_values
    np.testing.assert_allclose(got[0], [1, 1, 1, 0.5, 0, 0], rtol=1e-12)
    np.testing.assert_allclose(got[1], slopes, rtol=1e-9)


@pytest.mark.parametrize("phi", ["tanh", "identity", "relu"])
def test_lanczos_equals_the_matrix(phi):
    """Float32; for the identity J is 0.7 · orthogonal, all singular values equal."""
    random = np.random.default_rng(3)
    U = random.standard_normal((WIDE, WIDE)) / np.sqrt(WIDE)
    if phi == "identity":
        U = 0.7 * np.linalg.qr(U)[0]
    made = elman(U.astype(np.float32), 2, 2, phi)
    lanczos = leading_singular_values(made, 5, method="lanczos")
    exact = leading_singular_values(made, 5)
    assert exact.shape == (2, 2, 5) and np.all(np.diff(exact) <= 0)
    np.testing.assert_allclose(lanczos, exact, rtol=2e-5)
    if phi == "identity":
        np.testing.assert_allclose(exact, 0.7, rtol=1e-5)
    dense = np.linalg.svd(np.asarray(jacobians(made, steps=[1])), compute_uv=False)
    np.testing.assert_allclose(exact[1], dense[0, :, :5], rtol=2e-5)
    last = leading_singular_values(made, 5, steps=[1], method="lanczos")
    np.testing.assert_allclose(last[0], exact[1], rtol=2e-5)


def test_lanczos_of_a_dead_and_of_a_broken_layer():
    dead = elman(-np.eye(8, dtype=np.float32), 1, 1, "relu")
    low = jax.tree.map(lambda x: x - 100.0, dead.drive.values)
    drive = dataclasses.replace(dead.drive, values=low)
    dead = dataclasses.replace(dead, drive=drive)
    assert np.all(leading_singular_values(dead, 3, method="lanczos") == 0)
    broken = elman(np.full((8, 8), np.nan, np.float32), 1, 1, "tanh")
    assert np.isnan(leading_singular_values(broken, 3, method="lanczos")).all()
    cases: list[tuple[Method, int]] = [("exact", 9), ("lanczos", 8), ("exact", 0)]
    for method, k in cases:
        with pytest.raises(ValueError, match="not between 1 and"):
            leading_singular_values(dead, k, method=method)
