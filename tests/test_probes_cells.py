"""Every structure of cell: shares sum to 1, and looking changes no training."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnjax.models.objective import objective
from rnnjax.probes import (
    contribution,
    kernels,
    norms,
    sentence_shares,
    trace,
    zero_taps,
)
from rnnjax.probes.contributions.to_kernels import gradient
from rnnjax.recurrence import scaled
from rnnjax.training.compiled import OPTIONS
from tests.probe_models import batch_of, model_of, parameters, spec_of
from tests.recurrence_samples import STRUCTURES, rows


LENGTH, LENGTHS = 5, [5, 3, 1]
BATCH, SPEC = batch_of("last", LENGTH, LENGTHS), spec_of("last", LENGTH)


as_trained = partial(jax.jit, compiler_options=dict(OPTIONS["chunk"]))


def gradients(model, params):
    """The training gradient without taps, and with them (and that of the taps)."""

    def loss(params, taps):
        variables = {"params": params, **({"taps": taps} if taps else {})}
        answers = model.apply(variables, BATCH.inputs, BATCH.lengths)
        return objective(SPEC, answers, BATCH)[0]

    taps = zero_taps(model, params, BATCH)
    plain = as_trained(jax.grad(lambda params: loss(params, None)))(params)
    tapped, seen = as_trained(jax.grad(loss, argnums=(0, 1)))(params, taps)
    return plain, tapped, seen


def free_gradients(model, params, plain):
    """Gradients of the kernels that are parameters themselves, by name in the probe."""
    named = {"embedding": plain["embed"]["embedding"]}
    for layer in range(model.layers):
        own = plain[f"stack_{layer}_0"]["cell"]
        named |= {f"layer{layer}/{name}": value for name, value in own.items()}
    return named


@pytest.mark.parametrize("cell", rows(STRUCTURES, ["lstm"]))
def test_every_structure(cell):
    model = model_of(cell)
    params = parameters(model, BATCH)
    plain, tapped, riding = gradients(model, params)
    # XLA fuses the two programs as it likes: on some processors the last bit differs.
    jax.tree.map(assert_same_but_for_rounding, plain, tapped)

    @jax.jit
    def probe(params):
        seen = trace(model, params, BATCH, SPEC, lag="total")
        found = kernels(seen)
        parts = [contribution(k) for k in found]
        words = [sentence_shares(k, 1) for k in found]
        sums = {k.name: scaled.shift(*split(gradient(k))) for k in found}
        adjoint = seen.walks[0].adjoint
        rms = scaled.log10_norm(scaled.lift(scaled.shift(*split(adjoint)), 1))
        return parts, words, sums, rms - 0.5 * jnp.log10(len(LENGTHS))

    parts, words, sums, rms = probe(params)
    for part, word in zip(parts, words, strict=True):
        np.testing.assert_allclose(np.sum(part.signed_share), 1.0, atol=1e-5)
        np.testing.assert_allclose(np.sum(part.norm_share), 1.0, atol=1e-5)
        np.testing.assert_allclose(np.sum(word, 0), 1.0, atol=1e-5)
    expected = free_gradients(model, params, plain)
    assert set(sums) & set(expected), "no kernel to compare"
    for name in set(sums) & set(expected):
        scale = np.max(np.abs(expected[name]))
        np.testing.assert_allclose(sums[name], expected[name], atol=2e-6 * scale)
    light = norms(model, riding)
    np.testing.assert_allclose(light.adjoint["layer0"], rms, atol=1e-5)


def assert_same_but_for_rounding(plain, tapped):
    np.testing.assert_allclose(tapped, plain, rtol=0, atol=3e-7 * np.max(np.abs(plain)))


def split(value):
    return value.mantissa, value.exponent


@pytest.mark.slow
def test_light_norms_of_all_walks_are_in_the_order_of_the_input():
    model = model_of("elman", layers=2, bidirectional=True)
    params = parameters(model, BATCH)
    _, _, riding = gradients(model, params)
    light = norms(model, riding)
    probe = jax.jit(lambda p: trace(model, p, BATCH, SPEC, lag="total"))
    for walk in probe(params).walks:
        state = scaled.shift(*split(walk.adjoint))
        rms = np.sqrt(np.mean(np.sum(np.square(state), -1), -1))
        np.testing.assert_allclose(10.0 ** light.adjoint[walk.name], rms, rtol=1e-4)
        (use,) = (use for use in walk.uses if use.recurrent)
        delta = scaled.shift(*split(use.delta))
        rms = np.sqrt(np.mean(np.sum(np.square(delta), -1), -1))
        site = f"{walk.name}/{use.kernel}"
        np.testing.assert_allclose(10.0 ** light.delta[site], rms, rtol=1e-4)
