"""Models that are not ours: linen's cells, an encoder and a decoder, batch first."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnjax.cells.elman import Elman
from rnnjax.cells.linen import from_linen
from rnnjax.probes import contribution, kernels
from rnnjax.probes.backward.trace import backward, open_up
from rnnjax.probes.contributions.to_kernels import gradient
from rnnjax.probes.contributions.to_other_parameters import contributions
from rnnjax.recurrence import scaled
from rnnjax.recurrence.layer import Recurrent


TOKENS = np.array([[1, 2, 3, 4, 0], [4, 3, 3, 1, 2], [0, 1, 0, 2, 2]])
TARGETS = np.array([0, 1, 1])
SIZE, LENGTH = TOKENS.shape


def losses(answers: Any) -> Any:
    return -jax.nn.log_softmax(answers)[jnp.arange(SIZE), TARGETS]


class EncoderDecoder(nn.Module):
    """linen throughout, batch first; the decoder starts from the encoder's state."""

    dtype: Any = jnp.float64

    @nn.compact
    def __call__(self, tokens, taps=None):
        kind: Any = {"param_dtype": self.dtype}
        x = nn.Embed(5, 3, **kind)(tokens)
        encoder = nn.RNN(nn.LSTMCell(4, **kind), return_carry=True, name="encoder")
        (_, h), y = encoder(x)
        y = y if taps is None else y + taps["encoder"]
        y = nn.LayerNorm(**kind)(y)
        decoder = nn.RNN(nn.GRUCell(4, **kind), reverse=True, name="decoder")
        z: Any = decoder(y, initial_carry=h)
        z = z if taps is None else z + taps["decoder"]
        return nn.Dense(2, **kind)(z[:, -1])


class Mixed(nn.Module):
    """Our recurrence beside linen's, on vectors, with a residual connection."""

    dtype: Any = jnp.float64

    @nn.compact
    def __call__(self, x):
        cell = from_linen(nn.OptimizedLSTMCell(3, param_dtype=self.dtype), 3)
        x = x + Recurrent(cell, name="first")(x)[0]
        own = Elman(3, 3, self.dtype, parent=None)
        x = x + Recurrent(own, backwards=True, name="second")(x)[0]
        return nn.Dense(2, param_dtype=self.dtype)(jnp.mean(x, axis=0))


def traced(model: Any, params: Any, inputs: Any, time_major: bool) -> Any:
    def probe(params: Any) -> Any:
        passed = open_up(
            lambda p, x: model.apply({"params": p}, x),
            params,
            inputs,
            losses,
            lambda answers: jnp.mean(losses(answers)),
            jnp.ones((LENGTH, SIZE), bool),
            time_major=time_major,
        )
        seen = backward(passed, jnp.full((SIZE,), 1 / SIZE))
        sums = {k.name: gradient(k) for k in kernels(seen)}
        return (
            {k: scaled.shift(g.mantissa, g.exponent) for k, g in sums.items()},
            {k.name: contribution(k) for k in kernels(seen)},
            {k: v for walk in seen.walks for k, v in contributions(walk).items()},
            {w.name: outputs(w.outputs) for w in seen.walks},
            None if seen.inputs is None else outputs(seen.inputs),
        )

    with jax.numpy_rank_promotion("allow"):
        return jax.jit(probe)(params)


def outputs(value: Any) -> Any:
    return scaled.shift(value.mantissa, value.exponent)


@pytest.mark.slow
def test_encoder_and_decoder_of_linen(x64):
    model, tokens = EncoderDecoder(), jnp.asarray(TOKENS)
    params = model.init(jax.random.key(0), tokens)["params"]
    sums, parts, free, seen, _ = traced(model, params, tokens, False)

    taps = {k: jnp.zeros((SIZE, LENGTH, 4)) for k in ("encoder", "decoder")}

    def loss(params, taps):
        return jnp.mean(losses(model.apply({"params": params}, tokens, taps)))

    with jax.numpy_rank_promotion("allow"):
        expected, cotangents = jax.jit(jax.grad(loss, (0, 1)))(params, taps)
    where = {"encoder": "LSTMCell_0", "decoder": "GRUCell_0"}
    dense = {f"{k}/{n}" for k, cell in where.items() for n in expected[cell]}
    assert set(sums) == {"Embed_0"} | dense
    np.testing.assert_allclose(
        sums["Embed_0"], expected["Embed_0"]["embedding"], atol=1e-15
    )
    for name in dense:
        layer, site = name.split("/")
        kernel = expected[where[layer]][site]["kernel"]
        np.testing.assert_allclose(sums[name], kernel, atol=1e-15)
        assert np.sum(parts[name].signed_share) == pytest.approx(1)
    assert "encoder/inner/hf/bias" in free, "a bias has no contributions"
    assert not any(name.endswith("kernel") for name in free)
    # the decoder walks from the end and its outputs stay in that order; ours do not
    encoder = cotangents["encoder"].swapaxes(0, 1)
    decoder = cotangents["decoder"].swapaxes(0, 1)[::-1]
    np.testing.assert_allclose(seen["encoder"], encoder, atol=1e-15)
    np.testing.assert_allclose(seen["decoder"], decoder, atol=1e-15)


def test_our_recurrence_in_a_users_model(x64):
    model = Mixed()
    x = jnp.asarray(np.random.default_rng(0).standard_normal((LENGTH, SIZE, 3)))
    params = model.init(jax.random.key(0), x)["params"]
    sums, _, free, _, inputs = traced(model, params, x, True)

    def loss(params, x):
        return jnp.mean(losses(model.apply({"params": params}, x)))

    with jax.numpy_rank_promotion("allow"):
        expected, d_x = jax.jit(jax.grad(loss, (0, 1)))(params, x)
    for name in ("second/U", "second/V"):
        kernel = expected["second"]["cell"][name[-1]]
        np.testing.assert_allclose(sums[name], kernel, atol=1e-15)
    np.testing.assert_allclose(inputs, d_x, atol=1e-15)
    assert {"second/b", "first/inner/hf/kernel"} <= set(free)


@pytest.mark.parametrize(
    ("kind", "output"),
    [("SimpleCell", 0), ("GRUCell", 0), ("MGUCell", 0), ("LSTMCell", 1)],
)
def test_linen_cells_are_unchanged(kind, output, x64):
    inner = getattr(nn, kind)(3, param_dtype=jnp.float64)
    cell = from_linen(inner, 2)
    assert cell.output == output
    x = jnp.asarray(np.random.default_rng(0).standard_normal((LENGTH, SIZE, 2)))
    layer, theirs = Recurrent(cell), nn.RNN(inner, time_major=True)
    params = theirs.init(jax.random.key(0), x)["params"]
    ours = {"cell": {"inner": params["cell"]}}

    def gradient_of(run, params):
        return jax.jit(jax.grad(lambda p: jnp.sum(jnp.square(run(p)))))(params)

    with jax.numpy_rank_promotion("allow"):
        mine = gradient_of(lambda p: layer.apply({"params": p}, x)[0], ours)
        their = gradient_of(lambda p: theirs.apply({"params": p}, x), params)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-13),
        mine["cell"]["inner"],
        their["cell"],
    )


def test_cells_that_do_not_fit_are_refused():
    with pytest.raises(TypeError, match="not vectors"):
        from_linen(nn.ConvLSTMCell(2, (3,)), 2)
