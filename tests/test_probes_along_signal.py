"""The noise along a signal, and the coherence of adjoints, beside brute force."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnjax.probes.backward.walk import Use
from rnnjax.probes.contributions.along_signal import (
    direction,
    log10_noise_along,
    log10_projected_examples,
    projections,
)
from rnnjax.probes.contributions.pairs import pair_sums
from rnnjax.probes.contributions.spread import coherence
from rnnjax.probes.contributions.to_kernels import Uses, kernels
from rnnjax.recurrence.scaled import Scaled
from tests.example_gradients import LAYERS, example_gradients
from tests.test_probes_signal import CASES, explicit, use


def as_vectors(uses: tuple[Use, ...], weight: np.ndarray) -> np.ndarray:
    """G_b ``(B, parameters)`` as real vectors, from the definition."""
    g = explicit(uses, weight).sum(0)
    real, imaginary = np.real(g), np.imag(g)
    return np.concatenate([real, imaginary], -1) if np.iscomplexobj(weight) else real


def cross_fitted(whole: np.ndarray, signal: np.ndarray) -> float:
    """Var_b ⟨G_b, u⟩ with u from the other half, from ``(B, parameters)``."""
    found = []
    for here, there in ((0, 1), (1, 0)):
        u = signal[here::2].sum(0)
        dots = whole[there::2] @ (u / np.linalg.norm(u))
        found.append(dots.var(ddof=1))
    return float(np.mean(found))


@pytest.mark.parametrize(("form", "data", "kernel"), CASES)
def test_projections_equal_those_of_explicit_gradients(form, data, kernel, x64):
    """Of two kernels taken as one, one of them with two uses."""
    made = [use(form, data, seed) for seed in range(3)]
    weight = np.zeros(made[0][1], complex if kernel else float)
    groups = [(made[0][0], made[1][0]), (made[2][0],)]
    both = [Uses(jnp.asarray(weight), uses, f"K{i}") for i, uses in enumerate(groups)]
    g = np.concatenate([as_vectors(uses, weight) for uses in groups], -1)
    along = direction(both)
    flat = [np.asarray(x).ravel() for x in along]
    u = np.concatenate(
        [np.concatenate([np.real(x), np.imag(x)]) if kernel else x for x in flat]
    )
    np.testing.assert_allclose(u, g.sum(0) / np.linalg.norm(g.sum(0)), atol=1e-12)
    seen = projections(both, along)
    dots = np.asarray(seen.mantissa) * np.exp2(float(seen.exponent))
    np.testing.assert_allclose(dots, g @ u, rtol=1e-10, atol=1e-13)
    other = [Uses(k.weight, k.uses[::-1][:1], k.name) for k in both]
    s = np.concatenate([as_vectors(k.uses, weight) for k in other], -1)
    found = log10_noise_along(both, other)
    np.testing.assert_allclose(found, np.log10(cross_fitted(g, s)), rtol=1e-10)


def contributions(g: Any) -> list[Uses]:
    """Uses with contributions ``(B, parameters)`` to a diagonal kernel in one step."""
    zero = jnp.zeros((1, g.shape[0]), jnp.int32)
    delta = Scaled(jnp.asarray(g)[None], zero)
    one = Use(jnp.ones((1, *g.shape)), delta, "K", "diagonal", True)
    return [Uses(jnp.zeros(g.shape[-1]), (one,), "K")]


MEAN, SPREAD = np.array([0.3, 0.0, -0.4]), np.array([0.5, 2.0, 1.0])


@pytest.mark.slow
def test_a_gaussian_case_has_the_known_answer(x64):
    size = 20_000
    noise = np.random.default_rng(0).standard_normal((size, 3)) * SPREAD
    whole, signal = contributions(MEAN + noise), contributions(MEAN + noise)
    found = float(log10_noise_along(whole, signal))
    u = MEAN / np.linalg.norm(MEAN)
    known = (u**2 * SPREAD**2).sum()
    assert found == pytest.approx(np.log10(known), abs=0.02)
    needed = log10_projected_examples(found, pair_sums(signal[0]), size)
    assert needed[0] == pytest.approx(np.log10(known / (MEAN @ MEAN)), abs=0.04)
    # far fewer than the noise of all directions asks for
    assert needed[0] < np.log10((SPREAD**2).sum() / (MEAN @ MEAN)) - 0.7


def test_the_noise_along_a_signal_has_no_bias(x64):
    """Over 2 000 samples of eight examples in more dimensions than examples.

    Much of the noise lies along one vector: u from the same examples would lean to the
    side on which most of them lie.
    """
    rng = np.random.default_rng(1)
    sizes, lean = np.geomspace(0.3, 3, 20), np.zeros(20)
    lean[-1] = 4.0
    signal = np.zeros(20)
    signal[0] = 5.0
    # the average over u of uᵀ Cov u, from independent draws
    cov = np.diag(sizes**2) + np.outer(lean, lean)
    mean_of = lambda n: signal + rng.multivariate_normal(np.zeros(20), cov / 4, n)
    us = mean_of(200_000)
    us /= np.linalg.norm(us, axis=1, keepdims=True)
    known = np.einsum("bi,ij,bj->b", us, cov, us).mean()
    find = jax.jit(log10_noise_along)
    rows = []
    for _ in range(2000):
        g = signal + rng.multivariate_normal(np.zeros(20), cov, 8)
        own = contributions(jnp.asarray(g))
        rows.append(10 ** float(find(own, own)))
    error = np.std(rows) / np.sqrt(len(rows))
    assert abs(np.mean(rows) - known) < 4 * error
    assert error < 0.05 * known


def test_no_signal_and_no_noise(x64):
    rng = np.random.default_rng(2)
    some = contributions(rng.standard_normal((8, 3)))
    alternating = np.repeat([[1.0, 0.0, 0.0]], 8, 0) * np.resize([1, -1], 8)[:, None]
    sums = pair_sums(contributions(alternating)[0])
    assert np.isinf(log10_projected_examples(0.0, sums, 8)).all()
    constant = contributions(np.ones((8, 3)))
    assert np.isneginf(float(log10_noise_along(constant, some)))
    nothing = contributions(np.zeros((8, 3)))
    assert np.isneginf(float(log10_noise_along(some, nothing)))


@pytest.mark.parametrize(
    ("cell", "task"),
    [
        ("lstm", ["task=opinion", "task.distance=5"]),
        pytest.param("gru", ["task=adding"], marks=pytest.mark.slow),
    ],
)
def test_projections_are_those_of_the_gradients_of_examples(cell, task, x64):
    """Of `jax.grad` of the loss of each example alone."""
    seen, flat = example_gradients([f"cell={cell}", *task], 9)
    chosen = [kernel for kernel in kernels(seen) if "/" in kernel.name]
    names = [kernel.name.split("/") for kernel in chosen]
    g = np.concatenate([flat[f"{LAYERS[a]}/cell/{b}"] for a, b in names], -1)
    found = log10_noise_along(chosen, chosen)
    np.testing.assert_allclose(found, np.log10(cross_fitted(g, g)), rtol=1e-8)


def adjoints(values: np.ndarray, seed: int = 0) -> Scaled:
    """The same numbers ``(T, B, 2 n)`` in two state arrays, with exponents apart."""
    shape = values.shape[:2]
    exponent = np.random.default_rng(seed).integers(-30, 30, shape).astype(np.int32)
    moved = np.ldexp(values, -exponent[..., None])
    half = values.shape[-1] // 2
    parts = {"c": jnp.asarray(moved[..., :half]), "h": jnp.asarray(moved[..., half:])}
    return Scaled(parts, jnp.asarray(exponent))


def test_coherence_equals_its_definition(x64):
    x = np.random.default_rng(3).standard_normal((4, 7, 6))
    x[2] = x[2, :1]  # all the same
    x[3] = 0
    found = np.asarray(coherence(adjoints(x)))
    pairs = np.einsum("tbn,tcn->tbc", x, x)
    apart = (pairs.sum((1, 2)) - np.einsum("tbb->t", pairs)) / (7 * 6)
    known = apart[:3] / np.square(x).sum(-1).mean(1)[:3]
    np.testing.assert_allclose(found[:3], known, rtol=1e-10)
    assert found[2] == pytest.approx(1) and np.isnan(found[3])


def test_coherence_of_gaussian_adjoints(x64):
    """‖m‖² / (‖m‖² + n σ²), and no more for a few examples than for many."""
    rng, mean = np.random.default_rng(4), np.array([0.6, 0.0, 0.0, 0.8])
    known = 1 / (1 + 4 * 0.25)
    many = mean + 0.5 * rng.standard_normal((1, 20_000, 4))
    assert float(coherence(adjoints(many))[0]) == pytest.approx(known, abs=0.02)
    none = 0.5 * rng.standard_normal((2000, 5, 4))
    found = np.asarray(coherence(adjoints(none)))
    assert abs(found.mean()) < 4 * found.std() / np.sqrt(2000)
