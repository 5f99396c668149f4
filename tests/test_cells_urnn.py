"""The unitary network by the factors of W: the same network as by the matrix."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnjax.cells.urnn import URNN
from rnnjax.recurrence.layer import Recurrent


@pytest.mark.slow
@pytest.mark.parametrize("features", [5, 16])
def test_factors_give_what_the_matrix_gives(features: int, x64: None) -> None:
    x = jnp.asarray(np.random.default_rng(0).normal(size=(6, 3, 2)))
    weight = np.random.default_rng(1).normal(size=(6, 3, 2 * features))

    def layer(factored: bool) -> Recurrent:
        cell = URNN(2, features, param_dtype=jnp.float64, factored=factored)
        return Recurrent(cell, learn_initial_state=True)

    params = layer(False).init(jax.random.key(0), x)
    shapes = jax.eval_shape(layer(True).init, jax.random.key(0), x)
    assert jax.tree.map(jnp.shape, params) == jax.tree.map(jnp.shape, shapes)

    @jax.jit
    def by_matrix(params, x):
        return jnp.vdot(layer(False).apply(params, x)[0], weight)

    @jax.jit
    def by_factors(params, x):
        return jnp.vdot(layer(True).apply(params, x)[0], weight)

    np.testing.assert_allclose(by_factors(params, x), by_matrix(params, x), rtol=1e-12)
    found = jax.grad(by_factors, (0, 1))(params, x)
    wanted = jax.grad(by_matrix, (0, 1))(params, x)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)
