"""Probes against brute force: autodiff of an unrolled loop, in double precision."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnjax.probes import (
    contribution,
    kernels,
    last_loss_step,
    log10_norms,
    sentence_shares,
    state_names,
    trace,
)
from rnnjax.probes.backward.trace import backward, forward, loss_weights, sampled_norms
from tests.probe_models import batch_of, brute_force, model_of, parameters, spec_of


LENGTH, LENGTHS = 4, [4, 2, 1]

MODELS = [
    # cell, readout, fields of the model
    ("elman", "every", {"layers": 2, "bidirectional": True}),
    pytest.param(
        "elman", "last", {"learn_initial_state": True}, marks=pytest.mark.slow
    ),
    pytest.param("lstm", "last", {"layers": 2}, marks=pytest.mark.slow),
    pytest.param("gru", "every", {}, marks=pytest.mark.slow),
    pytest.param("gru_before", "last", {}, marks=pytest.mark.slow),
    pytest.param("lru", "last", {}, marks=pytest.mark.slow),
]


def norm(x, axes):
    return np.sqrt(np.sum(np.abs(np.asarray(x)) ** 2, axis=axes))


@pytest.mark.parametrize(("cell", "readout", "fields"), MODELS)
def test_adjoints_and_contributions_equal_brute_force(cell, readout, fields, x64):
    batch = batch_of(readout, LENGTH, LENGTHS)
    spec = spec_of(readout, LENGTH)
    model = model_of(cell, dtype=jnp.float64, readout=readout, **fields)
    params = parameters(model, batch)
    valid = np.arange(LENGTH)[:, None] < np.array(LENGTHS)

    @jax.jit
    def probe(params):
        out = {}
        for lag in ("last", "total") if readout == "every" else ("total",):
            seen = trace(model, params, batch, spec, lag=lag)
            norms = {w.name: log10_norms(w, seen.valid) for w in seen.walks}
            parts = {}
            if lag == "total":
                parts = {k.name: contribution(k) for k in kernels(seen)}
            out[lag] = seen, norms, parts
        return out

    probed = probe(params)
    brute = brute_force(model, spec, params, batch, probed["total"][0])
    for lag, (seen, norms, parts) in probed.items():
        expected = brute[lag]
        for walk in seen.walks:
            arrays = jax.tree.leaves(expected["adjoint"][walk.name])
            rows = [norm(x, -1) for x in arrays]
            rows = np.stack([np.sqrt(sum(r**2 for r in rows)), *rows])
            got = 10.0 ** np.asarray(norms[walk.name])
            assert got.shape[0] == len(state_names(walk.states))
            assert np.all(np.isnan(got) == ~valid[None])
            got, rows = np.where(valid, got, 0), np.where(valid, rows, 0)
            np.testing.assert_allclose(got, rows, rtol=1e-10, atol=1e-14)
        for name, part in parts.items():
            steps = np.asarray(expected["gradient"][name])
            total = steps.sum(0)
            axes = tuple(range(1, steps.ndim))
            sizes = norm(steps, axes)
            along = np.sum(steps.conj() * total[None], axis=axes).real
            close: dict[str, Any] = {"rtol": 1e-9, "atol": 1e-12}
            np.testing.assert_allclose(10.0**part.log10_norm, sizes, **close)
            np.testing.assert_allclose(part.norm_share, sizes / sizes.sum(), **close)
            signed = along / norm(total, None) ** 2
            np.testing.assert_allclose(part.signed_share, signed, **close)
        assert not parts or set(parts) == set(expected["gradient"])


def test_sentence_shares_are_those_of_the_example_alone(x64):
    batch = batch_of("last", LENGTH, LENGTHS)
    spec = spec_of("last", LENGTH)
    model = model_of("elman", dtype=jnp.float64)
    params = parameters(model, batch)

    @jax.jit
    def shares(params, batch):
        found = kernels(trace(model, params, batch, spec, lag="total"))
        return {
            k.name: (sentence_shares(k, 2), contribution(k).signed_share) for k in found
        }

    second = jax.tree.map(lambda x: x[..., 1:2], batch)
    whole, alone = shares(params, batch), shares(params, second)
    for name, (both, _) in whole.items():
        np.testing.assert_allclose(both[:, 1], alone[name][1], rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(both.sum(0), 1.0, rtol=1e-9)
        assert np.all(both[LENGTHS[1] :, 1] == 0), "padding has a share"


def test_lags_count_from_the_last_loss_step():
    every = batch_of("every", LENGTH, LENGTHS)
    expected = [np.flatnonzero(column)[-1] for column in np.asarray(every.mask).T]
    assert last_loss_step(spec_of("every", LENGTH), every).tolist() == expected
    assert expected[0] < LENGTH - 1, "the batch has no loss that ends early"
    last = batch_of("last", LENGTH, LENGTHS)
    assert last_loss_step(spec_of("last", LENGTH), last).tolist() == [3, 1, 0]


def test_adjoints_of_sampled_loss_steps_add_up(x64):
    batch, spec = batch_of("every", LENGTH, LENGTHS), spec_of("every", LENGTH)
    model = model_of("gru", dtype=jnp.float64, readout="every")
    params = parameters(model, batch)

    @jax.jit
    def probe(params):
        passed = forward(model, params, batch, spec)
        weights = loss_weights(spec, batch, "total")
        norms = sampled_norms(passed, weights, jnp.arange(LENGTH))
        alone = [
            backward(passed, jnp.where(jnp.arange(LENGTH)[:, None] == s, weights, 0.0))
            for s in range(LENGTH)
        ]
        return (
            norms,
            [seen.walks[0].adjoint for seen in alone],
            backward(passed, weights).walks[0].adjoint,
        )

    norms, alone, total = probe(params)
    plain = [np.ldexp(x.mantissa, np.asarray(x.exponent)[..., None]) for x in alone]
    whole = np.ldexp(total.mantissa, np.asarray(total.exponent)[..., None])
    np.testing.assert_allclose(np.sum(plain, axis=0), whole, atol=1e-15)
    valid = np.arange(LENGTH)[:, None] < np.array(LENGTHS)
    sizes = np.where(valid, [np.linalg.norm(x, axis=-1) for x in plain], np.nan)
    np.testing.assert_allclose(10.0 ** norms["layer0"][:, 0], sizes, atol=1e-14)
    later = np.arange(LENGTH)[:, None] > np.arange(LENGTH)[None]
    assert np.all(np.isneginf(norms["layer0"][:, 0, :, 0].T[later]))
