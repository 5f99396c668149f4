"""Adjoints in units of the state: against float64, and whatever the coordinates."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnjax.probes.adjoints.norms import log10_norms
from rnnjax.probes.adjoints.state_scaled import log10_state_scaled
from rnnjax.probes.backward.trace import trace
from rnnjax.probes.backward.walk import Walk
from tests.probe_models import batch_of, model_of, parameters, spec_of


LENGTHS = [7, 5, 7, 4, 6]


def walk_of(cell: str, readout: str = "last"):
    spec, batch = spec_of(readout, 7), batch_of(readout, 7, LENGTHS)
    model = model_of(cell, readout=readout)
    seen = trace(model, parameters(model, batch), batch, spec, lag="last")
    return seen.walks[0], np.asarray(seen.valid)


def in_float64(walk: Walk, valid: np.ndarray) -> np.ndarray:
    """√(λᵀ Σ λ) from the covariance matrix itself; complex states as two reals."""
    steps, batch = valid.shape
    found = np.full((steps, batch), np.nan)
    scale = np.ldexp(1.0, np.asarray(walk.adjoint.exponent))

    def reals(tree, turn: float) -> np.ndarray:
        parts = []
        for leaf in jax.tree.leaves(tree):
            leaf: Any = np.asarray(leaf).reshape(steps, batch, -1)
            parts.append(leaf.real.astype(np.float64))
            if np.iscomplexobj(leaf):
                parts.append(turn * leaf.imag.astype(np.float64))
        return np.concatenate(parts, axis=-1)

    # JAX's cotangent of a complex number: the change is Re(λ δh), so −Im meets Im
    states, adjoint = reals(walk.forward.states, 1.0), reals(walk.adjoint.mantissa, -1)
    if walk.forward.backwards:  # whose own order is from the end
        states = states[::-1]
    for t in range(steps):
        here = valid[t]
        if here.sum() > 1:
            covariance = np.cov(states[t][here].T).reshape(2 * [states.shape[-1]])
            lam = adjoint[t] * scale[t][:, None]
            size = np.sqrt(np.einsum("bi,ij,bj->b", lam, covariance, lam))
            found[t] = np.where(here, np.log10(np.maximum(size, 1e-300)), np.nan)
    return found


@pytest.mark.parametrize("cell", ["elman", "lstm", "urnn"])
@pytest.mark.parametrize("readout", ["last", "every"])
def test_it_is_the_norm_in_the_covariance(cell, readout):
    walk, valid = walk_of(cell, readout)
    found = np.asarray(log10_state_scaled(walk, jnp.asarray(valid)))
    expected = in_float64(walk, valid)
    reached = expected > -200
    np.testing.assert_allclose(found[reached], expected[reached], atol=2e-4)
    assert np.isneginf(found[~reached & valid & ~np.isnan(expected)]).all()
    assert np.isnan(found[~valid]).all()


def test_other_coordinates_of_the_state_leave_it():
    walk, valid = walk_of("lstm")
    numbers = np.random.default_rng(0)
    A = jnp.asarray(numbers.normal(size=(4, 4)) + 3 * np.eye(4), jnp.float32)
    turned = jnp.linalg.inv(A)

    def c_by(tree, matrix):
        return tree._replace(c=tree.c @ matrix)

    mantissa = c_by(walk.adjoint.mantissa, turned.T)
    adjoint = dataclasses.replace(walk.adjoint, mantissa=mantissa)
    moved = dataclasses.replace(walk, states=c_by(walk.states, A), adjoint=adjoint)
    before, after = (
        np.asarray(log10_state_scaled(one, jnp.asarray(valid))) for one in (walk, moved)
    )
    np.testing.assert_allclose(before, after, atol=1e-4)
    norms = [
        np.asarray(log10_norms(one, jnp.asarray(valid))[0]) for one in (walk, moved)
    ]
    assert np.nanmax(np.abs(norms[0] - norms[1])) > 0.1


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_a_walk_from_the_end_meets_its_own_states(cell):
    spec, batch = spec_of("every", 7), batch_of("every", 7, [7] * 5)
    model = model_of(cell, readout="every", bidirectional=True)
    seen = trace(model, parameters(model, batch), batch, spec, lag="last")
    for walk in seen.walks:
        found = np.asarray(log10_state_scaled(walk, seen.valid))
        expected = in_float64(walk, np.asarray(seen.valid))
        reached = expected > -200
        np.testing.assert_allclose(found[reached], expected[reached], atol=2e-4)
    assert [walk.forward.backwards for walk in seen.walks] == [False, True]


@pytest.mark.parametrize(
    "size",
    [
        2,
        pytest.param(7, marks=pytest.mark.slow),
        pytest.param(30, marks=pytest.mark.slow),
    ],
)
def test_equal_states_do_not_vary(size):
    """All begin with one word: the mean's rounding does not stand for a spread."""
    spec, batch = spec_of("last", 4), batch_of("last", 4, [4] * size)
    batch = dataclasses.replace(batch, inputs=batch.inputs.at[0].set(1))
    model = model_of("elman", features=16)
    seen = trace(model, parameters(model, batch), batch, spec, lag="last")
    found = np.asarray(log10_state_scaled(seen.walks[0], seen.valid))
    assert np.isneginf(found[0]).all() and np.isfinite(found[-1]).all()


def test_far_below_float32_it_is_a_number():
    walk, valid = walk_of("elman")
    exponent = walk.adjoint.exponent - 1000
    small = dataclasses.replace(walk.adjoint, exponent=exponent)
    shifted = dataclasses.replace(walk, adjoint=small)
    before, after = (
        np.asarray(log10_state_scaled(one, jnp.asarray(valid)))
        for one in (walk, shifted)
    )
    known = np.isfinite(before)
    drop = 1000 * np.log10(2)
    np.testing.assert_allclose(before[known] - after[known], drop, atol=1e-3)


def test_one_example_has_no_variation():
    spec, batch = spec_of("last", 4), batch_of("last", 4, [4])
    model = model_of("elman")
    seen = trace(model, parameters(model, batch), batch, spec, lag="last")
    assert np.isnan(log10_state_scaled(seen.walks[0], seen.valid)).all()
