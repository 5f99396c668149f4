"""Every cell against its paper's equations, and as a cell of flax.linen."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnjax.cells import CELLS, Cell
from rnnjax.recurrence.layer import Recurrent
from tests import cells_reference as reference
from tests import cells_reference_gated as gated
from tests.recurrence_samples import STRUCTURES, noise, objective


T, B, M, N = 7, 3, 2, 5


@dataclasses.dataclass(frozen=True)
class Case:
    """A cell with options, its equations and, unless it is the state, its output."""

    cell: str
    states: Callable[..., Any]
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    output: Callable[..., Any] | None = None

    def build(self, dtype: Any = jnp.float64, **more: Any) -> Cell:
        given = {"inputs": M, "features": N, "param_dtype": dtype}
        return CELLS[self.cell](**{**given, **self.options, **more})

    @property
    def numbers(self) -> dict[str, float]:
        """The options that act during a run and may be traced."""
        starts = CELLS[self.cell].initial
        floats = {k: v for k, v in self.options.items() if isinstance(v, float)}
        return {k: v for k, v in floats.items() if k not in starts}

    def expected(
        self, params: Any, x: Any, h0: Any, numbers: Mapping[str, Any]
    ) -> tuple[Any, Any]:
        """(outputs, states) by the equations, from NumPy arrays."""
        h0 = tuple(h0) if isinstance(h0, tuple) else h0
        states = self.states(params, x, h0, **numbers)
        if self.output is None:
            return jax.tree.leaves(states)[0], states
        return self.output(params, x, states), states


def case(cell: str, states: Callable[..., Any], output=None, **options: Any) -> Case:
    return Case(cell, states, options, output)


def given(function: Callable[..., Any], **arguments: Any) -> Callable[..., Any]:
    return functools.partial(function, **arguments)


STEPS = {"dt": 0.3, "gamma": 1.7, "epsilon": 0.9}

CASES = {
    "atr": case("atr", gated.atr),
    "brc": case("brc", gated.brc),
    "cfn": case("cfn", gated.cfn),
    "elman": case("elman", reference.elman),
    "elman_relu": case(
        "elman",
        given(reference.elman, phi=reference.relu),
        activation="relu",
        recurrent_init="identity",
    ),
    "fastgrnn": case("fastgrnn", gated.fastgrnn),
    "fastrnn": case("fastrnn", gated.fastrnn),
    "janet": case("janet", gated.janet, beta=0.7),
    "leaky": case("leaky", reference.leaky, alpha=0.3),
    "lightru": case("lightru", gated.lightru),
    "ligru": case("ligru", gated.ligru),
    "lstm": case("lstm", gated.lstm),
    "lstm_chrono": case("lstm", gated.lstm, chrono=50.0),
    "lstm_relu": case("lstm", given(gated.lstm, phi=reference.relu), activation="relu"),
    "gru": case("gru", gated.gru),
    "gru_before": case("gru_before", gated.gru_before, update_bias=1.0),
    "mgu": case("mgu", gated.mgu),
    "minimal_rnn": case("minimal_rnn", gated.minimal_rnn),
    "minlstm": case("minlstm", gated.minlstm),
    "multiplicative_lstm": case("multiplicative_lstm", gated.multiplicative_lstm),
    "mut1": case("mut1", gated.mut1),
    "nbrc": case("nbrc", gated.nbrc),
    "peephole_lstm": case("peephole_lstm", gated.peephole_lstm),
    "ran": case("ran", gated.ran),
    "scrn": case("scrn", reference.scrn, reference.scrn_output, alpha=0.6, context=3),
    "star": case("star", gated.star),
    "ugrnn": case("ugrnn", gated.ugrnn),
    "antisymmetric": case(
        "antisymmetric", reference.antisymmetric, epsilon=0.3, gamma=0.2
    ),
    "gated_antisymmetric": case(
        "gated_antisymmetric", reference.gated_antisymmetric, epsilon=0.3, gamma=0.2
    ),
    "rhn": case("rhn", given(reference.rhn, depth=3, coupled=True), depth=3),
    "rhn_carry": case(
        "rhn", given(reference.rhn, depth=2, coupled=False), depth=2, coupled=False
    ),
    "lem": case("lem", reference.lem, dt=0.5),
    "cornn": case("cornn", given(reference.cornn, implicit=False), **STEPS),
    "cornn_implicit": case(
        "cornn", given(reference.cornn, implicit=True), implicit=True, **STEPS
    ),
    "urnn": case("urnn", reference.urnn, reference.urnn_output),
    "exprnn": case("exprnn", reference.exprnn),
    "exprnn_henaff": case("exprnn", reference.exprnn, skew_init="henaff"),
    "lru": case("lru", reference.lru, reference.lru_output, r_min=0.5, r_max=0.9),
    "mingru": case("mingru", gated.mingru),
    "mingru_positive": case(
        "mingru", given(gated.mingru, g=gated.mingru_g), positive=True
    ),
    "indrnn": case("indrnn", reference.indrnn),
}

ONE_EACH = {case.cell: label for label, case in reversed(CASES.items())}
FIRST_ORDER = [label for label, case in CASES.items() if case.cell not in STRUCTURES]


@dataclasses.dataclass(frozen=True)
class Trial:
    """A cell with random parameters, run over random inputs from a random state."""

    variables: Any
    params: dict[str, np.ndarray]
    x: jax.Array
    h0: Any
    outputs: Any
    states: Any
    gradient: Any
    """Of (parameters, inputs, initial state, numbers), of the cells in FIRST_ORDER."""


@functools.cache
def trial(label: str) -> Trial:
    """Call it under `x64`. One compilation for a cell."""
    stated = CASES[label]
    cell = stated.build()
    x = noise(0, jax.ShapeDtypeStruct((T, B, M), jnp.float64))
    made = jax.eval_shape(Recurrent(cell).init, jax.random.key(0), x)
    variables = noise(1, made, 0.5)
    h0 = noise(2, cell.initial_state((B,)))

    def run(variables: Any, x: jax.Array, h0: Any, numbers: Any) -> Any:
        layer = Recurrent(stated.build(**numbers))
        outputs, states = layer.apply(variables, x, initial_state=h0)
        return objective(outputs, states), (outputs, states)

    if label in FIRST_ORDER:
        run = jax.value_and_grad(run, (0, 1, 2, 3), has_aux=True)
    numbers = jax.tree.map(jnp.float64, stated.numbers)
    result, gradient = jax.jit(run)(variables, x, h0, numbers), None
    if label in FIRST_ORDER:
        result, (d_variables, *rest) = result
        gradient = (d_variables["params"]["cell"], *rest)
    _, (outputs, states) = result
    params = {k: np.asarray(v) for k, v in variables["params"]["cell"].items()}
    return Trial(variables, params, x, h0, outputs, states, gradient)


def relative_error(actual: Any, expected: Any) -> float:
    """Largest difference in units of the largest entry, over all leaves."""
    pairs = zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True)
    return max(
        float(np.max(np.abs(np.asarray(a) - e)) / np.max(np.abs(e))) for a, e in pairs
    )


def test_the_table_is_complete() -> None:
    assert set(ONE_EACH) == {name for name in CELLS if CELLS[name] in BUILT_IN}


BUILT_IN = [
    CELLS[name] for name in CELLS if CELLS[name].__module__.startswith("rnnjax")
]


@pytest.mark.parametrize("label", CASES)
def test_states_and_outputs_follow_the_equations(label: str, x64: None) -> None:
    run, stated = trial(label), CASES[label]
    x, h0 = jax.tree.map(np.asarray, (run.x, run.h0))
    outputs, states = stated.expected(run.params, x, h0, stated.numbers)
    assert relative_error(run.states, states) < 1e-12
    assert relative_error(run.outputs, outputs) < 1e-12
    assert run.outputs.shape[-1] == stated.build().output_size


@pytest.mark.parametrize("label", FIRST_ORDER)
def test_gradients_equal_finite_differences_of_the_equations(
    label: str, x64: None
) -> None:
    run, stated = trial(label), CASES[label]
    at = jax.tree.map(np.asarray, (run.params, run.x, run.h0, stated.numbers))
    leaves, tree = jax.tree.flatten(at)
    rng, step = np.random.default_rng(3), 1e-5

    def moved(index: int, by: Any) -> float:
        near = [leaf + by if k == index else leaf for k, leaf in enumerate(leaves)]
        return float(objective(*stated.expected(*jax.tree.unflatten(tree, near))))

    for index, part in enumerate(jax.tree.leaves(run.gradient)):
        along = rng.normal(size=part.shape)
        ends = [moved(index, sign * step * along) for sign in (1, -1)]
        slope = (ends[0] - ends[1]) / (2 * step)
        np.testing.assert_allclose(np.sum(part * along), slope, rtol=1e-6, atol=1e-8)
        assert np.any(part != 0), "a gradient of zero says nothing"


@pytest.mark.parametrize("label", [ONE_EACH[cell] for cell in STRUCTURES])
def test_a_cell_runs_inside_linen_rnn(label: str, x64: None) -> None:
    run = trial(label)
    layer = nn.RNN(CASES[label].build(), time_major=True, return_carry=True)
    made = jax.eval_shape(layer.init, jax.random.key(0), run.x)
    assert jax.tree.structure(made) == jax.tree.structure(run.variables)
    apply = jax.jit(lambda v, x, h: layer.apply(v, x, initial_carry=h))
    carry, outputs = apply(run.variables, run.x, run.h0)
    assert relative_error(outputs, run.outputs) < 1e-14
    assert relative_error(carry, jax.tree.map(lambda s: s[-1], run.states)) < 1e-14


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
@pytest.mark.parametrize("label", ONE_EACH.values())
def test_parameters_are_real_and_states_follow_param_dtype(
    label: str, dtype: Any, x64: None
) -> None:
    cell = CASES[label].build(dtype)
    x = jax.ShapeDtypeStruct((T, B, M), dtype)
    layer = Recurrent(cell, learn_initial_state=True)
    made = jax.eval_shape(layer.init, jax.random.key(0), x)
    assert set(made) == {"params"}
    assert {leaf.dtype for leaf in jax.tree.leaves(made)} == {np.dtype(dtype)}

    carry = cell.initial_state((B,))
    now = jax.ShapeDtypeStruct((B, M), dtype)
    alone = jax.eval_shape(cell.init, jax.random.key(0), carry, now)
    assert set(alone) == {"params"}, "seams are recorded in a run, not by init"

    start = cell.initial_state((B, 2))  # of a cell that is bound to nothing
    complex_dtype = np.result_type(dtype, np.complex64)
    assert jax.tree.leaves(start)[0].shape == (B, 2, N)
    for leaf in jax.tree.leaves(start):
        assert leaf.shape[:2] == (B, 2)
        assert leaf.dtype in (np.dtype(dtype), complex_dtype)
    outputs, states = jax.eval_shape(layer.apply, made, x)
    assert outputs.dtype == dtype
    assert jax.tree.map(lambda s: s.dtype, states) == jax.tree.map(
        lambda s: s.dtype, start
    )


@pytest.mark.parametrize("label", ONE_EACH.values())
def test_cells_compare_and_hash_by_their_fields(label: str) -> None:
    cell = CASES[label].build()
    same, wider = CASES[label].build(), CASES[label].build(features=N + 1)
    assert cell == same and hash(cell) == hash(same)
    assert cell != wider
    assert set(cell.initial) <= set(cell.__dataclass_fields__)


# -- numeric hyper-parameters ------------------------------------------------------


@pytest.mark.parametrize(
    ("label", "fields"),
    [
        ("lem", {"dt": 0.7}),
        ("cornn", {"dt": 0.2, "gamma": 1.5, "epsilon": 0.8}),
        ("cornn_implicit", {"dt": 0.2, "gamma": 1.5, "epsilon": 0.8}),
        ("antisymmetric", {"epsilon": 0.4, "gamma": 0.1}),
    ],
)
def test_numeric_hyper_parameters_may_be_traced(
    label: str, fields: dict[str, float], x64: None
) -> None:
    run = trial(label)

    @jax.jit
    @jax.value_and_grad
    def loss(fields: dict[str, jax.Array]) -> jax.Array:
        layer = Recurrent(CASES[label].build(**fields))
        outputs, _ = layer.apply(run.variables, run.x, initial_state=run.h0)
        return jnp.sum(jnp.sin(outputs))

    def expected(fields: Mapping[str, float]) -> float:
        x, h0 = jax.tree.map(np.asarray, (run.x, run.h0))
        outputs, _ = CASES[label].expected(run.params, x, h0, fields)
        return np.sum(np.sin(outputs))

    value, gradient = loss(jax.tree.map(jnp.float64, fields))
    np.testing.assert_allclose(value, expected(fields), rtol=1e-12)
    step = 1e-6
    for name, at in fields.items():
        up, down = ({**fields, name: at + s} for s in (step, -step))
        slope = (expected(up) - expected(down)) / (2 * step)
        np.testing.assert_allclose(gradient[name], slope, rtol=1e-6)


def test_a_numeric_hyper_parameter_takes_the_precision_of_the_cell(x64: None) -> None:
    x = jnp.ones((T, B, M), jnp.float32)

    def loss(dt: jax.Array) -> jax.Array:
        layer = Recurrent(CASES["lem"].build(jnp.float32, dt=dt))
        outputs, _ = layer.apply(layer.init(jax.random.key(0), x), x)
        assert outputs.dtype == jnp.float32
        return jnp.sum(outputs)

    assert jax.eval_shape(jax.grad(loss), jnp.float64(0.1)).dtype == jnp.float64
