"""Users' models: what the probe finds is what the model as it stands does, or refused.

One table of models. Those that are measured must have the gradient that `jax.grad`
takes of the untouched model, for every parameter; the others end in one sentence.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import rnnjax
from rnnjax.cells.elman import Elman
from rnnjax.errors import UserError
from rnnjax.laboratory.untouched import bypass, check
from rnnjax.probes import log10_norms
from rnnjax.probes.trace import backward, open_up
from rnnjax.probes.whole import parameter_gradient
from rnnjax.recurrence.layer import Recurrent


SIZE, LENGTH, WIDTH = 2, 6, 3
LENGTHS = jnp.asarray([4, 6])
KIND: Any = {"param_dtype": jnp.float64}
TOKENS = np.random.default_rng(2).integers(0, 4, (SIZE, LENGTH))
VECTORS = np.random.default_rng(1).standard_normal((SIZE, LENGTH, WIDTH))


def cell(**options: Any) -> Any:
    return nn.SimpleCell(WIDTH, **KIND, **options)


def only_inside(y: Any) -> Any:
    return y.at[:, 2].add(y[:, 3])


def attended(y: Any) -> Any:
    return y + jax.nn.softmax(y @ jnp.swapaxes(y, 1, 2)) @ y


class Mixing(nn.Module):
    """One recurrence after the other, and something that mixes between each two."""

    @nn.compact
    def __call__(self, x):
        y = nn.RNN(cell(), name="first")(x)
        between = [
            lambda y: y[:, ::-1],
            lambda y: jnp.roll(y, 1, axis=0),
            lambda y: jnp.cumsum(y, axis=1),
            only_inside,
            attended,
            nn.Conv(WIDTH, (3,), **KIND),
            nn.BatchNorm(use_running_average=False, **KIND),
        ]
        rest = nn.RNN(cell(), name="rest")
        for mix in between:
            y = rest(mix(y))
        return jnp.max(y, axis=1)


class Lifted(nn.Module):
    """Recurrences under transforms that change nothing; a start that is drawn."""

    @nn.compact
    def __call__(self, x):
        y = nn.remat(nn.RNN)(cell(), name="again")(x)
        y = nn.jit(nn.RNN)(cell(), name="compiled")(y)
        y = nn.remat(Recurrent)(
            Elman(WIDTH, WIDTH, jnp.float64, parent=None),
            learn_initial_state=True,
            name="ours",
        )(jnp.swapaxes(y, 0, 1))[0]
        drawn = cell(carry_init=nn.initializers.normal(1.0))
        start = nn.RNN(drawn, unroll=2, time_major=True, name="drawn")
        y = start(y, init_key=jax.random.key(7))
        return jnp.sum(y[-1] * y[0], axis=-1)


class Padded(nn.Module):
    """linen runs on behind the end of an example, and shows what it finds there."""

    @nn.compact
    def __call__(self, x):
        own = nn.RNN(cell(), return_carry=True, name="rnn")
        end, y = own(x, seq_lengths=LENGTHS)
        both = nn.Bidirectional(nn.RNN(cell()), nn.RNN(cell()))
        masked = jnp.arange(LENGTH)[None, :, None] < LENGTHS[:, None, None]
        z = jnp.where(masked, both(y, seq_lengths=LENGTHS), 0.0)
        return end, jnp.argmax(end), jnp.mean(y, 1) + jnp.sum(z[..., :WIDTH], 1)


class Words(nn.Module):
    """Places have an embedding, too, and the read-out has that of the words."""

    @nn.compact
    def __call__(self, tokens):
        words = nn.Embed(4, WIDTH, name="words", **KIND)
        x = words(tokens) + nn.Embed(LENGTH, WIDTH, **KIND)(jnp.arange(LENGTH))
        y = nn.RNN(cell(), reverse=True, name="rnn")(x)
        y = nn.Dropout(0.5, deterministic=False)(y)
        return words.attend(nn.RNN(cell(), name="top")(y)[:, -1])


class Unseen(nn.Module):
    """A recurrence in between that is no RNN."""

    @nn.compact
    def __call__(self, x):
        y = nn.RNN(cell(), name="enc")(x)
        start = cell().initialize_carry(jax.random.key(0), y[:, 0].shape)
        scan: Any = nn.scan(
            nn.SimpleCell,
            variable_broadcast="params",
            split_rngs={"params": False},
            in_axes=1,
            out_axes=1,
        )
        y = scan(WIDTH, name="mid", **KIND)(start, y)[1]
        return nn.RNN(cell(), name="dec")(y)[:, -1]


class Alone(nn.Module):
    """A recurrence of `kind`, and of its outputs what `show` makes of them."""

    kind: Any = nn.RNN
    show: Any = staticmethod(lambda y: y[:, -1])
    called: Any = None

    @nn.compact
    def __call__(self, x):
        return self.show(self.kind(cell(), name="rnn")(x, **(self.called or {})))


def score(answers: Any) -> Any:
    floats = [x for x in jax.tree.leaves(answers) if jnp.issubdtype(x.dtype, jnp.floating)]
    return sum(jnp.sum(jnp.reshape(jnp.sin(x), (SIZE, -1)), -1) for x in floats)


def as_function(model: nn.Module, params: Any) -> Any:
    """The model as a function, with what it needs beside its parameters."""

    def run(p: Any, x: Any) -> Any:
        rngs = {"dropout": jax.random.key(3)}
        return model.apply({"params": p}, x, rngs=rngs, mutable=["batch_stats"])[0]

    return run


MEASURED = {
    "mixing": (Mixing(), VECTORS),
    "lifted": (Lifted(), VECTORS),
    "padded": (Padded(), VECTORS),
    "words": (Words(), TOKENS),
    "unseen": (Unseen(), VECTORS),
}


@pytest.mark.parametrize("name", MEASURED)
def test_the_gradient_is_that_of_the_model(name, x64):
    model, x = MEASURED[name][0], jnp.asarray(MEASURED[name][1])
    keys = {"params": jax.random.key(0), "dropout": jax.random.key(1)}
    with jax.numpy_rank_promotion("allow"):
        params = jax.jit(model.init)(keys, x)["params"]
        run = as_function(model, params)

        @jax.jit
        def probe(params: Any) -> Any:
            total = lambda answers: jnp.mean(score(answers))
            valid = jnp.ones((LENGTH, SIZE), bool)
            passed = open_up(run, params, x, score, total, valid, time_major=False)
            seen = backward(passed, jnp.full((SIZE,), 1 / SIZE))
            d_answers = jax.grad(total, allow_int=True)(passed.segments.answers)
            return passed.value, parameter_gradient(passed, seen, d_answers)

        whole = lambda params: jnp.mean(score(run(params, x)))
        value, found = probe(params)
        known, expected = jax.jit(jax.value_and_grad(whole))(params)
    np.testing.assert_allclose(value, known, rtol=1e-12)
    for (path, a), b in zip(
        jax.tree_util.tree_flatten_with_path(found)[0],
        jax.tree.leaves(expected),
        strict=True,
    ):
        np.testing.assert_allclose(a, b, atol=1e-12, err_msg=str(path))
    assert all(np.any(x) for x in jax.tree.leaves(expected) if x.ndim == 2)


def outer(call: Any) -> Any:
    """A recurrence over other steps or examples than the inputs have."""
    return lambda params, x: Alone().apply({"params": params}, call(x))


class Net(nnx.Module):
    def __init__(self, rngs: nnx.Rngs):
        self.rnn = nnx.RNN(nnx.SimpleCell(WIDTH, WIDTH, rngs=rngs))

    def __call__(self, x: Any) -> Any:
        return self.rnn(x)[:, -1]


def merged(params: Any, x: Any) -> Any:
    return nnx.merge(nnx.split(Net(nnx.Rngs(0)))[0], params)(x)


def many(part: Any) -> Any:
    return nn.vmap(part, variable_axes={"params": None}, split_rngs={"params": False})


LATE = {"seq_lengths": LENGTHS, "reverse": True, "keep_order": True}
FLOATS = VECTORS.astype(np.float32)

REFUSED: dict[str, tuple[Any, dict[str, Any], str]] = {
    "pyramid": (outer(lambda x: x[:, ::2]), {}, "'rnn' runs over 3 steps"),
    "examples": (outer(lambda x: x[:1]), {}, "of 1 examples"),
    "order": (Alone(), {"time_major": True}, "see time_major"),
    "two axes": (outer(lambda x: x[:, None]), {}, "inputs of 4 axes"),
    "vmap": (Alone(many(nn.RNN), lambda y: y[:, -1]), {}, "'rnn'.*under vmap"),
    "nnx": (merged, {}, "calls no Recurrent and no RNN.*flax.nnx"),
    "padding": (Alone(show=lambda y: y.mean(1), called=LATE), {}, "seq_lengths"),
    "shape": (Alone(), {"lengths": [6, 6, 6]}, r"shape \(3,\).*2 examples"),
    "beyond": (Alone(), {"lengths": [6, 7]}, "between 0 and 6"),
    "negative": (Alone(), {"lengths": [-1, 6]}, "between 0 and 6"),
    "fraction": (Alone(), {"lengths": [0.5, 6]}, "whole number"),
    "loss": (Alone(show=lambda y: y[:, :3, :1]), {}, "loss gives"),
    "promise": (
        lambda p, x: Mixing().apply({"params": p}, x, mutable=["batch_stats"])[0],
        {"pointwise": True},
        "pointwise=True",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused(name):
    model, options, message = REFUSED[name]
    x = jnp.asarray(FLOATS)
    narrow = lambda tree: jax.tree.map(lambda a: a.astype(jnp.float32), tree)
    with jax.numpy_rank_promotion("allow"):
        made = Mixing() if name == "promise" else Alone()
        params = narrow(made.init(jax.random.key(0), x)["params"])
        if name == "nnx":
            params = nnx.split(Net(nnx.Rngs(0)))[1]
        elif name == "vmap":
            model, x = Alone(many(nn.RNN)), x
            params = params
        options = {"time_major": False, "sections": ("flow",), **options}
        with pytest.raises(UserError, match=message) as caught:
            rnnjax.probe(model, params, x, score, **options)
    assert "\n" not in str(caught.value)
