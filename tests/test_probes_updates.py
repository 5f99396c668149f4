"""Monitors of parameter gradients: updates, truncation bias, sensitivity of a state."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from rnnjax.clipping import clip
from rnnjax.models.objective import objective
from rnnjax.probes.updates.monitor import PerArray, monitor, update_ratio
from rnnjax.probes.updates.sensitivity import sensitivity
from rnnjax.probes.updates.truncation import truncation_bias
from rnnjax.training.build import initial_params
from tests.probe_models import batch_of, model_of, parameters, spec_of
from tests.recurrence_samples import quick_jit
from tests.training_samples import tiny, train


LENGTH, LENGTHS = 5, [5, 3, 1]


# -- updates -----------------------------------------------------------------------


def two_arrays(seed: int) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    kernel = rng.normal(size=(3, 2)).astype(np.float32)
    return {"kernel": kernel, "bias": rng.normal(size=4).astype(np.float32)}


def norm(x: Any) -> float:
    return float(np.sqrt(sum(np.sum(np.square(np.float64(a))) for a in x)))


@pytest.mark.parametrize(
    ("clipping", "threshold"), [("norm", 0.5), ("value", 0.7), ("none", 0.0)]
)
def test_figures_of_an_update_against_numpy(clipping, threshold):
    params, gradient = two_arrays(0), two_arrays(1)

    @jax.jit
    def run(params, gradient):
        used = clip(clipping, jnp.float32(threshold), gradient)
        rule = optax.adam(1e-2)
        updates, _ = rule.update(used, rule.init(params), params)
        return used, updates, monitor(gradient, used, updates, params)

    used, updates, found = run(params, gradient)
    moved = {k: np.asarray(used[k]) != gradient[k] for k in params}
    links = {"gradient": gradient, "used": used, "update": updates, "weight": params}
    for name, tree in links.items():
        figure: PerArray = getattr(found, name)
        for key in params:
            assert figure.arrays[key] == pytest.approx(norm([tree[key]]), rel=1e-6)
        assert figure.joint == pytest.approx(norm(tree.values()), rel=1e-6)
    for key in params:
        ratio = norm([updates[key]]) / norm([params[key]])
        assert found.ratio.arrays[key] == pytest.approx(ratio, rel=1e-6)
        share = moved[key].mean()
        assert found.clipped.arrays[key] == pytest.approx(share)
    ratio = norm(updates.values()) / norm(params.values())
    assert found.ratio.joint == pytest.approx(ratio, rel=1e-6)
    assert update_ratio(updates, params) == pytest.approx(ratio, rel=1e-6)
    share = np.concatenate([m.ravel() for m in moved.values()]).mean()
    assert found.clipped.joint == pytest.approx(share)
    expected = {
        "norm": share == 1,
        "value": 0 < share < 1,
        "none": share == 0,
    }
    assert expected[clipping]


def test_ratios_at_the_edges():
    zero, one = jnp.zeros(2), jnp.ones(2)
    assert update_ratio(zero, zero) == 0 and update_ratio(zero, one) == 0
    assert update_ratio(one, zero) == np.inf
    # squares overflow long before the norms do
    assert update_ratio(1e30 * one, 1e33 * one) == pytest.approx(1e-3)
    found = monitor(one * jnp.nan, one, one, one)
    assert found.clipped.joint == 1 and np.isnan(found.gradient.joint)


def test_the_metrics_hold_the_ratio_of_each_update():
    run = tiny(log_every=1, steps=3)
    (outcome,) = train(run)
    states = [initial_params(run)]
    states += [train(tiny(log_every=1, steps=k))[0].params for k in (1, 2, 3)]
    for k in range(3):
        change = jax.tree.map(lambda a, b: a - b, states[k + 1], states[k])
        ratio = norm(jax.tree.leaves(change)) / norm(jax.tree.leaves(states[k]))
        assert outcome.metrics["update_ratio"][k] == pytest.approx(ratio, rel=1e-4)


# -- truncation --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cell", "readout"),
    [pytest.param("gru", "last", marks=pytest.mark.slow), ("lstm", "every")],
)
def test_truncation_bias_against_single_gradients(cell, readout, x64):
    batch, spec = batch_of(readout, LENGTH, LENGTHS), spec_of(readout, LENGTH)
    model = model_of(cell, dtype=jnp.float64, readout=readout)
    params = parameters(model, batch)
    lags = [0, 2, 4, 5, 100]

    def loss(params, rule):
        answers = rule.apply({"params": params}, batch.inputs, batch.lengths)
        return objective(spec, answers, batch)[0]

    @quick_jit
    def run(params, lags):
        # the plain engine: the constant by autodiff of the scan itself
        rules = [model.clone(engine="plain", backprop="cut", lag=k) for k in (0, 2, 4)]
        plain = model.clone(engine="plain")
        gradients = [jax.grad(loss)(params, rule) for rule in (*rules, plain)]
        return truncation_bias(model, params, batch, spec, lags), gradients

    found, (*cuts, whole) = run(params, jnp.array(lags))
    assert found.lags.tolist() == lags
    arrays = jax.tree.leaves(found.arrays)
    for i in range(len(lags)):
        cut = cuts[i] if i < 3 else whole
        pairs = zip(jax.tree.leaves(cut), jax.tree.leaves(whole), strict=True)
        missing = [np.asarray(a) - np.asarray(b) for a, b in pairs]
        bias = norm(missing) / norm(jax.tree.leaves(whole))
        assert found.joint[i] == pytest.approx(bias, rel=1e-10, abs=1e-14)
        for array, one, all_ in zip(
            arrays, missing, jax.tree.leaves(whole), strict=True
        ):
            bias = norm([one]) / norm([all_])
            assert array[i] == pytest.approx(bias, rel=1e-9, abs=1e-14)
    assert found.joint[1] > 0.01 and np.all(np.asarray(found.joint[3:]) < 1e-14)
    assert np.all(np.asarray(found.arrays["head"]["kernel"]) < 1e-14)


# -- sensitivity -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cell", "layer", "at", "fields"),
    [
        pytest.param("lstm", -1, None, {"layers": 2}, marks=pytest.mark.slow),
        pytest.param("lru", 0, 2, {}, marks=pytest.mark.slow),
    ],
)
def test_sensitivity_against_the_whole_jacobian(cell, layer, at, fields, x64):
    batch = batch_of("last", LENGTH, LENGTHS)
    model = model_of(cell, features=3, dtype=jnp.float64, **fields)
    params = parameters(model, batch)
    plain = model.clone(engine="plain")
    samples = 400

    def last_state(params):
        def run(bound):
            x, states = bound.encode(batch.inputs), []
            for number in range(bound.layers):
                x, states = bound.run_layer(number, x, batch.lengths)
            return states[0]

        states = jax.tree.leaves(plain.apply({"params": params}, method=run))
        last = [x[LENGTH - 1 if at is None else at] for x in states]
        parts = [p for x in last for p in (x.real, x.imag)[: 1 + jnp.iscomplexobj(x)]]
        return jnp.concatenate(parts, axis=-1)  # (B, N)

    @quick_jit
    def run(params, step):
        options = {"layer": layer, "at": step}
        exact = sensitivity(model, params, batch, **options)
        estimate = sensitivity(
            model, params, batch, **options, samples=samples, key=jax.random.key(1)
        )
        return exact, estimate, jax.jacfwd(last_state)(params)

    step = jnp.array(LENGTH - 1 if at is None else at)
    exact, estimate, jacobian = run(params, step)
    leaves = [jax.tree.leaves(t) for t in (exact.mean, exact.examples, jacobian)]
    reached = 0
    for mean, examples, whole in zip(*leaves, strict=True):
        expected = np.sum(np.square(np.asarray(whole).reshape(3, -1)), axis=1)
        np.testing.assert_allclose(examples, expected, rtol=1e-10)
        assert mean == pytest.approx(np.mean(expected), rel=1e-10)
        reached += bool(np.all(expected > 0))
    assert reached >= 4  # of the arrays; the readout has none
    assert np.all(np.asarray(exact.mean["head"]["kernel"]) == 0)
    assert all(np.all(np.asarray(e) == 0) for e in jax.tree.leaves(exact.error))
    deviations = []
    for mean, guess, error in zip(
        *(jax.tree.leaves(t) for t in (exact.mean, estimate.mean, estimate.error)),
        strict=True,
    ):
        if mean > 0:
            assert 0 < error < 0.2 * mean
            deviations.append(float((guess - mean) / error))
    assert np.max(np.abs(deviations)) < 4 and np.std(deviations) > 0.05


def test_every_example_has_signs_of_its_own():
    """The error assumes it: equal examples must have unequal estimates."""
    batch = batch_of("last", 4, [4])
    twice = jax.tree.map(
        lambda x: jnp.concatenate([x, x], axis=min(x.ndim - 1, 1)), batch
    )
    model = model_of("elman", features=3)
    params = parameters(model, batch)
    found = sensitivity(model, params, twice, samples=2, key=jax.random.key(1))
    exact = sensitivity(model, params, twice)
    reached = 0
    for estimate, value in zip(
        *map(jax.tree.leaves, (found.examples, exact.examples)), strict=True
    ):
        np.testing.assert_allclose(value[0], value[1], rtol=1e-6)
        if value[0] > 0:
            reached += 1
            assert estimate[0] != estimate[1]
    assert reached >= 3


def test_an_estimate_of_nothing_is_refused():
    batch = batch_of("last", 2, [2])
    model = model_of("elman")
    for samples, key in ((1, jax.random.key(0)), (4, None)):
        with pytest.raises(ValueError, match="at least 2 samples and a key"):
            sensitivity(model, {}, batch, samples=samples, key=key)
