"""Back-propagation that is changed on purpose: cut at a lag, or kept at one norm."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnjax.cells import LSTM, Elman
from rnnjax.errors import UserError
from rnnjax.models.objective import objective, per_example
from rnnjax.probes.backward.walk import first_state
from rnnjax.recurrence.backprop_rules import renormalise
from rnnjax.recurrence.functional import call
from rnnjax.recurrence.layer import Recurrent
from tests.probe_models import batch_of, model_of, parameters, spec_of
from tests.recurrence_samples import normwise, quick_jit


LENGTH, LENGTHS = 4, [4, 2, 1]
LAGS = (0, 2, 4)

MODELS = [
    # cell, readout, fields of the model
    ("elman", "last", {"learn_initial_state": True}),
    pytest.param("lstm", "every", {"layers": 2}, marks=pytest.mark.slow),
    pytest.param("lru", "every", {}, marks=pytest.mark.slow),
    pytest.param(
        *("gru", "every", {"layers": 2, "bidirectional": True}), marks=pytest.mark.slow
    ),
]


def unrolled_loss(model, spec, params, batch, lag):
    """The loss of a batch, example by example in a plain loop with `stop_gradient`."""
    bound = model.bind({"params": params})
    total = 0.0
    for b, length in enumerate(LENGTHS):
        x: list[Any] = [bound.encode(batch.inputs[t, b][None]) for t in range(length)]
        boundary = length - 1 - lag
        for walks in bound.stack:
            columns = []
            for recurrent in walks:
                cell, weights = recurrent.weights()
                state, outputs = first_state(recurrent, 1), [None] * length
                order = range(length)
                for t in reversed(order) if recurrent.backwards else order:
                    came_from = t + 1 if recurrent.backwards else t - 1
                    if {came_from, t} == {boundary - 1, boundary}:
                        state = jax.lax.stop_gradient(state)
                    drive = call(cell, weights, "readin", x[t])[0]
                    state = call(cell, weights, "step", state, drive)[0]
                    outputs[t] = call(cell, weights, "readout", state, drive)[0]
                columns.append(outputs)
            x = [jnp.concatenate(row, axis=-1) for row in zip(*columns, strict=True)]
        answers = bound.head(jnp.stack(x))
        one = jax.tree.map(lambda a, b=b: a[..., b, None], batch)
        if spec.readout == "last":
            total += per_example(spec, answers[-1], one)[0][0] / len(LENGTHS)
        else:
            short = one.replace(targets=one.targets[:length], mask=one.mask[:length])
            losses, _ = per_example(spec, answers, short)
            total += jnp.sum(losses * short.mask) / jnp.sum(batch.mask)
    return total


@pytest.mark.parametrize(("cell", "readout", "fields"), MODELS)
def test_a_cut_is_a_constant_state(cell, readout, fields, x64):
    batch, spec = batch_of(readout, LENGTH, LENGTHS), spec_of(readout, LENGTH)
    model = model_of(cell, dtype=jnp.float64, readout=readout, **fields)
    params = parameters(model, batch)

    def loss(params, **rule):
        answers: Any = model.clone(**rule).apply(
            {"params": params}, batch.inputs, batch.lengths
        )
        return objective(spec, answers, batch)[0]

    @quick_jit
    def gradients(params, lags):
        def cut(lag):
            return jax.value_and_grad(loss)(params, backprop="cut", lag=lag)

        whole = jax.value_and_grad(loss)(params)
        unrolled = [
            jax.value_and_grad(lambda p, k=k: unrolled_loss(model, spec, p, batch, k))(
                params
            )
            for k in LAGS
        ]
        return whole, jax.lax.map(cut, lags), unrolled

    whole, cut, unrolled = gradients(params, jnp.array(LAGS))
    for i, lag in enumerate(LAGS):
        found = jax.tree.map(lambda x, i=i: x[i], cut)
        assert normwise(found, unrolled[i]) < 1e-13, lag
        np.testing.assert_allclose(found[0], whole[0], rtol=1e-14)
        distance = normwise(found[1], whole[1])
        assert distance < 1e-13 if lag >= LENGTH else distance > 1e-3, (lag, distance)


STEPS, SIZE, N = 8, 4, 5
SPANS = np.array([8, 5, 1, 0], np.int32)


@functools.cache
def adjoints(kind: type) -> Any:
    """(tapped adjoints, gradient of the variables) by rule for a loss at the end."""
    cell = kind(inputs=3, features=N)
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(STEPS, SIZE, 3)), jnp.float32)
    weight = jnp.asarray(rng.normal(size=(SIZE, N)), jnp.float32)
    layer = Recurrent(cell)
    variables = layer.init(jax.random.key(0), x)

    @quick_jit
    def run(variables: Any) -> Any:
        shapes = jax.eval_shape(lambda v: layer.apply(v, x)[1], variables)
        taps = {"states": jax.tree.map(jnp.zeros_like, shapes), "seams": None}

        def loss(taps: Any, params: Any, **rule: Any) -> Any:
            tapped = {"params": params, "taps": taps}
            _, states = layer.clone(**rule).apply(tapped, x, jnp.asarray(SPANS))
            last = jax.tree.leaves(states)[0][-1]  # the state is held on padding
            # small enough for a square to underflow
            return 1e-30 * jnp.sum(weight * last), states

        def gradient(**rule: Any) -> Any:
            both = jax.grad(loss, (0, 1), has_aux=True)
            (taps_, params), states = both(taps, variables["params"], **rule)
            return taps_["states"], params, states

        return {
            "exact": gradient(),
            "cut": gradient(backprop="cut", lag=jnp.array(3)),
            "plain cut": gradient(backprop="cut", lag=3, engine="plain"),
            "renormalise": gradient(backprop="renormalise"),
        }

    return layer, variables, x, weight, jax.tree.map(np.asarray, run(variables))


def wide(tree: Any) -> Any:
    return jax.tree.map(lambda a: np.asarray(a, np.float64), tree)


def joint(tree: Any) -> np.ndarray:
    return np.concatenate(jax.tree.leaves(tree), axis=-1).astype(np.float64)


@pytest.mark.parametrize("kind", [Elman, LSTM])
def test_states_do_not_depend_on_the_rule(kind):
    *_, found = adjoints(kind)
    bound = 4 * np.finfo(np.float32).eps  # loops that are compiled apart
    for rule in found:
        assert normwise(found[rule][2], found["exact"][2]) < bound, rule


@pytest.mark.parametrize("kind", [Elman, LSTM])
def test_the_adjoint_ends_at_the_lag_of_the_cut(kind):
    *_, found = adjoints(kind)
    exact, cut = joint(found["exact"][0]), joint(found["cut"][0])
    lag = (SPANS - 1)[None] - np.arange(STEPS)[:, None]
    near, far = lag <= 3, lag > 3
    np.testing.assert_allclose(cut[near], exact[near], rtol=1e-6)
    assert np.all(cut[far] == 0) and np.all(np.abs(exact[far]).max(-1) > 0)
    assert normwise(wide(found["plain cut"][1]), wide(found["cut"][1])) < 1e-6


@pytest.mark.parametrize("kind", [Elman, LSTM])
def test_a_renormalised_adjoint_keeps_its_norm_and_the_exact_direction(kind):
    *_, found = adjoints(kind)
    exact, kept = joint(found["exact"][0]), joint(found["renormalise"][0])
    size = np.linalg.norm(kept, axis=-1)
    size_exact = np.linalg.norm(exact, axis=-1)
    for b, span in enumerate(SPANS):
        lagged = slice(0, span)
        if not span:
            assert np.array_equal(kept[:, b], exact[:, b])
            continue
        np.testing.assert_allclose(size[lagged, b], size_exact[span - 1, b], rtol=3e-6)
        cosine = np.sum(kept * exact, -1)[lagged, b] / (size * size_exact)[lagged, b]
        np.testing.assert_allclose(cosine, 1.0, rtol=1e-6)
    assert size_exact[0, 0] < 0.2 * size_exact[7, 0]  # else there is nothing to keep


def test_a_renormalised_gradient_by_hand():
    layer, variables, x, weight, found = adjoints(Elman)
    params = jax.tree.map(lambda p: np.asarray(p, np.float64), variables["params"])
    V, U, b = (params["cell"][k] for k in ("V", "U", "b"))
    expected = {name: np.zeros_like(p) for name, p in params["cell"].items()}
    for i, span in enumerate(SPANS):
        states = [np.zeros(N)]
        for t in range(span):
            states.append(np.tanh(np.asarray(x)[t, i] @ V + states[-1] @ U + b))
        adjoint = 1e-30 * np.asarray(weight, np.float64)[i]
        size = np.linalg.norm(adjoint)
        for t in reversed(range(span)):
            delta = adjoint * (1 - states[t + 1] ** 2)
            expected["V"] += np.outer(np.asarray(x)[t, i], delta)
            expected["U"] += np.outer(states[t], delta)
            expected["b"] += delta
            adjoint = U @ delta
            adjoint *= size / np.linalg.norm(adjoint)
    assert normwise(wide(found["renormalise"][1]["cell"]), expected) < 1e-5
    assert normwise(wide(found["exact"][1]["cell"]), expected) > 0.1


def test_an_adjoint_of_zero_stays_zero():
    zero = jnp.zeros((3, 2), jnp.float32)
    entering = jnp.array([[3.0, 4.0], [2e-38, 0.0], [0.0, 0.0]])
    leaving = {"a": zero, "b": jnp.array([[0.0, 0.0], [0.0, 1e-30], [0.0, 0.0]])}
    found, log2 = jax.jit(renormalise)(leaving, {"a": entering, "b": zero})
    np.testing.assert_array_equal(found["a"], zero)
    expected = [[0, 0], [0, 2e-38], [0, 0]]
    np.testing.assert_allclose(found["b"], expected, rtol=1e-5)
    np.testing.assert_allclose(log2, [0, np.log2(2e-38 / 1e-30), 0], rtol=1e-5)


def test_a_dead_network_has_a_gradient_of_numbers():
    layer = Recurrent(Elman(inputs=3, features=N, activation="relu"))
    x = jnp.ones((STEPS, SIZE, 3))
    variables = layer.init(jax.random.key(0), x)
    low = {**variables["params"]["cell"], "b": jnp.full((N,), -100.0)}
    rule = layer.clone(backprop="renormalise")
    gradient = quick_jit(jax.grad(lambda v: jnp.sum(rule.apply(v, x)[0])))(
        {"params": {"cell": low}}
    )
    assert all(np.all(np.asarray(g) == 0) for g in jax.tree.leaves(gradient))


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"backprop": "cut"}, "backprop=cut needs a lag"),
        ({"lag": 3}, "backprop=exact takes no lag; it belongs to cut"),
        ({"backprop": "renormalize"}, "did you mean renormalise?"),
        ({"backprop": "renormalise", "engine": "plain"}, "use engine=scan"),
    ],
)
def test_what_does_not_fit_is_refused(fields, sentence):
    layer = Recurrent(Elman(inputs=3, features=N), **fields)
    with pytest.raises(UserError, match=sentence.replace("?", r"\?")):
        jax.eval_shape(layer.init, jax.random.key(0), jnp.ones((2, 1, 3)))


@pytest.mark.parametrize("engine", ["scan", "plain"])
def test_both_directions_are_cut_between_the_same_steps(engine):
    """From step s − K on nothing is reached from before, in either direction."""
    lag, spans = 2, jnp.array([6, 4, 2])
    x = jnp.asarray(np.random.default_rng(5).standard_normal((6, 3, 3)), jnp.float32)
    cell = Elman(inputs=3, features=N)
    for backwards in (False, True):
        layer = Recurrent(cell, backwards, engine, backprop="cut", lag=lag)
        variables = layer.init(jax.random.key(0), x)

        def end(x: Any, layer: Any = layer, variables: Any = variables) -> Any:
            return jnp.sum(layer.apply(variables, x, spans, last=True)[0])

        reached = np.abs(np.asarray(jax.grad(end)(x))).max(-1) > 0
        for b, span in enumerate(spans.tolist()):
            later = np.arange(6) >= span - 1 - lag
            own = np.arange(6) < span
            # the end of the backward walk is step 0
            expected = own & (~later if backwards else later)
            if backwards and not expected.any():
                expected = own  # nothing lies before the cut
            assert np.array_equal(reached[:, b], expected), (backwards, b)
