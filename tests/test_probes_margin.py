"""The gradient of a solved example keeps its digits where p − y rounds off."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from rnnjax.models.objective import compared, per_example
from rnnjax.probes.adjoints.norms import log10_norms
from rnnjax.probes.adjoints.relative import relative
from rnnjax.probes.backward.margin import by_margin, margin
from rnnjax.probes.backward.trace import trace
from tests.probe_models import batch_of, model_of, parameters, spec_of


def logits(lead: float, classes: int = 5) -> jax.Array:
    drawn = np.random.default_rng(0).normal(size=classes).astype(np.float32)
    return jnp.asarray(drawn).at[2].add(lead)


@pytest.mark.parametrize("lead", [-30.0, 0.0, 5.0, 17.0, 40.0, 75.0])
def test_the_gradient_is_that_of_float64(lead):
    spec, z = spec_of("last", 3), logits(lead)
    found = jax.grad(lambda z: by_margin(spec, z, jnp.array(2))[0])(z)
    exact = np.asarray(z, np.float64)
    others = np.delete(exact, 2)
    share = np.exp(others - others.max()) / np.exp(others - others.max()).sum()
    m = exact[2] - others.max() - np.log(np.exp(others - others.max()).sum())
    expected = np.insert(share, 2, -1.0) * np.exp(-np.logaddexp(0, m))
    np.testing.assert_allclose(found, expected, rtol=3e-5)
    loss = by_margin(spec, z, jnp.array(2))[0]
    assert float(loss) == pytest.approx(np.logaddexp(0, -m), rel=1e-5)
    assert float(margin(z, jnp.array(2))) == pytest.approx(m, rel=1e-5)


def test_the_plain_gradient_is_zero_there():
    plain = optax.losses.softmax_cross_entropy_with_integer_labels
    solved = jax.grad(lambda z: plain(z, jnp.array(2)))(logits(40.0))
    assert float(solved[2]) == 0.0


@pytest.mark.parametrize("readout", ["last", "every"])
def test_loss_and_mask_are_as_in_training(readout):
    spec = spec_of(readout, 6)
    batch = batch_of(readout, 6, [6, 4, 5])
    shape = batch.targets.shape
    answers = jax.random.normal(jax.random.key(1), (*shape, spec.output_size))
    for mine, known in zip(
        per_example(spec, answers, batch, by_margin),
        per_example(spec, answers, batch),
        strict=True,
    ):
        np.testing.assert_allclose(mine, known, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("cell", ["elman", "lstm"])
def test_what_is_left_of_the_gradient_does_not_depend_on_the_margin(cell):
    """Two classes: the read-out's scale is the margin's, and cancels in the ratio."""
    spec = spec_of("last", 8)
    batch = batch_of("last", 8, [8, 8, 8])
    model = model_of(cell)
    batch = dataclasses.replace(batch, targets=jnp.zeros(3, jnp.int32))
    params = parameters(model, batch)

    def curves(scale: float) -> np.ndarray:
        head = {
            "kernel": jnp.array([[1.0, -1.0]] * 4) * scale * 0.1,
            "bias": jnp.array([3.0, -3.0]) * scale,
        }
        seen = trace(model, {**params, "head": head}, batch, spec, lag="last")
        norms = np.asarray(log10_norms(seen.walks[0], seen.valid)[0])[::-1]
        assert np.isfinite(norms).all()
        return relative(norms)

    np.testing.assert_allclose(curves(10.0), curves(1.0), atol=1e-4)


def test_infinite_logits_keep_the_loss_of_training():
    spec = spec_of("last", 3)
    for z in ([np.inf, 1.0], [0.0, -np.inf], [np.nan, 0.0]):
        both = [
            jax.value_and_grad(lambda z, f=f: f(spec, z, jnp.array(0))[0])(jnp.array(z))
            for f in (by_margin, compared)
        ]
        np.testing.assert_array_equal(*(one[0] for one in both))
        np.testing.assert_array_equal(*(one[1] for one in both))
