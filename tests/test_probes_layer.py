"""A bare layer: the norms of its lagged adjoint against a product of Jacobians."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnjax.probes.backward.single_layer import lagged_norms, walk_layer
from rnnjax.probes.dynamics.jacobian import jacobians
from tests.walk_samples import cell_of, inputs, parameters


@pytest.mark.parametrize("name", ["gru", "lstm"])
def test_lagged_norms_are_those_of_the_product(x64, name):
    cell = cell_of(name, jnp.float64)
    params, x = parameters(cell), inputs()
    walked = jax.jit(walk_layer, static_argnums=0)(cell, params, x)
    random = np.random.default_rng(3)
    last = jax.tree.map(
        lambda h: jnp.asarray(random.standard_normal(h.shape[1:])), walked.states
    )
    found = np.asarray(jax.jit(lagged_norms)(walked, last))
    matrices = np.asarray(jacobians(walked))
    adjoint = np.concatenate([np.asarray(leaf) for leaf in jax.tree.leaves(last)], -1)
    for t in reversed(range(len(matrices))):
        wanted = np.log10(np.linalg.norm(adjoint, axis=-1))
        np.testing.assert_allclose(found[t], wanted, atol=1e-10)
        adjoint = np.einsum("bij,bi->bj", matrices[t], adjoint)
