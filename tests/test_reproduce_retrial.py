"""The figure `retrial`: what is measured, how a forecast is judged, and its causes."""

import dataclasses
import doctest
import importlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr
from scipy import stats

from rnnjax.models.objective import per_example
from rnnjax.probes.backward.walk import Use
from rnnjax.probes.contributions.pairs import pair_sums
from rnnjax.probes.contributions.to_kernels import Uses
from rnnjax.recurrence.scaled import Scaled
from rnnjax.reproduce.catalogue import find
from rnnjax.sweeps.compose import compose
from rnnjax.training.build import build_model, build_task, heldout, initial_params


FIGURE = find("retrial")
SHARED = "rnnjax.experiments.shared."
CAUSES = importlib.import_module(SHARED + "causes")
FORECAST = importlib.import_module(SHARED + "forecast")
NUMBERS = importlib.import_module(SHARED + "retrial_numbers")
RUNS = importlib.import_module(SHARED + "retrial_runs")
STEP = importlib.import_module(SHARED + "deciding_step")

AXES = ("start", "task", "reach", "seed")
SHAPE = (4, 3, 4, 3)


def made(update: np.ndarray, updates: np.ndarray, budget: int = 4000) -> xr.Dataset:
    """Results in which N*_up is `update` and every other number a constant."""
    names = list(STEP.MEASURED)
    measured = np.ones((len(names), 2, *SHAPE))
    measured[names.index("update")] = update
    measured[names.index("resolution")] = 9.0
    arms = list(CAUSES.ARMS)
    return xr.Dataset(
        {
            "updates": (AXES, updates),
            "measured": (("quantity", "moment", *AXES), measured),
            "length": (("task", "reach"), np.tile([8, 17, 33, 65], (3, 1))),
            "place": (("cell", "axis"), [(0, 0, 3), (1, 2, 2)]),
            "retried": (("cell", "arm", "retry"), np.full((2, len(arms), 3), np.inf)),
            "progress": (("plateau", "look"), np.zeros((2, 6))),
            "seen": (("quantity", "plateau", "look"), np.full((8, 2, 6), np.nan)),
        },
        {
            "start": ["a", "b", "c", "d"],
            "task": ["opinion", "adding", "temporal_order"],
            "quantity": names,
            "moment": ["start", "early"],
            "arm": arms,
        },
        {"batch": 32, "budget": budget, "times": 16.0, "early": 100},
    )


def a_law(c: float = 1.0, slope: float = 1.0, noise: float = 0.1) -> xr.Dataset:
    """Runs that need 10^c N*_up^slope examples up to noise, censored at the budget."""
    rng = np.random.default_rng(0)
    update = np.broadcast_to(rng.uniform(2, 7, SHAPE[:3])[..., None], SHAPE)
    examples = c + slope * update + noise * rng.standard_normal(SHAPE)
    updates = 10**examples / 32
    return made(update, np.where(updates <= 4000, updates, np.inf))


@pytest.mark.parametrize("module", [CAUSES, FORECAST])
def test_examples_in_docstrings(module):
    assert doctest.testmod(module).failed == 0


def test_a_law_is_found_again():
    results = a_law()
    runs = FORECAST.runs_of(results)
    assert 0.2 < runs.solved.mean() < 0.9
    c = FORECAST.constant(runs, runs.features["update"])
    assert c == pytest.approx(1, abs=0.1)
    for task in (False, True):
        assert NUMBERS.gap(results, task).high < 0.2
    assert NUMBERS.gap(results, False, slope=0.5).value > 0.15
    root = a_law(c=3.0, slope=0.5)
    assert NUMBERS.gap(root, False, slope=0.5).high < 0.2
    # two thirds of the runs tie at the top
    assert NUMBERS.pooled(results, "update").low > 0.75
    assert np.isnan(NUMBERS.pooled(results, "ratio").value)  # it is the same everywhere
    assert NUMBERS.solving(results).low > 0.95
    assert NUMBERS.later(results).value == 0


def test_cells_that_fit_and_cells_that_judge_are_apart():
    runs = FORECAST.runs_of(a_law())
    fitted, others, last = (
        FORECAST.is_fitted(runs),
        FORECAST.is_held_out(runs, False),
        FORECAST.is_held_out(runs, True),
    )
    assert (fitted.astype(int) + others + last == 1).all()
    assert (runs.task[last] == 2).all() and fitted.sum() == others.sum()
    assert not set(runs.cell[fitted]) & set(runs.cell[others])


def test_ranks_and_areas_equal_their_definitions():
    rng = np.random.default_rng(1)
    x = rng.integers(0, 9, 60).astype(float)
    y = np.where(rng.random(60) < 0.3, np.inf, rng.integers(0, 9, 60))
    x[5], y[7] = np.inf, 3.0
    tied = np.where(np.isinf(y), 99, y), np.where(np.isinf(x), 99, x)
    known: Any = stats.spearmanr(tied[1], tied[0])
    known = known.statistic
    assert FORECAST.rank_correlation(x, y) == pytest.approx(known)
    assert FORECAST.rank_correlation(-x, y) == pytest.approx(-known)
    good, bad = x[np.isfinite(y)], x[np.isinf(y)]
    wins = (bad[:, None] > good[None]) + 0.5 * (bad[:, None] == good[None])
    assert FORECAST.area(x, np.isfinite(y)) == pytest.approx(wins.mean())
    assert np.isnan(FORECAST.area(x, np.ones(60, bool)))


def test_the_forecast_without_measurements_leaves_the_run_itself_out():
    rng = np.random.default_rng(2)
    examples = rng.random((2, 3, 2, 4))
    examples[1, 0, 0, 0] = np.inf
    found = FORECAST.others(examples, 5.0)
    mine = np.ones((3, 4), bool)
    mine[0, 0] = False
    assert found[1, 0, 0, 0] == pytest.approx(examples[1, :, 0][mine].mean())
    rest = np.where(np.isfinite(examples[1, :, 0]), examples[1, :, 0], 5.0)
    mine[0, 0], mine[2, 3] = True, False
    assert found[1, 2, 0, 3] == pytest.approx(rest[mine].mean())


def test_intervals_are_those_of_cells():
    """Runs of a cell that are all alike give no more certainty than one of them."""
    rng, hits = np.random.default_rng(3), 0
    for _ in range(100):
        value = np.repeat(rng.standard_normal(40), 5)
        n = np.zeros(200, int)
        runs = FORECAST.Runs(value, n, n, n, np.repeat(np.arange(40), 5), {}, {})
        found = FORECAST.by_cells(runs, lambda some: float(some.examples.mean()))
        hits += found.low <= 0 <= found.high
    assert 88 <= hits <= 99


def test_failing_cells_are_spread_over_their_list():
    solved = np.ones((2, 2, 3, 2), bool)
    solved[0, :, 1:], solved[1, 1, 2, 0] = False, False
    fails = CAUSES.failing(solved)
    assert fails.sum() == 4 and not fails[1].any()  # one of two seeds is half
    every = [(0, 0, 1), (0, 0, 2), (0, 1, 1), (0, 1, 2)]
    assert CAUSES.chosen(fails, 9) == every
    assert CAUSES.chosen(fails, 2) == [every[0], every[-1]]


def test_causes_and_what_they_forecast():
    budget = np.log10(32 * 4000)
    assert CAUSES.cause(budget + 0.1, 9.0, 9.0, budget) == "no signal"
    assert CAUSES.cause(np.inf, np.inf, 0.1, budget) == "no signal"
    assert CAUSES.cause(np.nan, np.nan, np.nan, budget) == "no signal"
    assert CAUSES.cause(2.0, budget + 0.1, 9.0, budget) == "drowned"
    assert CAUSES.cause(2.0, budget - 0.1, 9.0, budget) == "start or rate"
    near, far = budget + 1, budget + 2
    arms = [arm for arm in CAUSES.ARMS if arm not in CAUSES.RATE]
    found = {
        update: [CAUSES.is_rescue(arm, "drowned", update, budget, 16) for arm in arms]
        for update in (near, far)
    }
    assert arms == ["renormalise", "sham", "pairs", "batch"]
    assert found == {near: [True, False, True, True], far: [True, False, False, False]}
    for why in ("no signal", "start or rate"):
        assert not any(CAUSES.is_rescue(arm, why, near, budget, 16) for arm in arms)


def test_a_trial_counts_the_seeds_that_failed():
    results = made(np.full(SHAPE, 9.0), np.full(SHAPE, np.inf))
    results.updates[1, 2, 2, 0] = 300  # one of three seeds learns by itself
    results.retried[:, 0] = 200.0  # renormalise rescues all
    results.retried[1, 1, :2] = 100.0
    first, second = CAUSES.trials(results)
    assert first.name == "opinion 65, a" and second.name == "temporal order 33, b"
    assert first.failed == 3 and second.failed == 2
    assert first.rescued["renormalise"] == 3 and first.right
    assert second.rescued == {
        **dict.fromkeys(CAUSES.ARMS, 0),
        "renormalise": 2,
        "sham": 1,
    }
    # half of the failed seeds: the sham was forecast to rescue none
    assert not second.is_right("sham") and not second.right
    assert NUMBERS.rescue(results).value == pytest.approx((1 + 0.5) / 2)
    assert NUMBERS.noise_forecasts(results).value == 1.0
    results.updates[0, 0, 3] = 50.0
    assert not CAUSES.trials(results)[0].fails
    assert NUMBERS.rescue(results).runs == 1


def test_plateaus_are_taken_from_each_task_in_turn():
    updates = np.full((2, 2, 2, 2), np.inf)
    updates[0, 0, 0], updates[1, 0, 1] = [900, 1200], [1500, np.inf]
    updates[1, 1, 0] = [700, 400]
    assert RUNS.plateaus(updates, 500, 9) == [(1, 0, 1, 0), (1, 1, 0, 0), (0, 0, 0, 1)]
    assert RUNS.plateaus(updates, 500, 2) == [(1, 0, 1, 0), (1, 1, 0, 0)]
    assert RUNS.plateaus(updates, 2000, 2) == []


def test_what_comes_first_on_a_plateau():
    results = made(np.zeros(SHAPE), np.full(SHAPE, np.inf))
    update = STEP.MEASURED.index("update")
    results.seen[update, :, ::2] = [[8.0, 5.0, 4.0], [8.0, 7.9, 4.0]]
    results.progress[:, 3:] = 0.6
    found = NUMBERS.gradient_first(results)
    assert found.runs == 2 and found.value == 0.5
    results.progress[:] = 0.1
    assert NUMBERS.gradient_first(results).runs == 0


def test_turned_steps_begin_with_the_deciding_one(x64):
    """Sums over all steps stay, and row 0 is the deciding step of every example."""
    rng = np.random.default_rng(4)
    value, delta = rng.standard_normal((5, 6, 3)), rng.standard_normal((5, 6, 2))
    exponent = jnp.zeros((5, 6), jnp.int32)
    use = Use(
        jnp.asarray(value), Scaled(jnp.asarray(delta), exponent), "K", "dense", True
    )
    kernel = Uses(jnp.zeros((3, 2)), (use,), "K")
    first = jnp.asarray([0, 4, 2, 2, 1, 3])
    found = STEP.turned(kernel, first)
    rows = found.uses[0].value[0]
    np.testing.assert_array_equal(rows, value[first, np.arange(6)])
    before, after = pair_sums(kernel), pair_sums(found)

    def total(sums):
        scale = np.exp2(np.asarray(sums.step_exponent, float) + float(sums.exponent))
        own = (np.sum(sums.own_with_whole, 1) * scale).sum()
        return (np.sum(sums.with_whole, (1, 2)) * scale).sum(), own

    np.testing.assert_allclose(total(after), total(before), rtol=1e-10)
    alone = STEP.turned(kernel, first, steps=1)
    assert alone.uses[0].delta.exponent.shape == (1, 6)
    g = np.einsum("bi,bj->bij", rows, delta[first, np.arange(6)])
    sums = pair_sums(alone)
    scale = 4.0 ** float(sums.step_exponent[0])
    np.testing.assert_allclose(np.sum(sums.at_step) * scale, (g.sum(0) ** 2).sum())


@pytest.mark.parametrize(
    "task", [pytest.param("opinion", marks=pytest.mark.slow), "adding"]
)
def test_measured_numbers_are_those_of_explicit_gradients(task, x64):
    """N*, N*_up and the ratio of one network, from `jax.grad` of each example alone."""
    where = "distance" if task == "opinion" else "length"
    words = ["cell=lstm", f"task={task}", f"task.{where}=4", "model.hidden=4"]
    config = compose(*words, "model.embedding=3").config
    params, size = initial_params(config), 64
    found = dict(zip(STEP.MEASURED, STEP.measure_of(config, size)(params), strict=True))
    known = by_hand(config, params, size)
    for name, value in known.items():
        assert found[name] == pytest.approx(value, rel=1e-6, abs=1e-7), name
    assert found["projected"] < found["update"] and found["coherence"] <= 1


def by_hand(config, params, size: int) -> dict[str, float]:
    """From the cell's equations, unrolled, with a push at each pre-activation."""
    made_task, data = build_task(config.task, config.task_options)
    spec = made_task.spec(data)
    model = build_model(config, spec)
    batch = heldout(config.task, config.task_options, "validation", size)
    first = np.argmax(np.asarray(batch.informative), axis=0)
    cell = params["stack_0_0"]["cell"]
    tokens = spec.vocabulary is not None

    def answers(tree, pushes, inputs):
        """Of one example; `tree` has a copy of every kernel for every step."""
        h = c = jnp.zeros(4)
        for t in range(spec.length):
            x = tree["table"][t][inputs[t]] if tokens else inputs[t]
            z = x @ tree["V"][t] + h @ tree["U"][t] + cell["b"]
            i, f, g, o = jnp.split(z, 4)
            c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
            h = jax.nn.sigmoid(o) * jnp.tanh(c) + pushes[t, 0]
            c = c + pushes[t, 1]
        return h @ params["head"]["kernel"] + params["head"]["bias"]

    copies = {"V": cell["V"], "U": cell["U"]}
    if tokens:
        copies["table"] = params["embed"]["embedding"]
    tree = {k: jnp.stack([v] * spec.length) for k, v in copies.items()}
    nothing = jnp.zeros((spec.length, 2, 4))
    whole: Any = model.apply({"params": params}, batch.inputs, batch.lengths)
    mine = jax.vmap(lambda x: answers(tree, nothing, x))(
        jnp.swapaxes(batch.inputs, 0, 1)
    )
    np.testing.assert_allclose(mine, whole, rtol=1e-8)
    targets = batch.targets
    if tokens:
        targets = jax.nn.one_hot(targets, spec.output_size)
    apart = targets - targets.mean(0, keepdims=True)

    def grads(label: bool):
        def loss(tree, pushes, b):
            y = answers(tree, pushes, batch.inputs[:, b])
            if label:
                return -jnp.sum(apart[b] * y) * (1 if tokens else 2 / apart.shape[1])
            one = dataclasses.replace(
                batch, targets=jax.lax.dynamic_slice_in_dim(batch.targets, b, 1)
            )
            return per_example(spec, y[None], one)[0][0]

        return jax.vmap(jax.grad(loss, (0, 1)), (None, None, 0))(
            tree, nothing, jnp.arange(size)
        )

    (total, adjoint), (signal, _) = grads(False), grads(True)
    flat = lambda g: np.concatenate(
        [np.asarray(v).reshape(size, spec.length, -1) for v in g.values()], -1
    )
    g, s = flat(total), flat(signal)[np.arange(size), first]
    square = ((s.sum(0) ** 2).sum() - (s**2).sum()) / (size * (size - 1))
    cov = lambda x: x.var(0, ddof=1).sum()
    norms = np.sqrt((np.asarray(adjoint) ** 2).sum((2, 3)))
    mean = lambda x: np.sqrt((x**2).mean())
    return {
        "update": np.log10(cov(g.sum(1)) / square),
        "own": np.log10(cov(g[np.arange(size), first]) / square),
        "ratio": np.log10(mean(norms[np.arange(size), first]) / mean(norms[:, -1])),
    }
