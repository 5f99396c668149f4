"""Cells of 16 bits: the same numbers within the rounding of their words."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnjax.cells import CELLS
from rnnjax.initializers import make_initializer
from rnnjax.probes.backward.single_layer import lagged_norms, walk_layer
from rnnjax.probes.dynamics.graded_product import double
from rnnjax.probes.dynamics.lyapunov import lyapunov
from rnnjax.recurrence.layer import Recurrent
from rnnjax.recurrence.scaled import exponent_of, power_of_two
from tests.recurrence_samples import quick_jit


HALVES = [jnp.bfloat16, jnp.float16]
T, B, M, N = 30, 2, 3, 8


@pytest.mark.parametrize("dtype", [*HALVES, jnp.float32])
def test_exponents_are_exact(dtype: Any) -> None:
    limit = jnp.finfo(dtype)
    exponents = np.arange(limit.minexp, limit.maxexp)
    powers = np.ldexp(1.0, exponents)  # float64
    found = np.asarray(power_of_two(jnp.asarray(exponents), dtype))
    np.testing.assert_array_equal(found.astype(np.float64), powers)
    mantissas = jnp.asarray([1.0, 1.5, -1.75], dtype)[:, None]
    drawn = mantissas * jnp.asarray(powers, dtype)[None]
    expected = np.frexp(np.asarray(drawn, np.float64))[1]
    np.testing.assert_array_equal(exponent_of(drawn), expected)
    assert power_of_two(jnp.asarray(limit.minexp - 1), dtype) == 0


@pytest.mark.slow
@pytest.mark.parametrize("dtype", HALVES)
def test_adjoints_and_gradients_are_those_of_32_bits(dtype: Any) -> None:
    x = jax.random.normal(jax.random.key(1), (T, B, M))
    cells = {
        kind: CELLS["lstm"](inputs=M, features=N, param_dtype=kind)
        for kind in (jnp.float32, dtype)
    }
    params = Recurrent(cells[jnp.float32]).init(jax.random.key(0), x)["params"]
    made = Recurrent(cells[dtype]).init(jax.random.key(0), x.astype(dtype))["params"]
    for leaf, other in zip(*map(jax.tree.leaves, (made, params)), strict=True):
        assert leaf.dtype == dtype
        np.testing.assert_allclose(leaf.astype(np.float32), other, rtol=1e-2, atol=1e-3)

    @quick_jit
    def found(params: Any, x: jax.Array) -> Any:
        given = []
        for kind, cell in cells.items():
            own, inputs = jax.tree.map(lambda a, k=kind: a.astype(k), (params, x))
            walked = walk_layer(cell, own["cell"], inputs)
            cotangent = jax.tree.map(lambda h: jnp.ones_like(h[-1]), walked.states)
            kept = Recurrent(cell, backprop="renormalise")

            def loss(own: Any, kept: Any = kept, inputs: Any = inputs) -> Any:
                outputs = kept.apply({"params": own}, inputs)[0][-1]
                return jnp.sum(outputs.astype(jnp.float32))

            gradient = jax.tree.map(
                lambda g: g.astype(jnp.float32), jax.grad(loss)(own)
            )
            given.append((lagged_norms(walked, cotangent), gradient))
        return given

    (norms, gradient), (half, other) = found(params, x)
    assert half.dtype == jnp.float32
    np.testing.assert_allclose(half, norms, rtol=0, atol=0.05)
    for a, b in zip(*map(jax.tree.leaves, (other, gradient)), strict=True):
        assert np.linalg.norm(a - b) < 0.1 * np.linalg.norm(b)


@pytest.mark.parametrize("dtype", HALVES)
def test_decompositions_are_made_in_32_bits(dtype: Any) -> None:
    for name in ("orthogonal", "sparse"):
        draw = make_initializer(name)
        kernel, wide = (draw(jax.random.key(0), (N, N), k) for k in (dtype, "float32"))
        assert kernel.dtype == dtype
        np.testing.assert_array_equal(kernel, wide.astype(dtype))
    cell = CELLS["elman"](inputs=M, features=N, param_dtype=dtype)
    x = jax.random.normal(jax.random.key(1), (T, B, M))
    params = cell.init(jax.random.key(0), cell.initial_state((B,)), x[0].astype(dtype))
    own = CELLS["elman"](inputs=M, features=N)

    @quick_jit
    def found(params: Any, x: jax.Array) -> Any:
        """Along one trajectory, with Jacobians of 16 and of 32 bits."""
        half = walk_layer(cell, params, x.astype(dtype))
        floats = lambda a: jnp.issubdtype(a.dtype, jnp.floating)
        up = lambda a: a.astype(jnp.float32) if floats(a) else a
        full = dataclasses.replace(jax.tree.map(up, half), cell=own)
        return lyapunov(half, k=2).exponents, lyapunov(full, k=2).exponents

    np.testing.assert_allclose(*found(params["params"], x), rtol=0, atol=0.05)
    eps = float(jnp.finfo(dtype).eps)
    assert double(jnp.eye(2, dtype=dtype)[None])[1] == eps


@pytest.mark.parametrize("dtype", HALVES)
def test_every_cell_has_gradients(dtype: Any) -> None:
    for name in ("exprnn", "lru", "urnn", "gru"):
        cell = CELLS[name](inputs=M, features=N, param_dtype=dtype)
        layer, x = Recurrent(cell), jnp.zeros((2, 1, M), dtype)
        variables = jax.eval_shape(layer.init, jax.random.key(0), x)

        def loss(variables: Any, layer: Recurrent = layer, x: Any = x) -> Any:
            outputs, _ = layer.apply(variables, x)
            return jnp.sum(outputs.astype(jnp.float32))

        gradient = jax.eval_shape(jax.grad(loss), variables)
        assert {leaf.dtype for leaf in jax.tree.leaves(gradient)} == {jnp.dtype(dtype)}
