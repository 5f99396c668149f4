"""Users' models: what the probe finds is what the model as it stands does, or refused.

One table of models. Those that are measured must have the gradient that `jax.grad`
takes of the untouched model, for every parameter; the others end in one sentence.
"""

import re
import warnings
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rnnjax
from rnnjax.analysis.agreement import check
from rnnjax.cells.elman import Elman
from rnnjax.errors import UserError
from rnnjax.probes import log10_norms
from rnnjax.probes.backward.parameter_gradient import parameter_gradient
from rnnjax.probes.backward.trace import backward, open_up
from rnnjax.recurrence.layer import Recurrent


# the models ask for double precision, which some of the tests leave off
pytestmark = pytest.mark.filterwarnings("ignore:Explicitly requested dtype float64")

SIZE, LENGTH, WIDTH = 2, 6, 3
LENGTHS = jnp.asarray([4, 6])
KIND: Any = {"param_dtype": jnp.float64}
TOKENS = np.random.default_rng(2).integers(0, 4, (SIZE, LENGTH))
VECTORS = np.random.default_rng(1).standard_normal((SIZE, LENGTH, WIDTH))


def cell(**options: Any) -> Any:
    return nn.SimpleCell(WIDTH, **KIND, **options)


def rnn(*args: Any, **options: Any) -> Any:
    return nn.RNN(*args, **options)


class Mixing(nn.Module):
    """One recurrence after the other, and between each two what mixes."""

    @nn.compact
    def __call__(self, x):
        rest = rnn(cell(), name="rest")
        y = nn.Conv(WIDTH, (3,), **KIND)(rnn(cell(), name="first")(x)[:, ::-1])
        y = nn.BatchNorm(use_running_average=False, **KIND)(y)
        y = jnp.cumsum(jnp.roll(rest(y), 1, axis=0), axis=1)
        y = y.at[:, 2].add(y[:, 3])  # at no end
        return jnp.max(rest(y + nn.softmax(y @ jnp.swapaxes(y, 1, 2)) @ y), axis=1)


class Lifted(nn.Module):
    """Recurrences under transforms that change nothing; a start that is drawn."""

    @nn.compact
    def __call__(self, x):
        again: Any = nn.remat(nn.RNN)(cell(), name="again")
        compiled: Any = nn.jit(nn.RNN)(cell(), name="compiled")
        y = compiled(again(x))
        y = nn.remat(Recurrent)(
            Elman(WIDTH, WIDTH, jnp.float64, parent=None),
            learn_initial_state=True,
            name="ours",
        )(jnp.swapaxes(y, 0, 1))[0]
        drawn = cell(carry_init=nn.initializers.normal(1.0))
        start = rnn(drawn, unroll=2, time_major=True, name="drawn")
        y = start(y, init_key=jax.random.key(7))
        return jnp.sum(y[-1] * y[0], axis=-1)


class Padded(nn.Module):
    """linen runs on behind the end of an example, and shows what it finds there."""

    @nn.compact
    def __call__(self, x):
        ahead, astern = rnn(cell()), rnn(cell())
        both: Any = nn.Bidirectional(ahead, astern, return_carry=True)
        (end, start), y = both(x, seq_lengths=LENGTHS)
        return end, jnp.argmax(end), start, jnp.mean(y[..., :WIDTH], axis=1)


class Words(nn.Module):
    """Places have an embedding, too, and the read-out has that of the words."""

    @nn.compact
    def __call__(self, tokens):
        words = nn.Embed(4, WIDTH, name="words", **KIND)
        x = words(tokens) + nn.Embed(LENGTH, WIDTH, **KIND)(jnp.arange(LENGTH))
        y = rnn(cell(), reverse=True, name="rnn")(x)
        y = nn.Dropout(0.5, deterministic=False)(y)
        return words.attend(rnn(cell(), name="top")(y)[:, -1])


class Unseen(nn.Module):
    """A recurrence in between that is no RNN."""

    @nn.compact
    def __call__(self, x):
        y = rnn(cell(), name="enc")(x)
        start = cell().initialize_carry(jax.random.key(0), y[:, 0].shape)
        scan: Any = nn.scan(
            nn.SimpleCell,
            variable_broadcast="params",
            split_rngs={"params": False},
            in_axes=1,
            out_axes=1,
        )
        y = scan(WIDTH, name="mid", **KIND)(start, y)[1]
        return rnn(cell(), name="dec")(y)[:, -1]


class Alone(nn.Module):
    """A recurrence of `kind`, and of its outputs what `show` makes of them."""

    kind: Any = nn.RNN
    show: Any = staticmethod(lambda y: y[:, -1])
    called: Any = None

    @nn.compact
    def __call__(self, x):
        return self.show(self.kind(cell(), name="rnn")(x, **(self.called or {})))


def score(answers: Any) -> Any:
    """A loss an example, of all answers that are floating numbers."""
    floats = [x for x in jax.tree.leaves(answers) if x.dtype != jnp.int64]
    return sum(jnp.sum(jnp.reshape(jnp.sin(x), (SIZE, -1)), -1) for x in floats)


def as_function(model: nn.Module) -> Any:
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
        run = as_function(model)

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


class Flipped(nn.Module):
    """What ends the first walk begins the second."""

    @nn.compact
    def __call__(self, x):
        y = rnn(nn.SimpleCell(WIDTH), name="enc")(x)
        return rnn(nn.SimpleCell(WIDTH), name="dec")(y[:, ::-1])[:, -1]


def test_a_mixed_cotangent_below_the_range_of_float32():
    """An adjoint of 10⁻⁷⁰ that enters a reversal beside others of the size of 1."""
    steps = 60
    x = np.random.default_rng(0).standard_normal((SIZE, steps, WIDTH))
    x = jnp.asarray(x, jnp.float32)
    params = jax.tree.map(
        lambda a: 0.1 * a, Flipped().init(jax.random.key(0), x)["params"]
    )

    @jax.jit
    def probe(params: Any) -> Any:
        run = lambda p, x: Flipped().apply({"params": p}, x)
        valid = jnp.ones((steps, SIZE), bool)
        total = lambda y: jnp.mean(score(y))
        passed = open_up(run, params, x, score, total, valid, time_major=False)
        walk = backward(passed, jnp.full((SIZE,), 1 / SIZE)).walks[0]
        return log10_norms(walk, valid)[0]

    def loss(taps: Any, params: Any, x: Any) -> Any:
        for number, key in enumerate(("SimpleCell_0", "SimpleCell_1")):
            own = params[key]

            def step(h: Any, now: Any, own: Any = own) -> Any:
                z = now[0] @ own["i"]["kernel"] + h @ own["h"]["kernel"]
                h = jnp.tanh(z + own["i"]["bias"][None]) + now[1]
                return h, h

            tap = taps if number == 0 else jnp.zeros_like(taps)
            x = jax.lax.scan(step, jnp.zeros((SIZE, WIDTH)), (x, tap))[1][::-1]
        return jnp.mean(score(x[0]))

    with jax.numpy_rank_promotion("allow"):
        found = probe(params)
    with jax.enable_x64(True):
        wide = jax.tree.map(lambda a: jnp.asarray(a, jnp.float64), (params, x))
        inputs = jnp.swapaxes(wide[1], 0, 1)
        expected = jax.jit(jax.grad(loss))(jnp.zeros_like(inputs), wide[0], inputs)
    known = np.log10(np.linalg.norm(expected, axis=-1))
    assert known.min() < -60
    np.testing.assert_allclose(found, known, rtol=0, atol=1e-4)


class Beside(nn.Module):
    """A skip connection, a loop that is no RNN, and padding that is read."""

    held: bool = False

    @nn.compact
    def __call__(self, x):
        y = rnn(nn.SimpleCell(WIDTH), name="rnn")(x, seq_lengths=LENGTHS)
        y = jax.lax.stop_gradient(y) if self.held else y
        add = lambda total, now: (0.5 * total + now, None)
        mixed, _ = jax.lax.scan(add, x[:, 0], jnp.swapaxes(x, 0, 1))
        return jnp.mean(y, axis=1) + mixed


def test_what_passes_by_every_recurrence():
    x = jnp.asarray(FLOATS)
    params = Beside().init(jax.random.key(0), x)["params"]

    def loss(x: Any, held: bool) -> Any:
        return jnp.mean(score(Beside(held).apply({"params": params}, x)))

    options: Any = {"lengths": LENGTHS, "time_major": False, "sections": ("adjoints",)}
    with pytest.warns(UserWarning) as warned:
        seen = rnnjax.probe(Beside(), params, x, score, **options)
    said = " ".join(str(one.message) for one in warned)
    assert "loops over its 6 steps" in said and "bypasses every measured" in said
    value, whole = jax.value_and_grad(loss)(x, False)
    np.testing.assert_allclose(seen.loss, value, rtol=1e-6)
    past = jax.grad(loss)(x, True)
    beside, through = (np.linalg.norm(a) for a in (past, whole - past))
    assert float(seen.bypass) == pytest.approx(beside / (beside + through), rel=1e-5)
    assert "measured recurrence" in seen.bypass.attrs["definition"]


def test_a_loss_that_masks_the_last_step_of_an_example():
    model: Any = rnn(nn.SimpleCell(WIDTH))
    x = jnp.asarray(FLOATS)
    params = model.init(jax.random.key(0), x)["params"]

    def loss(answers: Any) -> Any:
        return jnp.sum(answers**2, -1) * (np.arange(LENGTH) < np.array([[4], [6]]))

    options: Any = {"time_major": False, "sections": ("adjoints",)}
    with pytest.warns(UserWarning, match="in 1 of 2 examples the loss at the last"):
        rnnjax.probe(model, params, x, loss, **options)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rnnjax.probe(model, params, x, loss, lengths=LENGTHS, **options)


def outer(call: Any) -> Any:
    """A recurrence over other steps or examples than the inputs have."""
    return lambda params, x: Alone().apply({"params": params}, call(x))


def within(params: Any, x: Any) -> Any:
    one = lambda x: Alone().apply({"params": params}, x)
    answers: Any = jax.vmap(one)(x[None])
    return answers[0]


def looped(params: Any, x: Any) -> Any:
    one = lambda x, _: (Alone(show=lambda y: y).apply({"params": params}, x), None)
    last: Any = jax.lax.scan(one, x, length=2)[0]
    return last[:, -1]


def doubled(x: Any) -> Any:
    return jnp.concatenate([x, x])


LATE = {"seq_lengths": LENGTHS, "reverse": True, "keep_order": True}
FLOATS = VECTORS.astype(np.float32)

REFUSED: dict[str, tuple[Any, dict[str, Any], str]] = {
    "pyramid": (outer(lambda x: x[:, ::2]), {}, "'rnn' runs over 3 steps"),
    "examples": (outer(doubled), {}, "of 4 examples"),
    "order": (Alone(), {"time_major": True}, "runs over axis 1.*say time_major=False"),
    "steps": (
        Alone(show=lambda y: y),
        {"loss": lambda y: jnp.sum(y, 2).T},
        "see time_major",
    ),
    "two axes": (outer(lambda x: x[:, None]), {}, "inputs with 4 axes"),
    "vmap": (within, {}, "'rnn' is called under vmap"),
    "scan": (looped, {}, "'rnn' is called inside a loop"),
    "padding": (Alone(show=lambda y: y.mean(1), called=LATE), {}, "seq_lengths"),
    "shape": (Alone(), {"lengths": [6, 6, 6]}, r"shape \(3,\).*2 examples"),
    "beyond": (Alone(), {"lengths": [6, 7]}, "between 0 and 6"),
    "negative": (Alone(), {"lengths": [-1, 6]}, "between 0 and 6"),
    "fraction": (Alone(), {"lengths": [0.5, 6]}, "whole number"),
    "loss": (
        Alone(),
        {"loss": lambda y: jnp.mean(y, axis=0)},
        r"loss returns shape \(3,\), not one number",
    ),
    "promise": (Flipped(), {"pointwise": True}, "pointwise=True although"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused(name):
    model, options, message = REFUSED[name]
    x, loss = jnp.asarray(FLOATS), options.get("loss", score)
    params = (Flipped() if name == "promise" else Alone()).init(jax.random.key(0), x)
    params = jax.tree.map(lambda a: a.astype(jnp.float32), params["params"])
    options = {"time_major": False, "sections": ("adjoints",), **options}
    with jax.numpy_rank_promotion("allow"), pytest.raises(UserError) as caught:
        rnnjax.probe(model, params, x, **{"loss": loss, **options})
    assert re.search(message, str(caught.value)) and "\n" not in str(caught.value)


def answer(loss: float, *gradient: Any) -> Any:
    return jnp.asarray(loss), ({"w": jnp.asarray(gradient)},)


@pytest.mark.parametrize(
    ("mine", "known", "shaken", "agrees"),
    [
        ((1.0, 1.0, 2.0), (1.0, 1.00001, 2.0), (1.0, 1.0, 2.0), True),
        ((1.0, 1.0, 2.0), (1.0, 1.01, 2.0), (1.0, 1.01, 2.0), False),
        # a chaotic model: one rounding changes as much
        ((1.0, 1.0, 2.0), (1.2, 1.01, 2.0), (1.1, 0.8, 2.0), True),
        # plain autodiff ends where exponents go on
        ((1.0, 9e30, 2.0), (1.0, np.inf, 2.0), (1.0, np.nan, 2.0), True),
        ((np.nan, 0.0, 2.0), (np.nan, np.nan, np.nan), (np.nan, np.nan, 2.0), True),
        ((1.0, 0.0, 2.0), (np.nan, np.nan, 2.0), (np.nan, np.nan, 2.0), False),
        ((1.0, np.nan, 2.0), (1.0, 1.0, 2.0), (1.0, 1.0, 2.0), False),
        ((1.0, 1e-37, 0.0), (1.0, 0.0, 0.0), (1.0, 0.0, 0.0), True),
    ],
)
def test_what_counts_as_a_difference(mine, known, shaken, agrees):
    answers = iter([answer(*known), answer(*shaken)])
    loss, gradient = answer(*mine)
    args = gradient[0], lambda *_: next(answers), {"w": jnp.ones(2)}, 0, jnp.float32
    if agrees:
        check(loss, *args)
    else:
        with pytest.raises(UserError, match="is off by"):
            check(loss, *args)
