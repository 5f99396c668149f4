"""The rule `sham`: the factors of `renormalise`, exchanged between the steps."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnjax.cells import CELLS
from rnnjax.cells.base import Cell
from rnnjax.errors import UserError
from rnnjax.recurrence.backprop_rules import LARGEST, sham_weights, shuffled_order
from rnnjax.recurrence.functional import call, make_weights
from rnnjax.recurrence.layer import Recurrent
from rnnjax.recurrence.masking import make_drive
from rnnjax.recurrence.scan import Taps, scan
from tests.recurrence_samples import normwise


T, B, M, N = 6, 3, 4, 5
SPANS = np.array([6, 4, 1])


def network(name: str) -> tuple[Cell, Any, Any, Any]:
    """A cell, its parameters, inputs, and a random weight of the last state."""
    cell = CELLS[name](inputs=M, features=N, param_dtype=jnp.float64)
    rng = np.random.default_rng(3)
    x = jnp.asarray(rng.standard_normal((T, B, M)))
    layer = Recurrent(cell)
    params = layer.init(jax.random.key(1), x)["params"]["cell"]
    return cell, params, x, jnp.asarray(rng.standard_normal((B, N)))


def by_step(cell: Cell, params: Any, x: Any, weight: Any) -> tuple[Any, np.ndarray]:
    """G_{t,b} of every parameter ``(T, B, …)`` and ‖λ_{t,b}‖, with a copy per step."""

    def loss(copies: Any, pushes: Any, b: int) -> Any:
        state = cell.initial_state((1,))
        for t in range(SPANS[b]):
            own = jax.tree.map(lambda p, t=t: p[t], copies)
            static, weights = make_weights(cell, own)
            drive, _ = call(static, weights, "readin", x[t, b : b + 1])
            state, _ = call(static, weights, "step", state, drive)
            state = jax.tree.map(lambda s, p, t=t: s + p[t][None], state, pushes)
        return jnp.sum(weight[b] * jax.tree.leaves(state)[0][0])

    copies = jax.tree.map(lambda p: jnp.stack([p] * T), params)
    zeros = jax.tree.map(
        lambda s: jnp.zeros((T, s.shape[-1])), cell.initial_state((1,))
    )
    found = [jax.grad(loss, (0, 1))(copies, zeros, b) for b in range(B)]
    gradients = jax.tree.map(lambda *g: np.stack(g, 1), *[g for g, _ in found])
    squares = [
        sum((np.asarray(p) ** 2).sum(-1) for p in jax.tree.leaves(adjoint))
        for _, adjoint in found
    ]
    return gradients, np.sqrt(np.stack(squares, 1))


@pytest.mark.parametrize("name", ["elman", "lstm", "peephole_lstm"])
def test_every_step_has_the_factor_of_another(name, x64):
    cell, params, x, weight = network(name)
    gradients, size = by_step(cell, params, x, weight)
    valid = np.arange(T)[:, None] < SPANS
    order = np.asarray(shuffled_order(jax.random.key(4), T, jnp.asarray(valid)))
    factors = np.where(
        valid, size[SPANS - 1, np.arange(B)] / np.maximum(size, 1e-300), 1
    )
    chosen = np.take_along_axis(factors, order, axis=0)
    expected = jax.tree.map(
        lambda g: np.einsum("tb,tb...->...", chosen, np.asarray(g)), gradients
    )

    def loss(params: Any, rule: Any) -> Any:
        static, weights = make_weights(cell, params)
        drive = make_drive(static, weights, x, jnp.asarray(SPANS))
        drive = dataclasses.replace(drive, order=jnp.asarray(order))
        initial = cell.initial_state((B,))
        states = scan(static, weights, initial, drive, Taps(), rule)
        return jnp.sum(weight * jax.tree.leaves(states)[0][-1])

    found = jax.jit(jax.grad(loss), static_argnums=1)(params, "sham")
    assert normwise(found, expected) < 1e-10
    assert normwise(jax.grad(loss)(params, "renormalise"), expected) > 0.01
    assert normwise(jax.grad(loss)(params, "exact"), expected) > 0.01


def test_valid_steps_are_permuted_among_themselves():
    valid = np.arange(9)[:, None] < np.array([9, 5, 0])
    seen = set()
    for seed in range(8):
        order = np.asarray(shuffled_order(jax.random.key(seed), 9, jnp.asarray(valid)))
        for b, span in enumerate((9, 5, 0)):
            assert sorted(order[:span, b]) == list(range(span))
            assert list(order[span:, b]) == list(range(span, 9))
        seen.add(tuple(order[:, 0]))
    assert len(seen) == 8


def test_factors_beyond_the_range_count_as_its_end():
    log2 = jnp.array([[500.0], [1.0], [0.0]])
    found = sham_weights(log2, jnp.array([[2], [0], [1]]))
    np.testing.assert_allclose(
        np.log2(np.asarray(found))[:, 0], [-LARGEST, LARGEST - 1, 1], rtol=1e-5
    )


def test_the_gradient_without_random_numbers_is_refused():
    layer = Recurrent(CELLS["elman"](inputs=M, features=N), backprop="sham")
    x = jnp.ones((T, B, M))
    variables = layer.init(jax.random.key(0), x)
    layer.apply(variables, x)
    with pytest.raises(UserError, match="needs rngs"):
        jax.grad(lambda v: jnp.sum(layer.apply(v, x)[0]))(variables)
    rngs = {"sham": jax.random.key(0)}
    gradient = jax.grad(lambda v: jnp.sum(layer.apply(v, x, rngs=rngs)[0]))(variables)
    assert all(np.isfinite(g).all() for g in jax.tree.leaves(gradient))
    with pytest.raises(UserError, match="does not support remat=2"):
        layer.clone(remat=2).apply(variables, x)
