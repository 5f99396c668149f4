"""Interventions against the same program run again in Python, one change at a time."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax import lax
from jax.random import key

import rnnjax
from rnnjax.analysis.interventions import intervene
from rnnjax.cells.gru import GRU
from rnnjax.cells.lstm import LSTM
from rnnjax.errors import UserError
from rnnjax.models.sequence import SequenceModel
from rnnjax.recurrence.layer import Recurrent
from tests.foreign_models import MODELS, B, M, N, T, X, tanh_layer, tanh_params


@pytest.fixture(autouse=True)
def _as_users_write():
    with jax.numpy_rank_promotion("allow"):
        yield


PARAMS = tanh_params(2)
TARGET = np.array([1.0, -0.5, 0.25], np.float32)
"""One for each example."""


def losses(h: Any) -> Any:
    return jnp.sum(jnp.square(h - TARGET[:, None]), -1)


def model(params: Any, xs: Any) -> Any:
    return tanh_layer(params, xs)[-1]


def run_numpy(at: int = -1, change: Any = None) -> tuple[np.ndarray, np.ndarray]:
    """States after each step in float64, and losses of the examples."""
    U, V, b = (np.asarray(PARAMS[k], np.float64) for k in "UVb")
    h, states = np.zeros((B, N)), []
    for t, x in enumerate(np.asarray(X, np.float64)):
        h = np.tanh(h @ U + x @ V + b)
        if t == at:
            h = change(h)
        states.append(h)
    return np.stack(states), np.sum((h - TARGET[:, None]) ** 2, -1)


VALUE = np.linspace(-1, 1, N)


def instead(how: str, states: np.ndarray) -> np.ndarray:
    """Written again: what takes the place of the states ``(T, B, N)``."""
    if how == "zero":
        return 0 * states
    if how == "mean":
        return 0 * states + states.sum(1, keepdims=True) / B
    if how == "swap":
        return states[:, [B - 1, *range(B - 1)]]
    if how == "value":
        return 0 * states + VALUE
    drawn = jax.random.normal(key(5), states.shape)
    return states + np.asarray(drawn) * states.std(1, keepdims=True)


@pytest.mark.parametrize("how", ["zero", "mean", "swap", "noise", "value"])
def test_a_plain_scan_beside_numpy(how: str) -> None:
    value = VALUE if how == "value" else None
    seen = intervene(model, PARAMS, X, losses, how=how, value=value, seed=5)
    states, before = run_numpy()
    new = instead(how, states)
    assert seen.loss == pytest.approx(before.mean(), rel=1e-5)
    one = seen.sel(layer="loop0", array="carry")
    for t in range(T):
        for unit in [*range(N), None]:

            def change(h: np.ndarray, t: int = t, unit: int | None = unit) -> Any:
                at = slice(None) if unit is None else unit
                h = h.copy()
                h[:, at] = new[t, :, at]
                return h

            after = run_numpy(t, change)
            apart = after[1] - before
            where = {"time": t} if unit is None else {"time": t, "unit": unit}
            name = "whole_effect" if unit is None else "effect"
            found = one.sel(where)
            near: Any = {"rtol": 1e-4, "atol": 2e-6}
            each = found[f"{name}_loss_example"]
            np.testing.assert_allclose(each, apart, **near)
            np.testing.assert_allclose(found[f"{name}_loss"], apart.mean(), **near)
            moved = np.sqrt(np.sum((after[0][-1] - states[-1]) ** 2) / B)
            np.testing.assert_allclose(found[f"{name}_output"], moved, **near)
    assert np.abs(seen.effect_loss).max() > 1e-2


@pytest.mark.parametrize("how", ["swap", "value"])
def test_for_a_small_change_the_prediction_is_the_effect(how: str) -> None:
    """In double precision, so that 10⁻⁵ of a state is no rounding."""
    options: Any = {"how": how, "value": 0.5 if how == "value" else None}
    with jax.enable_x64(True):
        given = jax.tree.map(lambda x: jnp.asarray(x, float), (PARAMS, X))
        seen = intervene(model, *given, losses, fraction=1e-5, **options)
        large = intervene(model, *given, losses, **options)
    for name in ("effect_loss", "effect_loss_example", "whole_effect_loss"):
        effect, said = seen[name], seen[f"{name}_predicted"]
        assert np.abs(effect).max() > 1e-6
        np.testing.assert_allclose(said, effect, rtol=1e-3, atol=2e-10)
        np.testing.assert_allclose(1e5 * said, large[f"{name}_predicted"], rtol=1e-6)
        gap = np.abs(large[name] - large[f"{name}_predicted"])
        assert gap.max() > 0.1 * np.abs(large[name]).max()
    # |Δℓ| of each example, then the mean
    each = np.abs(large.effect_loss_example).mean("example")
    np.testing.assert_allclose(large.effect_loss_abs, each)
    assert np.all(each > np.abs(large.effect_loss) - 1e-12)


def test_a_reversed_scan_runs_from_the_last_step_to_the_first() -> None:
    """The carry is no output here, and a step returns what it was before."""

    def loss(xs: Any, alter: Any = lambda t, h: h, loop: bool = True) -> Any:
        step = lambda h, x: (jnp.sin(2 * h) + x, 3 * h)
        if loop:
            last, out = lax.scan(step, jnp.zeros(B), xs, reverse=True)
        else:
            h, outs = jnp.zeros(B), []
            for t in reversed(range(T)):
                h, y = step(h, xs[t])
                h = alter(t, h)
                outs.insert(0, y)
            last, out = h, jnp.stack(outs)
        return jnp.sum(last**2) + jnp.mean(out**2)

    xs = X[..., 0]
    seen = intervene(loss, xs, how="value", value=0.5).isel(layer=0, array=0)
    assert "effect_output" not in seen and "effect_loss_example" not in seen
    before = loss(xs, loop=False)
    for t in range(T):
        put = lambda time, h, t=t: 0 * h + 0.5 if time == t else h
        expected = loss(xs, put, loop=False) - before
        assert seen.whole_effect_loss[t] == pytest.approx(float(expected), rel=1e-4)
        # a state of one number for each example
        assert seen.effect_loss[t, 0] == seen.whole_effect_loss[t]


def test_two_arrays_of_a_linen_lstm() -> None:
    """The carry of linen's cells is (c, h)."""
    cell = nn.OptimizedLSTMCell(N)
    layer = nn.RNN(cell, time_major=True)
    params = layer.init(key(0), X)["params"]
    last = lambda answers: losses(answers[-1])
    step, unit = 4, 2
    seen = intervene(layer, params, X, last, at=step, units=[unit])
    assert seen.array.values.tolist() == ["joint", "carry0", "carry1"]
    assert seen.time.values.tolist() == [step] and seen.unit.values.tolist() == [unit]
    one = seen.isel(layer=0, time=0)

    @jax.jit
    def again(kept: Any) -> Any:
        """c and h after the step are multiplied by these."""
        carry = cell.initialize_carry(key(0), X[0].shape)
        for t in range(T):
            carry, _ = cell.apply({"params": params["cell"]}, carry, X[t])
            if t == step:
                carry = jax.tree.map(jnp.multiply, carry, kept)
        return losses(carry[1])

    ones = np.ones(N, np.float32)
    gap, none = np.where(np.arange(N) == unit, np.float32(0), ones), 0 * ones

    def check(kept: Any, found: Any) -> None:
        apart = again(kept) - again((ones, ones))
        np.testing.assert_allclose(found, apart, rtol=1e-4, atol=1e-6)

    each = one.effect_loss_example.isel(unit=0)
    check((gap, ones), each.sel(array="carry0"))
    check((ones, gap), each.sel(array="carry1"))
    each = one.whole_effect_loss_example
    check((none, ones), each.sel(array="carry0"))
    check((ones, none), each.sel(array="carry1"))
    check((none, none), each.sel(array="joint"))


def test_a_model_of_nnx() -> None:
    cell = nnx.GRUCell(M, N, rngs=nnx.Rngs(0))
    layer = nnx.RNN(cell, time_major=True)
    every = lambda answers: jax.vmap(losses)(answers)  # (T, B)
    seen = intervene(layer, X, every, at=3, units="all", how="mean")
    assert "effect_loss" not in seen

    @jax.jit
    def again(at: int) -> Any:
        h, outs = jnp.zeros((B, N)), []
        for t in range(T):
            h, _ = cell(h, X[t])
            h = jnp.where(t == at, h.mean(0), h)
            outs.append(h)  # the output of the step is its state
        return every(jnp.stack(outs)).mean(0)

    found = seen.whole_effect_loss_example.isel(layer=0, array=0, time=0)
    np.testing.assert_allclose(found, again(3) - again(-1), rtol=1e-4, atol=1e-6)


LENGTHS = jnp.array([T, 5, 7])


class _Stack(nn.Module):
    """Forwards LSTM, then backwards GRU, by the default engine."""

    lengths: Any = None

    @nn.compact
    def __call__(self, x: Any) -> Any:
        x, _ = Recurrent(LSTM(M, N), name="first")(x, self.lengths)
        _, states = Recurrent(GRU(N, N), backwards=True, name="second")(x, self.lengths)
        return states[0]


@pytest.mark.parametrize("lengths", [None, LENGTHS])
def test_our_own_recurrences_by_name(lengths: Any) -> None:
    stack = _Stack(lengths)
    params = stack.init(key(1), X)["params"]
    options: Any = {"units": [1], "at": [2, 6]}
    seen = intervene(stack, params, X, losses, **options)
    assert seen.layer.values.tolist() == ["first", "second"]
    ends = np.full(B, T) if lengths is None else lengths

    @jax.jit
    def again(one: int, two: int) -> Any:
        """A unit of c of the first is zero after step `one`, …"""
        first, second = LSTM(M, N), GRU(N, N)
        state, hs = first.initial_state((B,)), []
        step = lambda cell, p, state, x: cell.apply({"params": p}, state, x)
        for t in range(T):
            new, _ = step(first, params["LSTM_0"], state, X[t])
            state = jax.tree.map(
                lambda a, b, t=t: jnp.where((t < ends)[:, None], a, b), new, state
            )
            gone = jnp.where(t == one, state.c.at[:, 1].set(0), state.c)
            state = state._replace(c=gone)
            hs.append(jnp.where((t < ends)[:, None], state.h, 0))
        h = second.initial_state((B,))
        for t in reversed(range(T)):
            new, _ = step(second, params["GRU_0"], h, hs[t])
            h = jnp.where((t < ends)[:, None], new, h)
            h = jnp.where(t == two, h.at[:, 1].set(0), h)
        return losses(h)

    for layer, array in (("first", "c"), ("second", "h")):
        one = seen.sel(layer=layer, array=array, unit=1).effect_loss_example
        for t in (2, 6):
            apart = again(*((t, -1) if array == "c" else (-1, t))) - again(-1, -1)
            found = one.sel(time=t)
            np.testing.assert_allclose(found, apart, rtol=1e-4, atol=1e-6)
            assert np.all(found.values[np.asarray(t >= ends)] == 0)
            assert np.any(found != 0)


def test_a_sequence_model_has_the_loss_of_its_engine() -> None:
    """The models of runs, with two layers; the later one is not run again."""
    net = SequenceModel(LSTM(0, N), output_size=2, input_size=M, layers=2)
    params = net.init(key(2), X)["params"]
    both = lambda y: jnp.sum(jnp.square(y), -1)
    seen = intervene(net, params, X, both, at=T - 1, units="all", array="h")
    answers: Any = net.apply({"params": params}, X)
    assert seen.loss == pytest.approx(float(both(answers).mean()), rel=1e-5)
    assert seen.layer.values.tolist() == ["stack_0_0", "stack_1_0"]
    bias = params["head"]["bias"]
    zeroed = both(bias)[None] - both(answers)
    found = seen.whole_effect_loss_example.sel(layer="stack_1_0").isel(array=0, time=0)
    np.testing.assert_allclose(found, zeroed, rtol=1e-4, atol=1e-6)


def test_arrays_of_different_widths_have_their_own_units() -> None:
    def loss(xs: Any) -> Any:
        step = lambda c, x: ((jnp.sin(c[0]) + x, c[1] + jnp.sum(c[0], -1)), None)
        wide, narrow = lax.scan(step, (jnp.zeros((B, M)), jnp.zeros(B)), xs)[0]
        return jnp.sum(wide, -1) + narrow

    seen = intervene(loss, X, how="value", value=0.0).isel(layer=0).effect_loss
    assert seen.sel(array="carry1").notnull().sum("time").values.tolist() == [T] + 4 * [
        0
    ]
    assert bool(seen.sel(array="carry0").notnull().all())
    # the last step alone: what is left out of the loss
    last = np.asarray(lax.scan(lambda c, x: (jnp.sin(c) + x, None), X[0] * 0, X)[0])
    found = seen.sel(array="carry0").isel(time=-1)
    np.testing.assert_allclose(found, -last.mean(0), rtol=1e-4, atol=1e-6)


def test_rounding_is_told_from_an_effect() -> None:
    """A state that is forgotten in float32, beside what float64 says of it."""

    def forgets(xs: Any) -> Any:
        step = lambda h, x: (0.02 * jnp.sin(h) + x, None)
        return jnp.sum(jnp.square(lax.scan(step, 0 * xs[0], xs)[0] + 1), -1)

    seen = intervene(forgets, X, how="value", value=0.7).isel(layer=0, array=0)
    with jax.enable_x64(True):
        exact = intervene(forgets, jnp.asarray(X, float), how="value", value=0.7)
    error = np.abs(seen.effect_loss_abs - exact.effect_loss_abs.isel(layer=0, array=0))
    rounding = float(seen.effect_rounding)
    assert 0.01 * rounding < error.max() < 2 * rounding
    assert np.all(seen.effect_loss_abs[:4] < rounding)
    assert np.all(seen.effect_loss_abs[-1] > 1e4 * rounding)


def test_what_cannot_matter_has_an_effect_of_exactly_zero() -> None:
    """Past the step that is read, with more changes than go side by side."""
    early = lambda p, xs: tanh_layer(p, xs)[4]
    seen = intervene(early, PARAMS, X, losses, how="value", value=7.0)
    effect = np.abs(seen.effect_loss_example.isel(layer=0, array=0))
    assert np.all(effect[5:] == 0) and np.all(effect[4] > 1e-3)


def test_outputs_that_are_the_state_reach_a_later_loop() -> None:
    """An encoder whose states are constants of a decoder, changed in both places."""
    loss, (p, xs) = MODELS["encoder_and_decoder_that_attends"]()
    seen = intervene(loss, p, xs, at=2, units="all").whole_effect_loss.isel(array=0)

    def decoded(hs: Any, at: int = -1) -> Any:
        h, outs = hs[-1], []
        for t in range(5):
            weights = jax.nn.softmax(jnp.einsum("tbi,bi->tb", hs, h), axis=0)
            h = jnp.tanh(h @ p[1]["U"] + jnp.einsum("tb,tbi->bi", weights, hs))
            h = 0 * h if t == at else h
            outs.append(h @ p[1]["V"])  # computed in the step, of the changed state
        return jnp.mean(jnp.sum(jnp.square(jnp.stack(outs)), -1))

    hs = tanh_layer(p[0], xs)
    start = jnp.zeros((1, B, N))
    changed = jnp.concatenate([hs[:2], start, tanh_layer(p[0], xs[3:])])
    apart = np.array([decoded(changed), decoded(hs, 2)]) - decoded(hs)
    np.testing.assert_allclose(seen.isel(time=0), apart, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("label", ["bidirectional_pair", "matrix_state", "nested_scan"])
def test_wherever_a_loop_is(label: str) -> None:
    """In reverse; a state of several axes, under `vmap`; with a loop in its step."""
    loss, args = MODELS[label]()
    seen = intervene(loss, *args, at=1, units=[0, 3])
    assert float(seen.loss) == pytest.approx(float(loss(*args)), rel=1e-5)
    assert np.all(np.abs(seen.effect_loss) > 0)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"how": "zeros"}, "unknown how 'zeros'; did you mean zero?"),
        ({"how": "value"}, "how='value' needs value="),
        ({"value": 1.0}, "how='zero' takes no value="),
        ({"layer": "loop1"}, "unknown layer 'loop1'; did you mean loop0?"),
        ({"array": "carry1"}, "unknown array 'carry1'; did you mean carry?"),
        ({"at": T}, f"at={T}: loop0 has 0 to {T - 1}"),
        ({"at": -1}, "at=-1: loop0 has 0 to"),
        ({"at": 0.5}, "at=0.5 must be a whole number"),
        ({"units": [0, N]}, f"units=[0, {N}]: loop0 has 0 to {N - 1}"),
        ({"units": "al"}, "units='al' must be a whole number"),
        ({"how": "value", "value": np.zeros(7)}, "does not broadcast to the states"),
        ({"how": "value", "value": 1j}, "value is complex"),
    ],
)
def test_what_is_wrong_is_said(options: Any, words: str) -> None:
    with pytest.raises(UserError) as caught:
        intervene(model, PARAMS, X, losses, **options)
    assert words in str(caught.value)


def test_other_examples_and_losses_are_needed() -> None:
    one = lambda p, xs: jnp.sum(tanh_layer(p, xs)[-1])
    with pytest.raises(UserError, match="no examples are told apart"):
        intervene(one, PARAMS, X[:, :1, :].squeeze(1), how="swap")
    with pytest.raises(UserError, match="no lax.scan"):
        intervene(lambda x: jnp.sum(x), X)
    with pytest.raises(UserError, match="must be one array of real numbers"):
        intervene(lambda p, xs: (one(p, xs), 1.0), PARAMS, X)
    with pytest.raises(UserError, match="takes a model or a loss, not int"):
        intervene(3, X)
    assert rnnjax.intervene is intervene


def test_the_state_of_an_associative_scan_is_changed_as_that_of_a_loop() -> None:
    """h_t = a h_{t−1} + b_t, in a branch; without h_t, a^{T−1−t} h_t is missing."""
    a, b = 0.8, X[..., :N]

    def loss(b: Any) -> Any:
        join = lambda x, y: (y[0] * x[0], y[0] * x[1] + y[1])
        scan = lambda: lax.associative_scan(join, (jnp.full_like(b, a), b))[1][-1]
        return jnp.sum(lax.cond(b[0, 0, 0] < 9, scan, lambda: b[0]))

    found = rnnjax.intervene(loss, b, array="carry1", units="all")
    h, states = np.zeros((B, N)), []
    for x in np.asarray(b, np.float64):
        h = a * h + x
        states.append(h.sum())
    steps = np.arange(1, T)  # the state before the first step is the first element
    expected = -(a ** (T - 1 - steps)) * np.array(states)[steps]
    effect = found.whole_effect_loss.sel(layer="loop0", array="carry1")
    np.testing.assert_allclose(effect, expected, rtol=1e-4, atol=1e-5)
