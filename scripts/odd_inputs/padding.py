"""What lies behind the end of a sequence is no part of it."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

import rnnjax
from rnnjax.cells import GRU, LRU, LSTM
from rnnjax.models.sequence import SequenceModel
from rnnjax.recurrence.layer import Recurrent
from scripts.odd_inputs.case import add, case, expect


RNN: Any = nn.RNN
LENGTHS = jnp.array([2, 5])
CLEAN = np.random.default_rng(0).standard_normal((6, 2, 2)).astype("f4")


def behind(value: float) -> np.ndarray:
    """The same inputs with a value behind the ends."""
    inputs = CLEAN.copy()
    inputs[2:, 0] = inputs[5:, 1] = value
    return inputs


def _same_bits(a: Any, b: Any) -> bool:
    pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return all(np.array_equal(x, y) for x, y in pairs)


def _gradients(layer: Any) -> Callable[[Any], Any]:
    params = layer.init(jax.random.key(0), CLEAN)["params"]

    def loss(params: Any, x: Any) -> Any:
        out = layer.apply({"params": params}, x, LENGTHS)
        return jnp.sum((out[0] if isinstance(out, tuple) else out) ** 2)

    pull = jax.jit(jax.value_and_grad(loss, argnums=(0, 1)))
    return lambda x: pull(params, jnp.asarray(x))


def _held(layer: Any, value: float) -> None:
    found = _gradients(layer)
    same = _same_bits(found(behind(0.0)), found(behind(value)))
    expect(same, "loss or gradient has other bits")


for _name, _layer, _value in (
    ("nan behind the end of an lstm", Recurrent(LSTM(2, 3)), np.nan),
    ("infinity behind the end of a gru", Recurrent(GRU(2, 3)), np.inf),
    ("nan behind the end, backwards", Recurrent(LSTM(2, 3), backwards=True), np.nan),
    (
        "nan behind the end, associative",
        Recurrent(LRU(2, 3), engine="associative"),
        np.nan,
    ),
    (
        "1e38 behind the end of a bidirectional model",
        SequenceModel(GRU(2, 3), output_size=2, input_size=2, bidirectional=True),
        1e38,
    ),
    (
        "nan behind the end of a bidirectional model",
        SequenceModel(GRU(2, 3), output_size=2, input_size=2, bidirectional=True),
        np.nan,
    ),
):
    add(_name, lambda layer=_layer, value=_value: _held(layer, value), "never")


@case()
def nan_behind_the_end_in_a_probe_of_linen() -> None:
    class Model(nn.Module):
        @nn.compact
        def __call__(self, x: Any) -> Any:
            rnn = RNN(nn.SimpleCell(3), name="rnn", time_major=True)
            y = rnn(x, seq_lengths=LENGTHS)
            return y[LENGTHS - 1, jnp.arange(2)]

    model = Model()
    params = model.init(jax.random.key(0), CLEAN)["params"]
    a, b = (
        rnnjax.probe(
            model,
            params,
            behind(value),
            lambda y: (y**2).sum(-1),
            lengths=LENGTHS,
            sections=("contributions",),
        )
        for value in (0.0, np.nan)
    )
    expect(float(a.loss) == float(b.loss), f"loss {float(b.loss)}")
    # linen computes on padding: there NaN is in the gradient that the model has
    got, want = b.log10_gradient.values, a.log10_gradient.values

    def loss(params: Any) -> Any:
        answers: Any = model.apply({"params": params}, behind(np.nan))
        return (answers**2).sum()

    known = jax.tree.leaves(jax.grad(loss)(params))
    broken = any(np.isnan(x).any() for x in known)
    same = np.isnan(got).all() if broken else np.array_equal(got, want)
    expect(same, f"gradient {got[:2]}, of jax.grad NaN: {broken}")
