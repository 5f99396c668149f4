"""The share of each step in an optimizer's first update, for every rule and size."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rnnjax
from rnnjax.cells import Elman
from rnnjax.recurrence import scaled
from rnnjax.recurrence.layer import Recurrent
from rnnjax.recurrence.scaled import Scaled
from rnnjax.training.build import build_hyper
from rnnjax.training.optimizers import SGD, Adam, Momentum, RMSProp
from tests.training_samples import tiny


RULES = [
    SGD(),
    Momentum(),
    Adam(),
    Adam(eps=0.0),
    RMSProp(),
    RMSProp(decay=0.99, eps=1e-4),
    RMSProp(eps_in_sqrt=False),
    RMSProp(eps_in_sqrt=False, initial_scale=1.0),
    RMSProp(initial_scale=1e-3),
]


def written_out(config: Any, g: np.ndarray) -> np.ndarray:
    """−Δw / η of the first update, from the formulas."""
    if config.name in ("sgd", "momentum"):
        return g
    if config.name == "adam":
        return g / (np.sqrt(g**2) + config.eps)
    v = config.decay * config.initial_scale + (1 - config.decay) * g**2
    if config.eps_in_sqrt:
        return g / np.sqrt(v + config.eps)
    return g / (np.sqrt(v) + config.eps)


@pytest.mark.parametrize("config", RULES, ids=str)
def test_the_direction_is_that_of_the_optimizer(config, x64):
    drawn = np.random.default_rng(0).normal(size=(5, 4)) * np.logspace(-3, 3, 4)
    for size in (1e6, 1.0, 1e-4, 1e-8, 1e-20):
        g = size * drawn
        expected = written_out(config, g)
        hyper = build_hyper(tiny(optimizer=config, lr=1.0))
        rule = config.with_numbers(hyper.optimizer).transformation(hyper.lr)
        update, _ = rule.update(jnp.asarray(g), rule.init(jnp.asarray(g)))
        np.testing.assert_allclose(-np.asarray(update), expected, rtol=1e-9)
        found = config.first_update().direction(scaled.lift(jnp.asarray(g), 0))
        ratio = np.asarray(found.mantissa) / expected
        np.testing.assert_allclose(ratio, ratio[0, 0], rtol=1e-9)


def test_a_gradient_that_no_float_holds():
    mantissa = jnp.asarray([0.5, -0.25, 0.0])
    for exponent in (-400, 400):
        total = Scaled(mantissa, jnp.asarray(exponent, jnp.int32))
        for config in RULES:
            found = config.first_update().direction(total).mantissa
            # far below ε the gradient itself counts, far above it only its sign
            plain = config.name in ("sgd", "momentum") or exponent < 0 and config.eps
            expected = [1, -0.5, 0] if plain else [1, -1, 0]
            np.testing.assert_allclose(found / found[0], expected, rtol=1e-6)


@pytest.mark.slow
def test_shares_of_a_small_gradient():
    """|G| is 1e-5 here, where ε = 1e-8 inside the root decides."""
    steps, size, n, scale = 12, 3, 4, 1e-5
    layer = Recurrent(Elman(2, n))
    x = jax.random.normal(jax.random.key(1), (steps, size, 2))
    params = layer.init(jax.random.key(0), x)["params"]
    model = lambda p, x: layer.apply({"params": p}, x)[0][-1]  # pyright: ignore
    loss = lambda y: scale * (y**2).sum(-1)
    U, V, b = (np.asarray(params["cell"][k], np.float64) for k in ("U", "V", "b"))
    h = [np.zeros((size, n))]
    for t in range(steps):
        h.append(np.tanh(np.asarray(x[t], np.float64) @ V + b + h[-1] @ U))
    adjoint, G, D = scale * 2 * h[-1] / size, [U] * steps, [b] * steps
    for t in reversed(range(steps)):
        delta = adjoint * (1 - h[t + 1] ** 2)
        G[t], D[t] = h[t].T @ delta, delta.sum(0)
        adjoint = delta @ U.T
    sections = ("contributions",)
    usual = rnnjax.probe(model, params, x, loss, sections=sections)
    adam = Adam(eps=1e-5)
    other = rnnjax.probe(model, params, x, loss, sections=sections, optimizer=adam)
    for config, seen in ((RMSProp(), usual), (adam, other)):
        share = seen.preconditioned_share
        for name, each in (("U", G), ("b", D)):
            whole = np.sum(each, axis=0)
            way = written_out(config, whole)
            expected = [np.sum(one * way) / np.sum(whole * way) for one in each]
            found = share.sel(parameter=f"cell/{name}")
            np.testing.assert_allclose(found, expected, atol=1e-4)
        assert config.name in share.definition and "|G|" in share.definition
