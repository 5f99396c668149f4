"""What stands behind the end of a sequence is never read, whatever it is."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnjax.cells import CELLS, Elman
from rnnjax.recurrence.layer import Recurrent
from tests.recurrence_samples import noise, normwise, quick_jit


T, M, N = 6, 2, 3
LENGTHS = np.array([4, 6, 0, 1], np.int32)
PADDED = np.arange(T)[:, None] >= LENGTHS
FILLS = (0.0, np.nan, np.inf, 1e30)

WALKS = [
    # cell, fields of the layer
    ("lstm", {}),
    ("gru", {"remat": 4, "backwards": True}),
    ("gru", {"engine": "newton", "backwards": True}),
    pytest.param("gru", {"backwards": True}, marks=pytest.mark.slow),
    pytest.param(
        *("gru", {"engine": "plain", "backwards": True}), marks=pytest.mark.slow
    ),
    ("mingru", {"engine": "associative"}),
    ("normalising", {}),
    pytest.param("normalising", {"remat": 4}, marks=pytest.mark.slow),
    pytest.param("normalising", {"backprop": "renormalise"}, marks=pytest.mark.slow),
    pytest.param(
        *("normalising", {"backprop": "cut", "lag": 2}), marks=pytest.mark.slow
    ),
]


class Normalising(Elman):
    """A readin whose derivative at an input of zeros is not a number."""

    def readin(self, x):
        return super().readin(x / jnp.sqrt(jnp.sum(x * x, -1, keepdims=True)))


def cell_of(name: str) -> Any:
    kind = Normalising if name == "normalising" else CELLS[name]
    return kind(inputs=M, features=N, param_dtype=jnp.float64)


def filled(fill: float) -> np.ndarray:
    x = np.random.default_rng(0).standard_normal((T, LENGTHS.size, M))
    x[PADDED] = fill
    return x


@functools.cache
def variables_of(name: str) -> Any:
    layer = Recurrent(cell_of(name), learn_initial_state=True)
    made = jax.eval_shape(layer.init, jax.random.key(0), jnp.ones((1, 1, M)))
    return noise(1, made, 0.7)


def number(found: Any) -> Any:
    """Depends on every output and on the final state."""
    return sum(jnp.sum(jnp.sin(a + 0.3)) for a in jax.tree.leaves(found))


@functools.cache
def alone(name: str, backwards: bool) -> list[Any]:
    """Outputs, final state and gradients of each example walked by itself."""
    layer = Recurrent(cell_of(name), backwards, "plain", learn_initial_state=True)

    def value(variables: Any, x: Any) -> Any:
        outputs, states = layer.apply(variables, x)
        end = jax.tree.map(lambda h: h[0 if backwards else -1], states)
        return number((outputs, end)), (outputs, end)

    @quick_jit
    def run(variables: Any, x: Any) -> Any:
        one = jax.value_and_grad(value, (0, 1), has_aux=True)
        return [
            one(variables, x[:n, b : b + 1]) if n else None
            for b, n in enumerate(LENGTHS)
        ]

    return run(variables_of(name), filled(0.0))


@pytest.mark.parametrize(("name", "fields"), WALKS)
def test_a_padded_step_is_never_read(name: str, fields: Any, x64: None) -> None:
    layer = Recurrent(cell_of(name), learn_initial_state=True, **fields)
    backwards = layer.backwards

    def value(variables: Any, x: Any) -> Any:
        lengths = jnp.asarray(LENGTHS)
        outputs, states = layer.apply(variables, x, lengths)
        last = layer.apply(variables, x, lengths, last=True)
        # the state is held on padding
        end = jax.tree.map(lambda h: h[0 if backwards else -1], states)
        return number((outputs, end)), (outputs, last[1], end, last[0])

    run = quick_jit(jax.value_and_grad(value, (0, 1), has_aux=True))
    variables = variables_of(name)
    found = [jax.tree.map(np.asarray, run(variables, filled(f))) for f in FILLS]
    for other in found[1:]:
        for a, b in zip(*map(jax.tree.leaves, (found[0], other)), strict=True):
            np.testing.assert_array_equal(a, b)
    (_, (outputs, last, end, answer)), (gradient, d_x) = found[1]
    assert np.all(d_x[PADDED] == 0) and np.all(outputs[PADDED] == 0)
    assert normwise(last, end) < 1e-15  # two loops of one program
    changed = layer.backprop != "exact"  # then the gradient is another one
    total = jax.tree.map(np.zeros_like, gradient)
    for b, n in enumerate(LENGTHS):
        if n == 0:
            assert np.all(answer[b] == 0)
            continue
        (_, (own, state)), (own_gradient, own_x) = alone(name, backwards)[b]
        assert normwise(outputs[:n, b], own[:, 0]) < 1e-12
        assert normwise(jax.tree.map(lambda h, b=b: h[b], last), state) < 1e-12
        assert normwise(answer[b], own[0 if backwards else -1, 0]) < 1e-12
        total = jax.tree.map(np.add, total, own_gradient)
        if not changed:
            assert normwise(d_x[:n, b], own_x[:, 0]) < 1e-9
    if not changed:
        # the example without steps shows the learned initial state
        start = variables["params"]["initial_state"]
        empty = jax.grad(lambda s: number((jnp.zeros(()), s)))(start)
        total["params"]["initial_state"] = jax.tree.map(
            np.add, total["params"]["initial_state"], empty
        )
        assert normwise(gradient, total) < 1e-9
