"""The influence matrix of any model, beside full Jacobians."""

import warnings
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rnnjax
from rnnjax.errors import UserError
from rnnjax.probes.inputs.input_influence import log10_influence
from tests.foreign_models import B, M, N, T, X, tanh_layer, tanh_params


PARAMS = tanh_params(2)


def attention(xs: Any) -> Any:
    """Causal, of one head."""
    scores = jnp.einsum("sbi,tbi->stb", xs, xs)
    allowed = jnp.tril(jnp.ones((len(xs), len(xs)), bool))[..., None]
    weights = jax.nn.softmax(jnp.where(allowed, scores, -jnp.inf), axis=1)
    return jnp.einsum("stb,tbi->sbi", weights, xs)


@pytest.mark.parametrize("model", [lambda xs: tanh_layer(PARAMS, xs), attention])
@pytest.mark.parametrize("time_major", [True, False])
def test_it_is_the_norm_of_the_jacobian(model: Any, time_major: bool) -> None:
    turn = lambda x: x if time_major else jnp.swapaxes(x, 0, 1)
    with jax.numpy_rank_promotion("allow"), warnings.catch_warnings():
        warnings.simplefilter("error")
        seen = rnnjax.input_influence(
            lambda xs: turn(model(turn(xs))), turn(X), time_major=time_major
        )
        blocks = jax.jacobian(model)(X)  # (S, B, n, T, B, m)
    square = np.zeros((T, T))
    for b in range(B):
        square += np.sum(np.square(blocks[:, b, :, :, b]), axis=(1, 3)) / B
    with np.errstate(divide="ignore"):
        expected = 0.5 * np.log10(square)
    np.testing.assert_allclose(seen.log10_influence, expected, atol=1e-4)
    assert np.isneginf(seen.log10_influence.values[0, 1:]).all()
    assert seen.attrs["method"] == "exact"
    rows = [np.mean(np.diagonal(square, -k)) for k in range(T)]
    found = 100.0**seen.log10_influence_by_distance
    np.testing.assert_allclose(found, rows, rtol=1e-3)


def test_random_projections_estimate_the_square_without_bias() -> None:
    model = lambda xs: tanh_layer(PARAMS, xs)
    keys = jax.random.split(jax.random.key(3), 400)
    with jax.numpy_rank_promotion("allow"):
        one = lambda key: log10_influence(model, X[:4], N - 1, key)
        drawn = jax.jit(lambda keys: jax.lax.map(one, keys))(keys)
        exact = log10_influence(model, X[:4], N, keys[0])
        seen = rnnjax.input_influence(model, X[:4], draws=N - 1)
    lower = np.tril_indices(4)
    squares = lambda logs: 100.0 ** np.asarray(logs, np.float64)
    ratio = squares(drawn).mean((0, 1))[lower] / squares(exact).sum(0)[lower]
    # one square of a rank-one Jacobian has a standard deviation of √2
    assert np.abs(ratio - 1).max() < 5 * np.sqrt(2 / (400 * (N - 1)))
    assert seen.attrs["method"] == f"{N - 1} random projections"
    assert (seen.log10_influence_error.values[lower] > 0).all()


def test_what_a_fourier_transform_leaves_is_left_out() -> None:
    def model(xs: Any) -> Any:
        kernel = 0.05 ** jnp.arange(len(xs))
        size = 2 * len(xs)
        spectra = (jnp.fft.rfft(x, size, axis=0) for x in (xs, kernel[:, None, None]))
        whole = jnp.fft.irfft(
            jnp.prod(jnp.stack(jnp.broadcast_arrays(*spectra)), 0), size, axis=0
        )
        return whole[: len(xs)]

    with jax.numpy_rank_promotion("allow"), pytest.warns(UserWarning, match="Fourier"):
        seen = rnnjax.input_influence(model, X)
    kept = seen.log10_influence_by_distance.values
    slope = np.arange(T) * np.log10(0.05) + 0.5 * np.log10(M)
    assert np.isnan(kept[5:]).all()
    np.testing.assert_allclose(kept[:4], slope[:4], atol=0.05)


def test_tokens_and_single_answers_are_refused() -> None:
    with pytest.raises(UserError, match="pass their embeddings"):
        rnnjax.input_influence(lambda xs: xs, jnp.zeros((T, B), int))
    for model in (lambda xs: xs.sum((0, 1)), lambda xs: xs[-1]):
        with pytest.raises(UserError, match="outputs have shape"):
            rnnjax.input_influence(model, X)
    with pytest.raises(UserError, match="depend on inputs of another one"):
        rnnjax.input_influence(lambda xs: xs - xs.mean(1, keepdims=True), X)
    halved = rnnjax.input_influence(lambda xs: xs[::2], X)
    assert "log10_influence_by_distance" not in halved
