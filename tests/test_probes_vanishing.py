"""Adjoints far below the smallest float32, against a float64 log-domain reference."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnjax.cells.elman import Elman
from rnnjax.models.sequence import SequenceModel
from rnnjax.probes import by_lag, contribution, decay, kernels, log10_norms, trace
from rnnjax.types import Batch
from tests.probe_models import CLASSES, spec_of


FEATURES, SIZE = 8, 3


def vector_batch(length: int) -> Batch:
    random = np.random.default_rng(1)
    last = np.arange(length)[:, None] == length - 1
    return Batch(
        inputs=jnp.asarray(random.standard_normal((length, SIZE, 1)), jnp.float32),
        targets=jnp.asarray([0, 1, 1], jnp.int32),
        mask=jnp.asarray(np.repeat(last, SIZE, 1), jnp.float32),
        lengths=jnp.full((SIZE,), length, jnp.int32),
        informative=jnp.zeros((length, SIZE), bool),
    )


def elman(activation: str, gain: float) -> SequenceModel:
    cell = Elman(
        1, FEATURES, activation=activation, recurrent_init=("orthogonal", gain)
    )
    return SequenceModel(cell, output_size=CLASSES)


def probed(model: SequenceModel, length: int) -> tuple[Any, ...]:
    """Parameters, trace, log10 norms of the state ``(T, B)`` and contributions to U."""
    batch, spec = vector_batch(length), spec_of("last", length, None)
    params = jax.jit(model.init)(jax.random.key(0), batch.inputs)["params"]

    @jax.jit
    def probe(params):
        seen = trace(model, params, batch, spec, lag="last")
        (kernel,) = (k for k in kernels(seen) if k.name == "layer0/U")
        return seen, log10_norms(seen.walks[0], seen.valid)[0], contribution(kernel)

    return params, batch, *probe(params)


def reference(params, batch: Batch, states: np.ndarray) -> np.ndarray:
    """log10‖∂L/∂h_t‖ along the stored trajectory of a sigmoid network, in float64."""
    head = {k: np.asarray(v, np.float64) for k, v in params["head"].items()}
    U = np.asarray(params["stack_0_0"]["cell"]["U"], np.float64)
    h = np.asarray(states, np.float64)
    logits = h[-1] @ head["kernel"] + head["bias"]
    odds = np.exp(logits - logits.max(-1, keepdims=True))
    error = (
        odds / odds.sum(-1, keepdims=True) - np.eye(CLASSES)[np.asarray(batch.targets)]
    )
    adjoint, log = error @ head["kernel"].T / SIZE, np.zeros(SIZE)
    out = np.zeros(h.shape[:2])
    for t in reversed(range(h.shape[0])):
        size = np.linalg.norm(adjoint, axis=-1)
        adjoint, log = adjoint / size[:, None], log + np.log10(size)
        out[t] = log
        adjoint = (adjoint * h[t] * (1 - h[t])) @ U.T
    return out


@pytest.mark.parametrize(("length", "below"), [(100, -40), (2000, -1000)])
def test_sigmoid_network_vanishes_at_a_finite_rate(length, below):
    params, batch, seen, norms, part = probed(elman("sigmoid", 1.0), length)
    norms = np.asarray(norms, np.float64)
    assert np.all(np.isfinite(norms))
    assert np.all(norms[0] < below)
    expected = reference(params, batch, seen.walks[0].states)
    np.testing.assert_allclose(norms, expected, rtol=0, atol=1e-3)
    bound = np.log10(np.linalg.norm(params["stack_0_0"]["cell"]["U"], 2) / 4)
    last = np.full(SIZE, length - 1)
    curves = by_lag(norms, last).T, by_lag(expected, last).T
    for curve, known in zip(*curves, strict=True):
        assert decay(curve).slope <= bound
        assert decay(curve).slope == pytest.approx(decay(known).slope, abs=1e-6)
    # h_0 = 0 meets the kernel at the first step, which therefore gives nothing
    contributions = np.asarray(part.log10_norm)
    assert np.isneginf(contributions[0]) and np.all(np.isfinite(contributions[1:]))
    assert contributions[1] < below
    np.testing.assert_allclose(np.sum(part.signed_share), 1.0, atol=1e-5)


def test_linear_orthogonal_network_decays_with_its_gain():
    *_, norms, _ = probed(elman("identity", 0.9), 100)
    for curve in by_lag(np.asarray(norms), np.full(SIZE, 99)).T:
        fit = decay(curve)
        assert fit.slope == pytest.approx(np.log10(0.9), abs=1e-5)
        assert fit.law == "exponential" and abs(fit.power.mean) < 1e-3


def test_dead_units_have_exactly_zero_adjoints():
    model = SequenceModel(Elman(1, FEATURES, activation="relu", bias=-100.0), CLASSES)
    *_, norms, part = probed(model, 6)
    assert np.all(np.isfinite(norms[-1])) and np.all(np.isneginf(norms[:-1]))
    assert np.all(np.isneginf(part.log10_norm)) and np.all(np.isnan(part.signed_share))
    curve = by_lag(np.asarray(norms), np.full(SIZE, 5))[:, 0]
    assert decay(curve, transient=1).zeros == 5 and np.isnan(decay(curve, 1).slope)
