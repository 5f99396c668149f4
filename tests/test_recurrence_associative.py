"""Linear recurrences by an associative scan: what is linear, and equal to the loop."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnjax.cells import Cell, IndRNN, MinGRU
from rnnjax.errors import UserError
from rnnjax.recurrence.associative import is_linear
from rnnjax.recurrence.functional import call, make_weights
from rnnjax.recurrence.layer import Recurrent, make_drive
from rnnjax.recurrence.linear_scan import linear_adjoint, linear_scan
from rnnjax.recurrence.step import first
from tests.engine_samples import outcome
from tests.recurrence_samples import (
    LABELS,
    B,
    M,
    N,
    arguments,
    build,
    noise,
    normwise,
    quick_jit,
)


def one_step(cell: Cell, label: str) -> tuple[Any, Any, Any, Any]:
    """Static cell, weights, state and drive of one step."""
    variables, x, h0 = arguments(label, "float64")
    static, weights = make_weights(cell, variables["params"].get("cell", {}))
    drive = make_drive(static, weights, x)
    return static, weights, h0, jax.tree.map(lambda v: v[0], drive.values)


def linear_by_values(label: str) -> bool:
    """Whether the Jacobian of a step is diagonal and the same at two states."""
    static, weights, h0, drive = one_step(build(label, "float64"), label)
    leaves, treedef = jax.tree.flatten(h0)
    units = [
        treedef.unflatten(
            [
                jnp.zeros_like(x).at[:, entry].set(1 if own == array else 0)
                for own, x in enumerate(leaves)
            ]
        )
        for array in range(len(leaves))
        for entry in range(N)
    ]
    tangents = jax.tree.map(lambda *u: jnp.stack(u), *units)

    @quick_jit
    def directions(states: Any) -> Any:
        """The derivatives along one unit after the other, at several states."""

        def along(state: Any, unit: Any) -> Any:
            step = lambda s: call(static, weights, "step", s, drive)[0]
            return jax.jvp(step, (state,), (unit,))[1]

        each = jax.vmap(along, in_axes=(None, 0))
        return jax.vmap(each, in_axes=(0, None))(states, tangents)

    states = jax.tree.map(lambda *s: jnp.stack(s), noise(0, h0), noise(1, h0))
    moved = jax.tree.map(np.asarray, directions(states))
    pairs = zip(jax.tree.leaves(moved), jax.tree.leaves(tangents), strict=True)
    alone = [np.all(np.abs(m[:, t == 0]) < 1e-12) for m, t in pairs]
    one, other = (jax.tree.map(lambda m, i=i: m[i], moved) for i in (0, 1))
    return all(alone) and normwise(one, other) < 1e-12


@pytest.mark.parametrize("label", LABELS)
def test_every_cell_is_equal_to_the_loop_or_refused(label: str, x64: None) -> None:
    linear = linear_by_values(label)
    assert is_linear(*one_step(build(label, "float64"), label)) == linear
    assert linear or label not in ("lru", "mingru")
    if not linear:
        layer = Recurrent(build(label, "float64"), engine="associative")
        with pytest.raises(UserError, match="linear in each unit .* use engine=scan"):
            jax.eval_shape(layer.init, jax.random.key(0), jnp.ones((2, 1, M)))
        return
    actual, expected = (outcome(label, engine=e) for e in ("associative", "plain"))
    for part in ("value", "run", "gradient", "taps", "second"):
        error = normwise(getattr(actual, part), getattr(expected, part))
        assert error < 1e-13, part


class Pair(NamedTuple):
    y: Any
    z: Any


STEPS = {
    "a sum of terms": (lambda h, d: 0.5 * h + d - h / d, True),
    "gates of the input": (lambda h, d: jnp.where(d > 0, h, d) * jnp.tanh(d), True),
    "a function inside": (lambda h, d: jax.jit(lambda u: -u)(h) + d, True),
    "the input alone": (lambda h, d: jnp.sin(d), True),
    "a square": (lambda h, d: h * h + d, False),
    "a gate of the state": (lambda h, d: jnp.where(h > 0, h, d), False),
    "a state below": (lambda h, d: d / h, False),
    "a neighbour": (lambda h, d: jnp.roll(h, 1, -1) + d, False),
    "a mean": (lambda h, d: h - jnp.mean(h, -1, keepdims=True), False),
    "a constant to JAX": (lambda h, d: jax.lax.stop_gradient(h) + d, False),
    "a loop": (lambda h, d: jax.lax.fori_loop(0, 3, lambda _, u: u * u, h), False),
}


@pytest.mark.parametrize("name", STEPS)
def test_what_counts_as_linear(name: str) -> None:
    function, expected = STEPS[name]

    class Own(Cell):
        def step(self, state, drive):
            return function(state, drive)

    static, weights = make_weights(Own(inputs=N, features=N), {})
    x = jnp.ones((B, N))
    assert is_linear(static, weights, x, x) == expected


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        (lambda s, d: Pair(s.y * d, s.z + d), True),
        (lambda s, d: Pair(s.z * d, s.y + d), False),
        (lambda s, d: Pair(s.y + s.z, s.z), False),
    ],
)
def test_arrays_of_a_state_must_not_mix(step, expected):
    class Two(Cell):
        def step(self, state, drive):
            return step(state, drive)

    static, weights = make_weights(Two(inputs=N, features=N), {})
    x = jnp.ones((B, N))
    assert is_linear(static, weights, Pair(x, x), x) == expected


def test_a_conjugate_is_not_linear():
    class Conjugate(Cell):
        def step(self, state, drive):
            return jnp.conj(state) + drive

    static, weights = make_weights(Conjugate(inputs=N, features=N), {})
    z = jnp.ones((B, N), jnp.complex64)
    assert not is_linear(static, weights, z, z)


def test_an_identity_makes_a_cell_linear():
    cell = IndRNN(inputs=M, features=N, activation="identity")
    layer = Recurrent(cell, engine="associative")
    x = noise(0, jax.ShapeDtypeStruct((9, B, M), jnp.float32))
    variables = layer.init(jax.random.key(0), x)
    static, weights = make_weights(cell, variables["params"]["cell"])
    drive = make_drive(static, weights, x)
    assert is_linear(static, weights, jnp.ones((B, N)), first(drive.values))
    expected = layer.clone(engine="plain").apply(variables, x)
    assert normwise(layer.apply(variables, x), expected) < 1e-6


@pytest.mark.parametrize(
    "fields", [{"backwards": True}, {"backprop": "cut", "lag": 3}], ids=["back", "cut"]
)
def test_other_ways_through_time(fields: dict[str, Any]) -> None:
    actual, expected = (
        outcome("mingru", engine=engine, **fields)
        for engine in ("associative", "plain")
    )
    for part in ("run", "gradient", "taps", "second"):
        error = normwise(getattr(actual, part), getattr(expected, part))
        assert error < 1e-13, part


@pytest.mark.parametrize("dense", [False, True])
@pytest.mark.parametrize("steps", [1, 2, 7])
def test_linear_scans_equal_a_loop(dense: bool, steps: int, x64: None) -> None:
    rng = np.random.default_rng(steps)
    draw = lambda *s: rng.normal(size=s) + 1j * rng.normal(size=s)
    A, b, g = draw(steps, 2, 3, *[3] * dense), draw(steps, 2, 3), draw(steps, 2, 3)
    through = "bij,bj->bi" if dense else "bi,bi->bi"
    back = "bji,bj->bi" if dense else "bi,bi->bi"
    states, h = [], np.zeros((2, 3), complex)
    for t in range(steps):
        h = np.einsum(through, A[t], h) + b[t]
        states.append(h)
    adjoints, later = [], np.zeros((2, 3), complex)
    for t in reversed(range(steps)):
        adjoints.insert(0, g[t] + later)
        later = np.einsum(back, A[t], adjoints[0])
    found = quick_jit(lambda *a: (linear_scan(a[0], a[1]), linear_adjoint(a[0], a[2])))
    scanned, pulled = found(A, b, g)
    assert normwise(scanned, np.array(states)) < 1e-14
    assert normwise(pulled, np.array(adjoints)) < 1e-14


@pytest.mark.parametrize("kind", ["forgetting", "near 1", "tiny", "0 or 1"])
def test_long_products_lose_no_more_than_the_loop(kind: str) -> None:
    """Rounding against Σ |terms| stays that of the loop, without logarithms."""
    steps, rng = 20_000, np.random.default_rng(0)
    a = {
        "forgetting": rng.uniform(0, 1, (steps, 1, 4)),
        "near 1": 1 - 10.0 ** rng.uniform(-6, -2, (steps, 1, 4)),
        "tiny": 10.0 ** rng.uniform(-30, 0, (steps, 1, 4)),
        "0 or 1": rng.integers(0, 2, (steps, 1, 4)),
    }[kind].astype(np.float32)
    b = rng.normal(size=(steps, 1, 4)).astype(np.float32)
    exact, size = np.zeros((steps, 1, 4)), np.zeros((steps, 1, 4))
    h = np.zeros((2, 1, 4))
    for t in range(steps):
        h = a[t].astype(float) * h + np.stack([b[t], np.abs(b[t])]).astype(float)
        exact[t], size[t] = h
    error = np.abs(np.asarray(jax.jit(linear_scan)(a, b)) - exact) / size
    assert np.max(error) < 4 * np.finfo(np.float32).eps


def test_renormalising_belongs_to_the_reverse_scan():
    layer = Recurrent(
        MinGRU(inputs=M, features=N), engine="associative", backprop="renormalise"
    )
    with pytest.raises(UserError, match="use engine=scan"):
        jax.eval_shape(layer.init, jax.random.key(0), jnp.ones((2, 1, M)))
