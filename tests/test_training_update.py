"""One update: the rule, the clipping, what is compiled, and runs that diverge."""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from rnnjax.clipping import clip, global_norm
from rnnjax.models.objective import objective
from rnnjax.training.build import (
    build_hyper,
    build_model,
    build_task,
    initial_params,
    signature,
)
from rnnjax.training.compiled import OPTIONS, Compiled
from rnnjax.training.config import (
    ClippingConfig,
    InitConfig,
    RunConfig,
)
from rnnjax.training.hyper import Hyper
from rnnjax.training.keys import TRAIN_DATA, key_for
from rnnjax.training.optimizers import SGD as PlainSGD
from rnnjax.training.optimizers import Adam, Momentum, RMSProp
from rnnjax.training.pack import run_mesh
from tests.recurrence_samples import rows
from tests.training_samples import CAPACITY, differing, tiny, train, trained, training


LR = 0.05
NONE = ClippingConfig("none")
SGD: dict[str, Any] = {
    "activation": "relu",
    "optimizer": PlainSGD(),
    "clipping": NONE,
}


# the last bit of a gradient depends on how far its program is optimised
as_trained = partial(jax.jit, compiler_options=dict(OPTIONS["chunk"]))


def gradients(config: RunConfig) -> Callable[[Any, int], Any]:
    """The gradient of a run's loss at (parameters, update), by plain `jax.grad`."""
    task, data = build_task(config.task, config.task_options)
    spec, hyper = task.spec(data), build_hyper(config)
    model = build_model(config, spec)

    @as_trained
    def gradient(params: Any, update: Any) -> Any:
        batch = task.sample(key_for(hyper, TRAIN_DATA, update), config.batch, data)

        def loss(params: Any) -> Any:
            answers: Any = model.apply({"params": params}, batch.inputs, batch.lengths)
            return objective(spec, answers, batch)[0]

        return jax.grad(loss)(params)

    return gradient


def flat(tree: Any) -> np.ndarray:
    return np.concatenate([np.ravel(x) for x in jax.tree.leaves(tree)])


def test_sgd_is_w_minus_eta_g():
    config = tiny(**SGD, steps=1)
    start = initial_params(config)
    gradient = gradients(config)(start, 0)
    (outcome,) = train(config)
    w, g, found = flat(start), flat(gradient), flat(outcome.params)
    exact = w.astype(np.float64) - np.float64(np.float32(LR)) * g.astype(np.float64)
    # w − η g is rounded once or twice, and g, which another program computes here, to
    # the precision of the largest of the terms that are added up for it.
    epsilon = np.finfo(np.float32).eps
    bound = epsilon * (np.abs(exact) + LR * np.abs(g).max())
    assert np.all(np.abs(found - exact) <= bound)
    assert np.mean(found != w) > 0.25  # the embedding of an absent word stays
    assert outcome.metrics["grad_norm"][0] == pytest.approx(np.linalg.norm(g), rel=1e-6)


def numbers_of(hyper: Hyper, names: str) -> list[Any]:
    return [hyper.optimizer[name] for name in names.split()]


# Ours, and optax's own with the learning rate as a constant. Its decays are arrays, as
# in the program: optax forms 1 − b of a Python number in double precision.
RULES: dict[str, tuple[dict[str, Any], Callable[[Hyper], Any]]] = {
    "sgd": (SGD, lambda h: optax.sgd(LR)),
    "momentum": (
        {"optimizer": Momentum(), "clipping": NONE},
        lambda h: optax.sgd(LR, momentum=0.9),
    ),
    "adam": (
        {},
        lambda h: optax.adam(
            LR, h.optimizer["b1"], h.optimizer["b2"], h.optimizer["eps"]
        ),
    ),
    "rmsprop": (
        {
            "optimizer": RMSProp(),
            "clipping": ClippingConfig("value", 0.01),
        },
        lambda h: optax.rmsprop(LR, *numbers_of(h, "decay eps")),
    ),
    "rmsprop_outside": (
        {
            "optimizer": RMSProp(eps=1e-3, eps_in_sqrt=False, initial_scale=1.0),
            "clipping": NONE,
        },
        lambda h: optax.rmsprop(
            LR,
            h.optimizer["decay"],
            h.optimizer["eps"],
            h.optimizer["initial_scale"],
            eps_in_sqrt=False,
        ),
    ),
}


@pytest.mark.parametrize("name", rows(RULES, ("sgd", "adam", "rmsprop")))
def test_rules_are_those_of_optax(name):
    changes, rule = RULES[name]
    config = tiny(**changes, steps=5)
    params, hyper = initial_params(config), build_hyper(config)
    gradient = gradients(config)

    def updater(rule: Callable[[Hyper], Any]) -> Callable[..., Any]:
        @as_trained
        def update(gradient: Any, state: Any, params: Any, hyper: Hyper) -> Any:
            used = clip(config.clipping.name, hyper.threshold, gradient)
            updates, state = rule(hyper).update(used, state, params)
            return optax.apply_updates(params, updates), state

        return update

    def ours(hyper: Hyper) -> Any:
        rule = config.optimizer.with_numbers(hyper.optimizer)
        return rule.transformation(hyper.lr)

    update, same = updater(rule), updater(ours)
    state, own_state = rule(hyper).init(params), ours(hyper).init(params)
    own = params
    for step in range(5):
        now = gradient(params, step)
        params, state = update(now, state, params, hyper)
        own, own_state = same(now, own_state, own, hyper)
        assert differing(own, params) == [], step
    (outcome,) = train(config)
    # Compiled in one piece with the gradient, where sums may be fused otherwise.
    np.testing.assert_allclose(flat(outcome.params), flat(params), rtol=1e-4, atol=1e-6)


def test_adam_with_constants_is_the_same_to_rounding():
    config = tiny(steps=3)
    rule = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(LR))
    params, gradient = initial_params(config), gradients(config)
    state = rule.init(params)
    for step in range(3):
        updates, state = rule.update(gradient(params, step), state, params)
        params = optax.apply_updates(params, updates)
    (outcome,) = train(config)
    np.testing.assert_allclose(flat(outcome.params), flat(params), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("threshold", [0.5, 5.0, 13.0, 20.0])
def test_clipping_against_its_formulas(threshold):
    gradient = {"a": jnp.array([3.0, -4.0]), "b": jnp.array([[12.0]])}  # norm 13
    theta = jnp.float32(threshold)
    g = flat(gradient)
    by_norm = flat(clip("norm", theta, gradient))
    np.testing.assert_allclose(by_norm, g * min(1.0, threshold / 13.0), rtol=1e-6)
    if threshold >= 13.0:  # untouched, to the last bit
        assert by_norm.tobytes() == g.tobytes()
    by_value = flat(clip("value", theta, gradient))
    assert by_value.tobytes() == np.clip(g, -threshold, threshold).tobytes()
    assert clip("none", theta, gradient) is gradient
    nothing = {"a": jnp.zeros(2)}
    assert not np.any(flat(clip("norm", theta, nothing)))


@pytest.mark.parametrize("size", [1e-30, 1e-3, 1.0, 1e25, 1e37])
def test_an_exploding_gradient_is_clipped_and_not_lost(size):
    g = np.array([3.0, -4.0, 12.0], np.float32) * np.float32(size)
    gradient = {"a": jnp.asarray(g[:2]), "b": jnp.asarray(g[2:])}
    exact = np.linalg.norm(g.astype(np.float64))
    np.testing.assert_allclose(global_norm(gradient), exact, rtol=1e-6)
    threshold = min(1.0, 0.1 * exact)
    clipped = flat(clip("norm", jnp.float32(threshold), gradient))
    expected = g.astype(np.float64) / exact * threshold
    np.testing.assert_allclose(clipped, expected, rtol=1e-5)


def test_a_gradient_that_is_not_finite_stays_so():
    for bad in (np.inf, np.nan):
        gradient = {"a": jnp.array([1.0, bad])}
        assert not np.isfinite(global_norm(gradient))
        assert not np.all(np.isfinite(flat(clip("norm", jnp.float32(1.0), gradient))))


def test_clipped_share_is_that_of_norms_above_the_threshold():
    free = tiny(clipping=ClippingConfig("norm", 1e6), steps=5)
    (outcome,) = train(free)
    assert outcome.metrics["clipped"].tolist() == [0.0]
    tight = dataclasses.replace(free, clipping=ClippingConfig("norm", 1e-6))
    assert train(tight)[0].metrics["clipped"].tolist() == [1.0]


def test_numbers_do_not_enter_the_compiled_code(monkeypatch):
    compilations = []
    compiling = jax.stages.Lowered.compile

    def count(lowered: Any, *args: Any, **options: Any) -> Any:
        compilations.append(lowered)
        return compiling(lowered, *args, **options)

    monkeypatch.setattr(jax.stages.Lowered, "compile", count)
    runs = [
        tiny("lstm", cell_options={"forget_bias": bias}, **changes)
        for bias, changes in [
            (0.0, {"lr": 0.1}),
            (1.0, {"lr": 0.01, "seed": 3, "loss_bound": 9.0}),
            (2.0, {"optimizer": Adam(b1=0.5, b2=0.99, eps=1e-3)}),
            (2.0, {"clipping": ClippingConfig("norm", 0.1), "steps": 7}),
        ]
    ]
    assert len({signature(run) for run in runs}) == 1
    program = Compiled(signature(runs[0]), run_mesh(), CAPACITY)
    losses = set()
    for run in runs:
        pack = type(training([run]))(program, [run])
        pack.warm()
        losses.add(pack.run()[0].metrics["loss"][0])
    assert len(compilations) == 2  # the updates and the evaluation
    assert len(losses) == len(runs) and program.seconds > 0


@pytest.mark.parametrize(
    ("cell", "numbers"),
    [
        ("cornn", [{"dt": 0.1}, {"dt": 0.2, "gamma": 3.0}]),
        ("antisymmetric", [{"epsilon": 0.1}, {"epsilon": 0.2}]),
        ("gru", [{"update_bias": 0.0}, {"chrono": 9.0}]),
    ],
)
def test_numbers_of_a_cell_are_no_part_of_the_signature(cell, numbers):
    runs = [tiny(cell, cell_options=options) for options in numbers]
    assert signature(runs[0]) == signature(runs[1])
    first, second = (build_hyper(run).cell for run in runs)
    assert (first != second) == (cell != "gru")
    assert signature(tiny(cell)) != signature(tiny(cell, batch=5))


# -- divergence --------------------------------------------------------------------


def exploding(probe: str = "off", **changes: Any) -> RunConfig:
    init = InitConfig("orthogonal", (("gain", 5.0),))
    return tiny(probe=probe, **{**SGD, "init": init, "lr": 10.0, **changes})


@pytest.mark.parametrize("bound", [1e6, 3e38], ids=["bound", "not finite"])
def test_a_run_that_explodes_is_frozen_and_others_go_on(bound):
    good = [tiny(**SGD, seed=seed) for seed in range(3)]
    bad = exploding(loss_bound=bound, seed=7)
    alone = [train(run)[0] for run in (*good, bad)]
    packed = train(good[0], bad, *good[1:])
    for found, single in zip(packed, [alone[0], alone[3], *alone[1:3]], strict=True):
        assert differing(trained(found), trained(single)) == []
    assert [outcome.status for outcome in alone] == ["done"] * 3 + ["diverged"]
    outcome = alone[3]
    assert outcome.diverged_at is not None and 0 < outcome.diverged_at <= bad.steps
    assert outcome.steps == outcome.diverged_at - 1
    assert np.all(np.isfinite(flat(outcome.params)))
    # Frozen before the update that diverged: as if that had never been asked for.
    (before,) = train(dataclasses.replace(bad, steps=outcome.steps))
    assert before.status == "done"
    assert differing(outcome.params, before.params) == []
    # The one row holds the mean over all updates, that one included.
    (mean,) = outcome.metrics["loss"]
    assert not mean * outcome.diverged_at <= bound


def test_the_bound_of_the_loss():
    start = tiny(**SGD, seed=2)
    (free,) = train(start)
    losses = [train(dataclasses.replace(start, steps=1))[0].metrics["loss"][0]]
    (stopped,) = train(dataclasses.replace(start, loss_bound=losses[0] * 0.99))
    assert (stopped.status, stopped.diverged_at, stopped.steps) == ("diverged", 1, 0)
    assert differing(stopped.params, initial_params(start)) == []
    (passed,) = train(dataclasses.replace(start, loss_bound=losses[0] * 1.5))
    assert passed.diverged_at is None or passed.diverged_at > 1
    assert free.status == "done"


@pytest.mark.slow
def test_probes_change_nothing_about_a_run_that_diverges():
    outcomes = {
        probe: train(exploding(probe), tiny(probe=probe, **SGD))
        for probe in ("off", "light", "full")
    }
    off = outcomes["off"]
    assert off[0].status == "diverged" and off[0].diverged_at is not None
    assert off[0].diverged_at < 4  # before the probe between two rows
    assert off[0].metrics["step"].tolist() == [5]
    for found, plain in zip(outcomes["full"], off, strict=True):
        assert differing(trained(found), trained(plain)) == []
    # A light probe may change the last bit, see `test_training_bits`.
    for found, plain in zip(outcomes["light"], off, strict=True):
        ends = (found.status, found.steps, found.diverged_at)
        assert ends == (plain.status, plain.steps, plain.diverged_at)
        np.testing.assert_allclose(flat(found.params), flat(plain.params), rtol=1e-4)
    # Measured at steps that the run reached, the last finite parameters among them.
    assert list(outcomes["full"][0].measurements) == [0, off[0].steps]
    assert list(outcomes["light"][0].measurements) == [0]
    assert list(outcomes["full"][1].measurements) == [0, 4, 7, 12]
