"""Cells, inputs and one compiled function that the tests of the recurrence share."""

import dataclasses
import functools
from collections.abc import Iterable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnjax.cells import CELLS, Cell
from rnnjax.checking import cell_subject
from rnnjax.recurrence.functional import Weights, make_weights, split_cell
from rnnjax.recurrence.layer import Recurrent, make_drive
from rnnjax.recurrence.reverse import reverse_scan
from rnnjax.recurrence.scan import plain_scan, zero_taps


T, B, M, N = 12, 4, 3, 4
LENGTHS = np.array([T, 0, 7, 1], np.int32)
RESETS = np.zeros((T, B), bool)
RESETS[[0, 5, 3, 10, 4], [0, 0, 2, 2, 1]] = True  # the last two on padding


# Compilation is the cost of these tests; they check mathematics, not generated code.
quick_jit = functools.partial(
    jax.jit, compiler_options={"xla_backend_optimization_level": 0}
)


class Plain(Cell):
    """A cell with a step and a dense matrix of its own, outside the seams."""

    def setup(self):
        init = nn.initializers.glorot_uniform()
        shape = (self.inputs + self.features, self.features)
        self.W = self.param("W", init, shape, self.param_dtype)
        self.a = self.vector("a", self.features)

    def step(self, h, x):
        return jnp.tanh(jnp.concatenate([x, h], axis=-1) @ self.W + self.a)


class Submodule(Cell):
    """A cell whose step calls a layer of linen."""

    def setup(self):
        self.dense = nn.Dense(self.features, param_dtype=self.param_dtype)

    def step(self, h, x):
        return jnp.tanh(self.dense(jnp.concatenate([x, h], axis=-1)))


class Reused(Cell):
    """One kernel twice in a step, a block kernel, and a product that sees the input."""

    def setup(self):
        n = self.features
        self.kernel("V", self.inputs, n, "glorot_uniform")
        self.kernel("U", n, n, "orthogonal")
        init = nn.initializers.normal(0.5)
        self.param("G", init, (2, n // 2, n // 2), self.param_dtype)

    def readin(self, x):
        return self.project("V", x)

    def step(self, h, drive):
        h = jnp.tanh(drive + self.recur("U", h))
        return jnp.tanh(self.recur("U", h * drive) + self.recur("G", h, "block"))


USER_CELLS: dict[str, type[Cell]] = {
    "user_plain": Plain,
    "user_submodule": Submodule,
    "user_reused": Reused,
}
OPTIONS: dict[str, dict[str, Any]] = {
    "rhn": {"depth": 2, "coupled": False},
    "cornn": {"dt": 0.3, "gamma": 1.7, "epsilon": 0.9},
    "antisymmetric": {"epsilon": 0.3},
}
STRUCTURES = {
    "antisymmetric": "a kernel computed from a parameter, numeric fields",
    "cornn": "two products side by side, two state arrays",
    "elman": "one product",
    "exprnn": "a kernel computed from a vector",
    "gru": "a parameter outside the products",
    "gru_before": "two products in a row, the second of a gated state",
    "indrnn": "an elementwise product",
    "lem": "two products in a row, the second of a new state array",
    "lru": "a complex elementwise product, and products in the readout",
    "lstm": "gates from one product, two state arrays",
    "mingru": "no product with the state",
    "minimal_rnn": "two input products in a row, a drive of two arrays",
    "rhn": "a loop of products",
    "urnn": "a complex product",
}
"""Cells that stand for all: to the engines and the probes every other registered cell
is one of these, and `test_cells` holds it to its equations and to first order."""

LABELS = [*STRUCTURES, *USER_CELLS]

EXEMPLARS = {
    "antisymmetric": "a kernel computed from a parameter",
    "gru_before": "two products in a row",
    "lru": "an elementwise product, complex; products in the readout",
    "lstm": "two state arrays",
    "peephole_lstm": "an elementwise product with a new state array",
    "scrn": "state arrays of two sizes",
    "urnn": "a complex product",
    "user_plain": "no seam at all",
    "user_reused": "a kernel used twice, a block kernel",
}
"""What can go wrong differently. Compilation makes a row dear: others are rare."""


def rows(labels: Iterable[str], often: Iterable[str] = EXEMPLARS) -> list[Any]:
    """Rows of a table over cells: those `often` run, and with ``--all`` the others."""
    rare, often = pytest.mark.slow, {*often}
    return [x if x in often else pytest.param(x, marks=rare) for x in labels]


def build(label: str, dtype: Any) -> Cell:
    kind = USER_CELLS.get(label) or CELLS[label]
    options = OPTIONS.get(label, {})
    return kind(inputs=M, features=N, param_dtype=jnp.dtype(dtype), **options)


def noise(seed: int, like: Any, scale: float = 1.0) -> Any:
    """Normal noise of the shapes and dtypes of a pytree, complex ones included."""
    return jax.tree.map(jnp.asarray, cell_subject.noise(seed, like, scale))


def shapes_of(cell: Cell, batch: int) -> tuple[Cell, Weights, Any, Any]:
    """(static cell, weights, state, input) as shapes, to trace a cell without a run."""
    x = jax.ShapeDtypeStruct((batch, cell.inputs), cell.param_dtype)
    state = jax.eval_shape(lambda: cell.initial_state((batch,)))
    params = jax.eval_shape(cell.init, jax.random.key(0), state, x)["params"]
    weights = jax.eval_shape(lambda p: make_weights(cell, p)[1], params)
    return split_cell(cell)[0], weights, state, x


def arguments(label: str, dtype: Any, seed: int = 0) -> tuple[Any, jax.Array, Any]:
    """Random (variables, inputs, initial state)."""
    cell = build(label, dtype)
    x = jax.ShapeDtypeStruct((T, B, M), jnp.dtype(dtype))
    made = jax.eval_shape(Recurrent(cell).init, jax.random.key(0), x)
    h0 = jax.eval_shape(lambda: cell.initial_state((B,)))
    return noise(seed, made, 0.5), noise(seed + 1, x), noise(seed + 2, h0, 0.5)


def pairing(a: Any, b: Any) -> jax.Array:
    """Re Σ a b: how a cotangent of JAX meets a tangent, complex ones included."""
    pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return sum((jnp.sum(x * y).real for x, y in pairs), jnp.zeros(()))


def objective(outputs: jax.Array, states: Any) -> jax.Array:
    """A number that depends on every output and on the last states."""
    weight = jnp.cos(jnp.arange(outputs.size, dtype=outputs.dtype))
    held = sum(jnp.sum(jnp.square(jnp.abs(s[-1]))) for s in jax.tree.leaves(states))
    return jnp.sum(jnp.sin(outputs) * jnp.reshape(weight, outputs.shape)) + 0.5 * held


def loss(engine: Any, cell: Cell, args: Any, taps: Any = None, masks: Any = None):
    """The objective of a layer and, beside it, its outputs and states."""
    variables, x, h0 = args
    if taps is not None:
        variables = {**variables, "taps": taps}
    lengths, resets = (LENGTHS, RESETS) if masks is None else masks
    lengths, resets = jnp.asarray(lengths), jnp.asarray(resets)
    layer = Recurrent(cell, engine=engine)
    outputs, states = layer.apply(variables, x, lengths, resets, h0)
    return objective(outputs, states), (outputs, states)


@dataclasses.dataclass(frozen=True)
class Measured:
    """What one engine gave, as NumPy arrays.

    Attributes:
        value: the objective.
        run: outputs and states.
        gradient: of (variables, inputs, initial state).
        taps: gradient of the taps ``{"states": …, "seams": …}``.
        second: Hessian times `direction`, of (variables, inputs, initial state).
    """

    value: Any
    run: Any
    gradient: Any
    taps: Any
    second: Any


@functools.cache
def compiled(label: str, dtype: str) -> Any:
    """(arguments, direction) → everything the tests compare, in one compilation."""
    cell = build(label, dtype)

    @quick_jit
    def run(args: Any, direction: Any) -> Any:
        variables, x, h0 = args
        params = variables["params"].get("cell", {})
        static, weights = make_weights(cell, params)
        drive = make_drive(
            static, weights, x, jnp.asarray(LENGTHS), jnp.asarray(RESETS)
        )
        zero = zero_taps(static, weights, h0, drive)
        taps = {"states": zero.states, "seams": zero.seams}

        def directional(args: Any, engine: str) -> Any:
            target = functools.partial(loss, engine, cell)
            (value, run), (gradient, tap) = jax.value_and_grad(
                target, argnums=(0, 1), has_aux=True
            )(args, taps)
            return pairing(gradient, direction), (value, run, gradient, tap)

        engines = {}
        for engine in ("scan", "plain"):
            second, first = jax.grad(directional, has_aux=True)(args, engine)
            engines[engine] = (*first, second)

        states = plain_scan(static, weights, h0, drive, type(zero)())
        cotangent = noise(9, states)
        valid = jnp.arange(T)[:, None, None] < LENGTHS[None, :, None]
        cotangent = jax.tree.map(lambda c: jnp.where(valid, c, 0), cotangent)
        back = functools.partial(
            reverse_scan, static, weights, h0, drive, states, cotangent
        )
        scales = jnp.zeros((T, B), jnp.int32)
        return engines, back(adjoints=True), back(exponents=scales)

    return run


@functools.cache
def measure(label: str, dtype: str) -> tuple[dict[str, Measured], Any, Any]:
    """Both engines, and the reverse scan without and with exponents."""
    with jax.enable_x64(dtype == "float64"):
        args = arguments(label, dtype)
        engines, plain, scaled = compiled(label, dtype)(args, direction(label, dtype))
        engines, plain, scaled = jax.tree.map(np.asarray, (engines, plain, scaled))
    return {name: Measured(*parts) for name, parts in engines.items()}, plain, scaled


def direction(label: str, dtype: str) -> Any:
    """A random direction in the space of `arguments`."""
    return noise(5, arguments(label, dtype))


def normwise(actual: Any, expected: Any) -> float:
    """‖actual − expected‖ / ‖expected‖ over all leaves together."""
    pairs = zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True)
    norms = [
        (np.linalg.norm(np.ravel(a) - np.ravel(e)), np.linalg.norm(np.ravel(e)))
        for a, e in pairs
    ]
    difference, size = np.linalg.norm(norms, axis=0)
    assert size > 0, "an expected gradient of zero says nothing"
    return float(difference / size)
