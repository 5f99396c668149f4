"""Recurrences that the probe may not see, and unusual uses of linen's RNN."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

import rnnjax
from rnnjax.cells import Elman
from rnnjax.recurrence.layer import Recurrent
from scripts.odd_inputs.case import case
from scripts.odd_inputs.models import FEATURES, INPUTS, compare, squares


LENGTHS = jnp.array([2, 6, 4])
RNN: Any = nn.RNN
Bidirectional: Any = nn.Bidirectional


@case("must")
def a_loop_in_python_alone() -> None:
    class Loop(nn.Module):
        @nn.compact
        def __call__(self, x: Any) -> Any:
            cell: Any = nn.GRUCell(FEATURES)
            state = cell.initialize_carry(jax.random.key(0), x[:, 0].shape)
            for t in range(x.shape[1]):
                state, _ = cell(state, x[:, t])
            return state

    compare(Loop())


@case()
def a_loop_in_python_between_two() -> None:
    class Loop(nn.Module):
        @nn.compact
        def __call__(self, x: Any) -> Any:
            y = RNN(nn.SimpleCell(FEATURES), name="enc")(x)
            mix, state = nn.Dense(FEATURES, name="mix"), jnp.zeros_like(y[:, 0])
            states = []
            for t in range(x.shape[1]):
                state = jnp.tanh(mix(state) + y[:, t])
                states.append(state)
            y = jnp.stack(states, axis=1)
            return RNN(nn.SimpleCell(FEATURES), name="dec")(y)[:, -1]

    compare(Loop())


@case("never")
def lax_scan_in_a_plain_function() -> None:
    def model(params: Any, x: Any) -> Any:
        def step(h: Any, now: Any) -> Any:
            h = jnp.tanh(h @ params["U"] + now @ params["V"])
            return h, None

        start = jnp.zeros((x.shape[0], 3))
        return jax.lax.scan(step, start, jnp.swapaxes(x, 0, 1))[0]

    params = {"U": jnp.eye(3), "V": jnp.ones((2, 3))}
    rnnjax.probe(model, params, INPUTS, squares, time_major=False)


@case()
def our_layer_under_remat() -> None:
    class Model(nn.Module):
        @nn.compact
        def __call__(self, x: Any) -> Any:
            layer: Any = nn.remat(Recurrent)(Elman(inputs=2, features=3), name="r")
            return layer(jnp.swapaxes(x, 0, 1))[0][-1]

    compare(Model())


@case()
def an_encoder_under_jit() -> None:
    class Encoder(nn.Module):
        @nn.compact
        def __call__(self, x: Any) -> Any:
            return RNN(nn.SimpleCell(FEATURES), name="rnn")(x)

    class Model(nn.Module):
        @nn.compact
        def __call__(self, x: Any) -> Any:
            return nn.jit(Encoder)(name="enc")(x)[:, -1]

    compare(Model())


@case()
def a_first_state_drawn_from_init_key() -> None:
    class Model(nn.Module):
        @nn.compact
        def __call__(self, x: Any) -> Any:
            cell = nn.SimpleCell(FEATURES, carry_init=nn.initializers.normal(1.0))
            return RNN(cell, name="rnn")(x, init_key=jax.random.key(7))[:, -1]

    compare(Model())


@case()
def a_first_state_that_is_a_parameter() -> None:
    class Model(nn.Module):
        @nn.compact
        def __call__(self, x: Any) -> Any:
            start = self.param("start", nn.initializers.ones, (len(x), FEATURES))
            rnn = RNN(nn.SimpleCell(FEATURES), name="rnn")
            return rnn(x, initial_carry=start)[:, -1]

    compare(Model())


@case()
def padding_that_a_softmax_sees() -> None:
    class Model(nn.Module):
        @nn.compact
        def __call__(self, x: Any) -> Any:
            y = RNN(nn.SimpleCell(FEATURES), name="rnn")(x, seq_lengths=LENGTHS)
            weights = jax.nn.softmax(y.sum(-1), axis=1)
            return jnp.einsum("bt,btf->bf", weights, y)

    compare(Model(), lengths=LENGTHS)


@case()
def the_carry_of_padded_sequences() -> None:
    class Model(nn.Module):
        @nn.compact
        def __call__(self, x: Any) -> Any:
            rnn = RNN(nn.SimpleCell(FEATURES), name="rnn", return_carry=True)
            return rnn(x, seq_lengths=LENGTHS)[0]

    compare(Model(), lengths=LENGTHS)


@case()
def a_reversed_walk_over_padded_sequences() -> None:
    class Model(nn.Module):
        @nn.compact
        def __call__(self, x: Any) -> Any:
            rnn = RNN(
                nn.SimpleCell(FEATURES), name="rnn", reverse=True, keep_order=True
            )
            return rnn(x, seq_lengths=LENGTHS)[:, 0]

    compare(Model(), lengths=LENGTHS)


@case()
def a_bidirectional_layer_of_linen() -> None:
    class Model(nn.Module):
        @nn.compact
        def __call__(self, x: Any) -> Any:
            ways = [RNN(nn.SimpleCell(FEATURES)) for _ in range(2)]
            return Bidirectional(*ways)(x).sum(1)

    compare(Model())
