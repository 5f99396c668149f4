"""Contributions to biases and free parameters, and how gradients spread over time."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util

from rnnjax.probes import contribution, kernels, trace
from rnnjax.probes.contributions.spread import (
    by_lag,
    cancellation,
    effective_rank,
    held_by_last,
    scaled_by_lag,
    signal_to_noise,
)
from rnnjax.probes.contributions.to_kernels import (
    Uses,
    first_update_share,
    signed_share,
)
from rnnjax.probes.contributions.to_other_parameters import contributions
from rnnjax.probes.contributions.to_other_parameters import (
    signal_to_noise as signal_to_noise_of_free,
)
from rnnjax.recurrence import scaled
from tests.probe_models import batch_of, model_of, parameters, spec_of
from tests.recurrence_samples import rows


LENGTH, LENGTHS = 4, [4, 2, 1]
BATCH, SPEC = batch_of("last", LENGTH, LENGTHS), spec_of("last", LENGTH)


def brute(model: Any, params: Any) -> dict[str, np.ndarray]:
    """G_{t,b} of every parameter of the cell and of the embedding, ``(T, B, …)``: each
    step of each example has a copy of its own."""
    cell = model.cell.clone(inputs=model.embedding)
    own = {**params["stack_0_0"]["cell"], "embedding": params["embed"]["embedding"]}
    copies = jax.tree.map(
        lambda x: jnp.broadcast_to(x, (LENGTH, len(LENGTHS), *x.shape)), own
    )
    head = params["head"]

    def loss(copies: Any, b: int) -> Any:
        state, out = cell.initial_state((1,)), None
        for t in range(LENGTHS[b]):
            now = {k: v[t, b] for k, v in copies.items()}
            x = now.pop("embedding")[BATCH.inputs[t, b]][None]
            state, out = cell.apply({"params": now}, state, x)
        assert out is not None
        answer = out @ head["kernel"] + head["bias"]
        return -jax.nn.log_softmax(answer[0])[BATCH.targets[b]] / len(LENGTHS)

    def total(copies: Any) -> Any:
        return sum(loss(copies, b) for b in range(len(LENGTHS)))

    with jax.numpy_rank_promotion("allow"):
        return jax.tree.map(np.asarray, jax.jit(jax.grad(total))(copies))


def norm(x: np.ndarray, axes: Any = None) -> np.ndarray:
    return np.sqrt(np.sum(np.square(x), axis=axes))


def flat(x: np.ndarray, lead: int) -> np.ndarray:
    return x.reshape(*x.shape[:lead], -1)


LAST = np.array(LENGTHS) - 1


def by_hand(each: np.ndarray) -> np.ndarray:
    """‖mean‖² / tr Cov of ``(T, B, ·)``."""
    variance = np.var(each, axis=1, ddof=1).sum(-1)
    with np.errstate(invalid="ignore"):
        return norm(each.mean(1), -1) ** 2 / variance


def lagged(each: np.ndarray) -> np.ndarray:
    """``(T, B, ·)`` by lag, zero beyond the start."""
    steps = LAST[None] - np.arange(LENGTH)[:, None]
    taken = each[np.maximum(steps, 0), np.arange(len(LENGTHS))]
    return taken * (steps >= 0)[..., None]


@pytest.mark.parametrize(
    "cell", rows(["elman", "lstm", "exprnn", "indrnn", "lru"], ("lstm",))
)
def test_every_parameter_has_contributions(cell, x64):
    model = model_of(cell, dtype=jnp.float64)
    params = parameters(model, BATCH)

    @jax.jit
    def probe(params):
        seen = trace(model, params, BATCH, SPEC, lag="total")
        found = {
            k.name.removeprefix("layer0/"): (contribution(k), first_update_share(k))
            for k in kernels(seen)
        }
        (walk,) = seen.walks
        noise = signal_to_noise_of_free(walk, jnp.asarray(LAST))
        own = {
            name.removeprefix("layer0/"): (part, part.first_update_share, noise[name])
            for name, part in contributions(walk).items()
        }
        return found, own

    by_kernel, by_step = probe(params)
    expected = brute(model, params)
    named = traverse_util.flatten_dict(params["stack_0_0"]["cell"], sep="/")
    direct = set(by_kernel) & set(named)
    assert set(by_step) == set(named) - direct, "a parameter is left out"
    for name, (*_, noise) in by_step.items():
        known = by_hand(lagged(flat(expected[name], 2)))
        np.testing.assert_allclose(noise, known, rtol=1e-8)
    for name, found in {**by_step, **{k: by_kernel[k] for k in direct}}.items():
        part, first = found[:2]
        steps = flat(expected[name].sum(1), 1)
        total = steps.sum(0)
        along = steps @ np.sign(total) / np.abs(total).sum()
        np.testing.assert_allclose(first, along, atol=1e-10)
        sizes = norm(steps, 1)
        np.testing.assert_allclose(10.0**part.log10_norm, sizes, rtol=1e-9, atol=1e-13)
        np.testing.assert_allclose(part.norm_share, sizes / sizes.sum(), atol=1e-11)
        signed = steps @ total / (total @ total)
        np.testing.assert_allclose(part.signed_share, signed, atol=1e-10)


@pytest.mark.slow
def test_spread_of_the_kernels(x64):
    model = model_of("gru_before", dtype=jnp.float64)
    params = parameters(model, BATCH)
    scale = jnp.asarray(np.random.default_rng(0).uniform(0.1, 2.0, (4, 8)))

    @jax.jit
    def probe(params):
        found = kernels(trace(model, params, BATCH, SPEC, lag="total"))

        def quantities(k: Uses) -> Any:
            return {
                "share": contribution(k).norm_share,
                "cancellation": cancellation(k),
                "noise": signal_to_noise(k),
                "noise_by_lag": signal_to_noise(by_lag(k, jnp.asarray(LAST))),
            }

        U = next(k for k in found if k.name == "layer0/U")
        return {k.name: quantities(k) for k in found}, signed_share(U, scale)

    quantities, preconditioned = probe(params)
    expected = brute(model, params)
    for name, found in quantities.items():
        each = flat(expected[name.removeprefix("layer0/")], 2)
        steps = each.sum(1)
        ratio = norm(steps.sum(0)) / norm(steps, 1).sum()
        np.testing.assert_allclose(found["cancellation"], ratio, rtol=1e-10)
        held = np.cumsum(found["share"][::-1])
        assert int(held_by_last(found["share"])) == 1 + np.argmax(held >= 0.9)
        np.testing.assert_allclose(found["noise"], by_hand(each), rtol=1e-8)
        known = by_hand(lagged(each))
        np.testing.assert_allclose(found["noise_by_lag"], known, rtol=1e-8)
    steps = expected["U"].sum(1)
    along = np.sum(steps * steps.sum(0) * np.asarray(scale), axis=(1, 2))
    np.testing.assert_allclose(preconditioned, along / along.sum(), atol=1e-10)


def test_effective_rank_is_the_participation_ratio(x64):
    lengths = [4, 4, 3, 2, 2]
    batch = batch_of("last", LENGTH, lengths)
    model = model_of("lru", dtype=jnp.float64)
    params = parameters(model, batch)

    @jax.jit
    def probe(params):
        walk = trace(model, params, batch, SPEC, lag="total").walks[0]
        adjoint = scaled.shift(walk.adjoint.mantissa, walk.adjoint.exponent)
        last = jnp.asarray(lengths) - 1
        lagged = effective_rank(scaled_by_lag(walk.adjoint, last))
        return effective_rank(walk.adjoint), lagged, adjoint

    def known(rows: np.ndarray) -> float:
        rows = rows[np.linalg.norm(rows, axis=1) > 0]
        unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        s = np.linalg.svd(unit, compute_uv=False)
        return float(np.sum(s**2) ** 2 / np.sum(s**4))

    ranks, back, adjoint = jax.device_get(probe(params))
    for t in range(LENGTH):
        assert ranks[t] == pytest.approx(known(adjoint[t]), rel=1e-9)
        rows = [adjoint[n - 1 - t, b] for b, n in enumerate(lengths) if n > t]
        assert back[t] == pytest.approx(known(np.array(rows)), rel=1e-9)
    assert back[3] < ranks[0], "two examples are that long, all have a first step"


def test_padding_is_not_counted_among_the_last_steps():
    share = jnp.asarray([0.1, 0.3, 0.6, 0.0, 0.0])
    assert int(held_by_last(share)) == 2
    assert int(held_by_last(share, 0.5)) == 1
