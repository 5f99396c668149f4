"""Signal, offset and noise of contributions, beside explicit per-example gradients."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnjax.analysis import configured_run
from rnnjax.analysis.configured_run import analyze_run
from rnnjax.errors import UserError
from rnnjax.models.objective import per_example
from rnnjax.probes.backward.trace import (
    backward,
    forward,
    last_loss_step,
    loss_weights,
)
from rnnjax.probes.backward.walk import Use
from rnnjax.probes.contributions.first_update import FirstUpdate
from rnnjax.probes.contributions.free_pairs import (
    free_metrics,
    free_pair_sums,
    free_totals,
)
from rnnjax.probes.contributions.labels import parted_losses
from rnnjax.probes.contributions.pairs import (
    PairSums,
    adaptive_metric,
    group_sizes,
    pair_sums,
)
from rnnjax.probes.contributions.signal import Parts, joined, signal
from rnnjax.probes.contributions.to_kernels import Uses, kernels
from rnnjax.probes.contributions.to_other_parameters import at_each_lag, gradients
from rnnjax.recurrence.scaled import Scaled
from rnnjax.sweeps.compose import compose
from rnnjax.training.build import build_model, build_task, heldout, initial_params
from rnnjax.types import Batch
from tests.example_gradients import LAYERS, example_gradients


STEPS, SIZE = 5, 10
ADAM = FirstUpdate(beside=1e-8)
RULES = [FirstUpdate(), ADAM, FirstUpdate(root=1e-3)]
SLOW = functools.partial(pytest.param, marks=pytest.mark.slow)


def use(
    form: Any, complex_: bool = False, seed: int = 0
) -> tuple[Use, tuple[int, ...]]:
    """A use of a kernel with random values and cotangents, and the kernel's shape."""
    rng = np.random.default_rng(seed)

    def draw(*shape: int) -> np.ndarray:
        x = rng.standard_normal(shape)
        return x + 1j * rng.standard_normal(shape) if complex_ else x

    exponent = rng.integers(-40, 3, (STEPS, SIZE)).astype(np.int32)
    shape = {"dense": (4, 6), "block": (2, 2, 3), "diagonal": (6,), "rows": (7, 6)}
    value = draw(STEPS, SIZE, 6 if form == "diagonal" else 4)
    if form == "rows":
        value = rng.integers(0, 7, (STEPS, SIZE))
    delta = Scaled(jnp.asarray(draw(STEPS, SIZE, 6)), jnp.asarray(exponent))
    return Use(jnp.asarray(value), delta, "K", form, True), shape[form]


def explicit(uses: tuple[Use, ...], weight: np.ndarray) -> np.ndarray:
    """G_{t,b} ``(T, B, parameters)`` in double precision, from the definition."""
    total = np.zeros((STEPS, SIZE, *weight.shape), complex)
    for one in uses:
        v = np.asarray(one.value)
        d = (
            np.asarray(one.delta.mantissa)
            * np.exp2(np.asarray(one.delta.exponent, float))[..., None]
        )
        for t in range(STEPS):
            for b in range(SIZE):
                if one.form == "rows":
                    total[t, b, v[t, b]] += d[t, b]
                elif one.form == "diagonal":
                    total[t, b] += v[t, b] * d[t, b]
                elif one.form == "block":
                    x, y = v[t, b].reshape(2, 2), d[t, b].reshape(2, 3)
                    total[t, b] += np.einsum("gi,gj->gij", x, y)
                else:
                    total[t, b] += np.outer(v[t, b], d[t, b])
    return total.reshape(STEPS, SIZE, -1)


CASES = [
    ("dense", False, False),
    ("dense", True, True),
    ("dense", True, False),
    ("block", False, False),
    ("block", True, False),
    ("diagonal", False, False),
    ("diagonal", True, False),
    ("rows", False, False),
]


@pytest.mark.parametrize("count", [1, 2], ids=["one use", "two uses"])
@pytest.mark.parametrize(("form", "data", "kernel"), CASES)
def test_sums_over_pairs_equal_those_of_explicit_gradients(
    form, data, kernel, count, x64
):
    made = [use(form, data, seed) for seed in range(count)]
    uses, shape = tuple(one for one, _ in made), made[0][1]
    weight = np.zeros(shape, complex if kernel else float)
    found = pair_sums(Uses(jnp.asarray(weight), uses, "layer0/K"), groups=3)
    g = explicit(uses, weight)
    real, imaginary = np.real(g), np.imag(g)
    g = np.concatenate([real, imaginary], -1) if kernel else real
    sums_of_explicit(g, found)


def sums_of_explicit(g: np.ndarray, found: PairSums, scale: Any = 1.0) -> None:
    """Compare with contributions ``(T, B, parameters)``, in three groups."""
    g = g * scale
    groups = np.stack([g[:, k::3].sum(1) for k in range(3)], 1)
    exponent = np.asarray(found.step_exponent, float)
    step = np.exp2(np.where(exponent < -1e6, 0, exponent))  # a step of zeros
    top = np.exp2(float(found.exponent))
    whole, each = groups.sum(0), g.sum(0)
    own = [(g[:, k::3] ** 2).sum((1, 2)) for k in range(3)]
    along = [(g[:, k::3] * each[None, k::3]).sum((1, 2)) for k in range(3)]
    both = (step * top)[:, None]
    known = {
        "at_step": np.einsum("tkp,tlp->tkl", groups, groups) / step[:, None, None] ** 2,
        "with_whole": np.einsum("tkp,lp->tkl", groups, whole) / both[..., None],
        "own_at_step": np.stack(own, -1) / step[:, None] ** 2,
        "own_with_whole": np.stack(along, -1) / both,
    }
    for name, expected in known.items():
        np.testing.assert_allclose(
            getattr(found, name), expected, rtol=1e-10, atol=1e-12, err_msg=name
        )


def explicit_scale(g: np.ndarray, batch: int, rule: FirstUpdate) -> np.ndarray:
    """P of a batch's gradient, from contributions of examples."""
    each = g.sum(0)
    moment = each.mean(0) ** 2 + each.var(0) / batch
    below = np.sqrt(moment + rule.root**2) + rule.beside
    return np.where(below > 0, 1 / np.where(below > 0, below, 1), 0)


@pytest.mark.parametrize("count", [1, 2], ids=["one use", "two uses"])
@pytest.mark.parametrize("form", ["dense", "block", "diagonal", "rows"])
@pytest.mark.parametrize("rule", [SLOW(RULES[0]), ADAM, SLOW(RULES[2])])
def test_sums_in_the_metric_of_an_optimizer(form, count, rule, x64):
    made = [use(form, False, seed) for seed in range(count)]
    uses, shape = tuple(one for one, _ in made), made[0][1]
    kernel = Uses(jnp.zeros(shape), uses, "layer0/K")
    found = pair_sums(kernel, groups=3, metric=adaptive_metric(kernel, 4, rule))
    g = np.real(explicit(uses, np.zeros(shape)))
    sums_of_explicit(g, found, explicit_scale(g, 4, rule))


@pytest.mark.parametrize(
    "cell", ["lstm", SLOW("indrnn"), SLOW("exprnn"), SLOW("peephole_lstm")]
)
@pytest.mark.parametrize("adapted", [SLOW(False), True])
def test_sums_for_other_parameters_than_kernels(cell, adapted, x64):
    words = [f"cell={cell}", "task.distance=5", "model.hidden=4", "model.embedding=3"]
    config = compose(*words).config
    made, data = build_task(config.task, config.task_options)
    spec = made.spec(data)
    network, params = build_model(config, spec), initial_params(config)
    batch = heldout(config.task, config.task_options, "validation", 10)
    passed = forward(network, params, batch, spec)
    (walk,) = backward(passed, loss_weights(spec, batch, "total")).walks
    last = last_loss_step(spec, batch)
    rows, lags = at_each_lag(walk, last)
    each = jax.lax.map(rows, lags)
    metrics = free_metrics(free_totals(walk, last)[0], 4, ADAM) if adapted else None
    found = free_pair_sums(walk, last, metrics=metrics, groups=3)
    assert set(found) == set(each) and found
    for name, one in each.items():
        size = np.exp2(np.asarray(one.exponent, float))[..., None]
        g = np.asarray(one.mantissa) * size
        total = gradients(walk)[name.split("/", 1)[1]]
        whole = np.asarray(total.mantissa) * np.exp2(float(total.exponent))
        np.testing.assert_allclose(g.sum((0, 1)), whole.ravel(), rtol=1e-9, atol=1e-14)
        sums_of_explicit(g, found[name], explicit_scale(g, 4, ADAM) if adapted else 1.0)


def sums_of(g: Any, groups: int = 16) -> PairSums:
    """`PairSums` of contributions ``(T, B, parameters)`` to a diagonal kernel."""
    value = jnp.ones(g.shape)
    zero = jnp.zeros(g.shape[:2], jnp.int32)
    one = Use(value, Scaled(jnp.asarray(g), zero), "K", "diagonal", True)
    return pair_sums(Uses(jnp.zeros(g.shape[-1]), (one,), "K"), groups)


def parts_of(signal: np.ndarray, offset: Any = 0.0) -> Parts:
    """`Parts` of contributions that the label adds, and of others."""
    rest = jnp.broadcast_to(jnp.asarray(offset), signal.shape)
    return Parts(sums_of(signal + rest), sums_of(signal), sums_of(rest))


MEANS = np.array([[0.3, 0.0, 0.4], [0.0, 0.0, 0.0], [-0.5, 1.0, 0.0]])
SPREAD = np.array([1.0, 2.0, 0.5])


def gaussian(rng: np.random.Generator, size: int) -> np.ndarray:
    """Contributions of three steps with known means and independent noise."""
    noise = rng.standard_normal((3, size, 3)) * SPREAD[:, None, None]
    return MEANS[:, None] + noise


def test_a_gaussian_case_has_the_known_answer(x64):
    size, batch = 20_000, 50
    rng = np.random.default_rng(0)
    found = signal(parts_of(gaussian(rng, size)), size, batch)
    whole = MEANS.sum(0)
    share = MEANS @ whole / (whole @ whole)
    assert np.allclose(found.signal_share[:, 0], share, atol=0.03)
    noise = 3 * SPREAD**2
    own = np.log10(noise[[0, 2]] / (MEANS[[0, 2]] ** 2).sum(1))
    update = np.log10(noise.sum() / (MEANS[[0, 2]] ** 2).sum(1))
    assert np.allclose(found.log10_examples[[0, 2], 0], own, atol=0.05)
    assert np.allclose(found.log10_examples_in_update[[0, 2], 0], update, atol=0.05)
    # a step without a mean: no upper end, and a lower end that the sample can see
    assert np.isinf(found.log10_examples[1, 2]) and found.log10_examples[1, 1] > 3
    total = whole @ whole + noise.sum() / batch
    parts = np.stack([MEANS @ whole, np.zeros(3), noise / batch], -1) / total
    assert np.allclose(found.update_share[..., 0], parts, atol=0.02)
    assert np.isclose(found.update_share[..., 0].sum(), 1)
    low, high = found.update_share[..., 1], found.update_share[..., 2]
    assert np.all((low <= parts) & (parts <= high))
    assert found.resolution > 20


def test_estimates_have_no_bias(x64):
    """Over 1 000 samples of 8 examples, whose plain squares would be far too large."""
    rng = np.random.default_rng(1)
    make = jax.jit(lambda g: sums_of(g, 8))
    rows = []
    for _ in range(1000):
        p = make(gaussian(rng, 8))
        pairs = np.sum(p.at_step, (1, 2)) - np.sum(p.own_at_step, 1)
        rows.append(pairs / 56 * 4.0 ** np.asarray(p.step_exponent))
    mean, error = np.mean(rows, 0), np.std(rows, 0) / np.sqrt(1000)
    assert np.all(np.abs(mean - (MEANS**2).sum(1)) < 4 * error)
    assert np.all((SPREAD**2 * 3 / 8)[1:2] > 10 * error[1:2])  # the bias of the square


def test_intervals_cover_the_truth(x64):
    rng, hits = np.random.default_rng(2), np.zeros((2, 2))
    whole = MEANS.sum(0)
    share = (MEANS @ whole / (whole @ whole))[[0, 2]]
    own = np.log10(3 * SPREAD**2 / np.maximum((MEANS**2).sum(1), 1e-9))[[0, 2]]
    make = jax.jit(parts_of)
    for _ in range(200):
        found = signal(make(gaussian(rng, 320)), 320, 32)
        for row, (truth, bounds) in enumerate(
            ((share, found.signal_share), (own, found.log10_examples))
        ):
            low, high = bounds[[0, 2], 1], bounds[[0, 2], 2]
            hits[row] += (low <= truth) & (truth <= high)
    assert np.all(hits >= 180) and np.all(hits <= 200), hits


def test_a_signal_that_is_not_there_is_unresolved(x64):
    rng = np.random.default_rng(3)
    found = signal(parts_of(rng.standard_normal((3, 64, 3))), 64, 32)
    assert found.resolution < 2 and np.isnan(found.signal_share).all()


@pytest.mark.parametrize("times", [-1.0, -0.5, 0.5])
def test_an_offset_that_pulls_against_the_signal_hides_nothing(times, x64):
    """At −1 the mean gradient is zero, as at a minimum of the loss."""
    rng = np.random.default_rng(6)
    found = signal(parts_of(gaussian(rng, 2000), times * MEANS[:, None]), 2000, 32)
    own = np.log10(3 * SPREAD**2 / np.maximum((MEANS**2).sum(1), 1e-9))[[0, 2]]
    assert np.allclose(found.log10_examples[[0, 2], 0], own, atol=0.15)
    shares = found.update_share[..., 0]
    assert found.resolution > 5 and np.isclose(shares.sum(), 1)
    of_signal, of_offset, _ = shares.sum(0)
    if times != -1.0:
        assert np.isclose(of_offset, times * of_signal, atol=0.1 * abs(of_signal))
    else:
        assert abs(of_signal) < 0.25 and abs(of_offset) < 0.25


@pytest.mark.parametrize("loss", ["cross_entropy", "squared_error"])
@pytest.mark.parametrize("readout", ["last", "every"])
def test_the_parts_of_a_loss_have_its_gradient(loss, readout, x64):
    made, data = build_task("opinion", (("distance", 4), ("form", "next_word")))
    spec = dataclasses.replace(
        made.spec(data), loss=loss, readout=readout, output_size=3
    )
    rng, shape = np.random.default_rng(7), (6,) if readout == "last" else (4, 6)
    targets = rng.integers(0, 3, shape)
    if loss == "squared_error":
        targets = rng.standard_normal((*shape, 3))
    mask = jnp.ones((4, 6)).at[:2, :3].set(0)
    lengths = jnp.full(6, 4, jnp.int32)
    batch = Batch(jnp.zeros((4, 6)), jnp.asarray(targets), mask, lengths, mask > 0)
    answers = jnp.asarray(rng.standard_normal((*shape, 3)))
    counted = mask if readout == "every" else jnp.ones(6)

    def gradient(losses: Any) -> jax.Array:
        return jax.grad(lambda x: jnp.sum(losses(x) * counted))(answers)

    label, rest = parted_losses(spec, batch)
    whole = gradient(lambda x: per_example(spec, x, batch)[0])
    np.testing.assert_allclose(gradient(label) + gradient(rest), whole, atol=1e-12)
    apart = gradient(label) * counted[..., None]
    np.testing.assert_allclose(jnp.sum(apart, axis=-2), 0, atol=1e-12)


def test_several_parameters_as_one(x64):
    rng = np.random.default_rng(4)
    g = rng.standard_normal((3, 20, 6))
    parts = [sums_of(g[..., :2] * 1e-3), sums_of(g[..., 2:])]
    whole = sums_of(np.concatenate([g[..., :2] * 1e-3, g[..., 2:]], -1))
    for a, b in zip(
        jax.tree.leaves(joined(parts)), jax.tree.leaves(whole), strict=True
    ):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)


def test_groups():
    assert group_sizes(3) == [1, 1, 1]
    assert sum(group_sizes(517)) == 517


@pytest.mark.parametrize(
    ("cell", "task", "model"),
    [
        ("lstm", ["task=opinion", "task.distance=5"], []),
        SLOW("elman", ["task=opinion", "task.distance=5", "task.form=next_word"], []),
        SLOW("gru", ["task=adding", "task.length=6"], ["model.bidirectional=true"]),
        SLOW("indrnn", ["task=copy", "task.delay=2"], []),
    ],
)
def test_sums_over_steps_are_those_of_the_gradients_of_examples(cell, task, model, x64):
    """Of `jax.grad` of the loss of each example alone."""
    seen, flat = example_gradients([f"cell={cell}", *task, *model], 9)
    compared = 0
    for kernel in kernels(seen):
        layer, _, name = kernel.name.rpartition("/")
        place = f"{LAYERS.get(layer, layer)}/cell/{name}" if layer else None
        if place not in flat or kernel.weight.size != flat[place].shape[1]:
            continue
        g, sums = flat[place], pair_sums(kernel)
        scale = np.exp2(np.asarray(sums.step_exponent, float) + float(sums.exponent))
        every = (np.sum(sums.with_whole, (1, 2)) * scale).sum()
        own = (np.sum(sums.own_with_whole, 1) * scale).sum()
        np.testing.assert_allclose(every, np.sum(g.sum(0) ** 2), rtol=1e-8)
        np.testing.assert_allclose(own, np.sum(g**2), rtol=1e-8)
        compared += 1
    assert compared >= 2


@pytest.mark.parametrize("form", ["sentiment", SLOW("next_word")])
def test_the_first_word_alone_carries_the_signal(form, tmp_path, monkeypatch):
    words = ["cell=lstm", "task.distance=4", f"task.form={form}", "model.hidden=8"]
    config = compose(*words).config
    data = analyze_run(config, initial_params(config), ["signal"])
    assert data.sizes["bound"] == data.sizes["part"] == 3
    assert data["metric"].to_numpy().tolist() == ["euclidean", "optimizer"]
    assert "layer0/b" in data["gradient_of"].to_numpy()
    shares = data["update_share"].sel(bound="estimate")
    assert np.allclose(shares.sum(("lag", "part")), 1)
    if form == "sentiment":
        of = data.sel(gradient_of="layer0/V")
        needed = of["log10_examples"].sel(bound="estimate")
        assert (needed.argmin("lag") == 3).all()
        assert (of["budget_horizon"] == 3).all()


def test_too_few_examples_are_refused(tmp_path, monkeypatch):
    examples = functools.partial(configured_run.signals, examples=3)
    monkeypatch.setattr(configured_run, "signals", examples)
    config = compose("cell=elman", "task=adding", "task.length=4").config
    with pytest.raises(UserError, match="at least 8 held-out examples .* has 3"):
        analyze_run(config, initial_params(config), ["signal"])
