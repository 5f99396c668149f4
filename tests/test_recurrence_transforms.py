"""The gradient of the reverse scan under the transformations of JAX."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from rnnjax.cells import Cell
from tests.recurrence_samples import (
    LABELS,
    LENGTHS,
    RESETS,
    arguments,
    build,
    compiled,
    direction,
    loss,
    normwise,
    quick_jit,
    rows,
)


two_kinds = pytest.mark.parametrize(  # a tuple, complex
    "label", ["lstm", pytest.param("urnn", marks=pytest.mark.slow)]
)


def gradient(cell: Cell, engine: str, lengths: Any = LENGTHS, resets: Any = RESETS):
    """(variables, x, h0) → gradients of all three."""

    def function(variables: Any, x: Any, h0: Any) -> Any:
        objective = lambda args: loss(engine, cell, args, masks=(lengths, resets))[0]
        return jax.grad(objective)((variables, x, h0))

    return function


@functools.cache
def plain_gradient(label: str) -> Callable[..., Any]:
    """The reference, compiled once a cell. Call it under `x64`."""

    def function(args: Any, lengths: Any = LENGTHS, resets: Any = RESETS) -> Any:
        return gradient(build(label, "float64"), "plain", lengths, resets)(*args)

    return quick_jit(function)


def stack(trees: Any) -> Any:
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


def at(tree: Any, *index: Any) -> Any:
    return jax.tree.map(lambda leaf: leaf[index], tree)


def devices(axis: str) -> Mesh:
    assert len(jax.devices()) >= 2
    return Mesh(np.array(jax.devices()[:2]), (axis,))


def assert_equal(actual: Any, expected: Any, tolerance: float = 1e-12) -> None:
    """Gradients of weights, inputs and initial state, each normwise."""
    for part, reference in zip(actual, expected, strict=True):
        assert normwise(part, reference) < tolerance


@pytest.mark.parametrize("label", rows(LABELS))
def test_a_pack_of_runs_under_all_transformations_at_once(
    label: str, x64: None
) -> None:
    """Two devices, runs one after the other, batched over weights, rematerialised."""
    one = jax.checkpoint(gradient(build(label, "float64"), "scan"))
    batched = jax.vmap(lambda args: one(*args))
    pack = jax.shard_map(
        lambda args: lax.map(batched, args),
        mesh=devices("runs"),
        in_specs=P("runs"),
        out_specs=P("runs"),
        check_vma=False,
    )
    runs = [arguments(label, "float64", 10 * seed) for seed in range(8)]
    pairs = [stack(runs[k : k + 2]) for k in range(0, 8, 2)]
    results = quick_jit(pack)(stack(pairs))
    towards = direction(label, "float64")
    for k, run in enumerate(runs):
        _, _, expected, _, _ = compiled(label, "float64")(run, towards)[0]["plain"]
        assert_equal(at(results, *divmod(k, 2)), expected)


@two_kinds
@pytest.mark.parametrize("part", ["variables", "inputs", "h0", "all"])
def test_vmap_over_any_part(label: str, part: str, x64: None) -> None:
    first, second = arguments(label, "float64"), arguments(label, "float64", 10)
    mapped = {"variables": [0], "inputs": [1], "h0": [2], "all": [0, 1, 2]}[part]
    other = tuple(second[k] if k in mapped else first[k] for k in range(3))
    args = tuple(
        stack([first[k], second[k]]) if k in mapped else first[k] for k in range(3)
    )
    axes = tuple(0 if k in mapped else None for k in range(3))
    function = gradient(build(label, "float64"), "scan")
    results = quick_jit(jax.vmap(function, in_axes=axes))(*args)
    assert_equal(at(results, 0), plain_gradient(label)(first))
    assert_equal(at(results, 1), plain_gradient(label)(other))


@two_kinds
@pytest.mark.parametrize("wrap", [jax.checkpoint, lambda f: f], ids=["remat", "none"])
def test_one_transformation(label: str, wrap: Any, x64: None) -> None:
    first, second = arguments(label, "float64"), arguments(label, "float64", 10)
    cell = build(label, "float64")
    objective = wrap(lambda args: loss("scan", cell, args)[0])
    results = quick_jit(lambda args: lax.map(jax.grad(objective), args))(
        stack([first, second])
    )
    assert_equal(at(results, 0), plain_gradient(label)(first))
    assert_equal(at(results, 1), plain_gradient(label)(second))


def half(tree: Any, k: int, axis: int) -> Any:
    return jax.tree.map(lambda leaf: np.split(np.asarray(leaf), 2, axis)[k], tree)


@two_kinds
def test_the_batch_split_over_two_devices(label: str, x64: None) -> None:
    variables, x, h0 = arguments(label, "float64")

    def local(variables: Any, x: Any, h0: Any, lengths: Any, resets: Any) -> Any:
        function = gradient(build(label, "float64"), "scan", lengths, resets)
        d_variables, dx, dh0 = function(variables, x, h0)
        return lax.psum(d_variables, "b"), dx, dh0

    steps = P(None, "b")
    split = jax.shard_map(
        local,
        mesh=devices("b"),
        in_specs=(P(), steps, P("b"), P("b"), steps),
        out_specs=(P(), steps, P("b")),
        check_vma=False,
    )
    d_variables, dx, dh0 = quick_jit(split)(variables, x, h0, LENGTHS, RESETS)
    parts = [
        plain_gradient(label)(
            (variables, half(x, k, 1), half(h0, k, 0)),
            half(LENGTHS, k, 0),
            half(RESETS, k, 1),
        )
        for k in (0, 1)
    ]
    summed = jax.tree.map(jnp.add, parts[0][0], parts[1][0])
    assert normwise(d_variables, summed) < 1e-12
    for k in (0, 1):
        assert_equal((half(dx, k, 1), half(dh0, k, 0)), parts[k][1:])
