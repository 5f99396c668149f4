"""Every cell against its paper: equations, start, and use as a flax.linen cell."""

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
from rnnjax.errors import UserError
from rnnjax.recurrence.layer import Recurrent
from tests import cells_reference as reference


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


def case(cell: str, states: Callable[..., Any], output=None, **options: Any) -> Case:
    return Case(cell, states, options, output)


def given(function: Callable[..., Any], **arguments: Any) -> Callable[..., Any]:
    return functools.partial(function, **arguments)


STEPS = {"dt": 0.3, "gamma": 1.7, "epsilon": 0.9}

CASES = {
    "elman": case("elman", reference.elman),
    "elman_relu": case(
        "elman",
        given(reference.elman, phi=reference.relu),
        activation="relu",
        recurrent_init="identity",
    ),
    "lstm": case("lstm", reference.lstm),
    "lstm_chrono": case("lstm", reference.lstm, chrono=50.0),
    "lstm_relu": case(
        "lstm", given(reference.lstm, phi=reference.relu), activation="relu"
    ),
    "gru": case("gru", reference.gru),
    "gru_before": case("gru_before", reference.gru_before, update_bias=1.0),
    "minimal_rnn": case("minimal_rnn", reference.minimal_rnn),
    "antisymmetric": case(
        "antisymmetric",
        given(reference.antisymmetric, epsilon=0.3, gamma=0.2),
        epsilon=0.3,
        gamma=0.2,
    ),
    "rhn": case("rhn", given(reference.rhn, depth=3, coupled=True), depth=3),
    "rhn_carry": case(
        "rhn", given(reference.rhn, depth=2, coupled=False), depth=2, coupled=False
    ),
    "lem": case("lem", given(reference.lem, dt=0.5), dt=0.5),
    "cornn": case("cornn", given(reference.cornn, implicit=False, **STEPS), **STEPS),
    "cornn_implicit": case(
        "cornn",
        given(reference.cornn, implicit=True, **STEPS),
        implicit=True,
        **STEPS,
    ),
    "urnn": case("urnn", reference.urnn, reference.urnn_output),
    "exprnn": case("exprnn", reference.exprnn),
    "exprnn_henaff": case("exprnn", reference.exprnn, skew_init="henaff"),
    "lru": case("lru", reference.lru, reference.lru_output, r_min=0.5, r_max=0.9),
    "mingru": case("mingru", reference.mingru),
    "mingru_positive": case(
        "mingru", given(reference.mingru, g=reference.mingru_g), positive=True
    ),
    "indrnn": case("indrnn", reference.indrnn),
}

ONE_EACH = {case.cell: label for label, case in reversed(CASES.items())}


def noise(seed: int, like: Any, scale: float = 1.0) -> Any:
    """Normal noise of the shapes and dtypes of a pytree, complex ones included."""
    rng = np.random.default_rng(seed)

    def draw(leaf: Any) -> jax.Array:
        values = scale * rng.normal(size=leaf.shape)
        if np.issubdtype(leaf.dtype, np.complexfloating):
            values = values + 1j * scale * rng.normal(size=leaf.shape)
        return jnp.asarray(values, leaf.dtype)

    return jax.tree.map(draw, like)


@dataclasses.dataclass(frozen=True)
class Trial:
    """A cell with random parameters, run over random inputs from a random state."""

    variables: Any
    params: dict[str, np.ndarray]
    x: jax.Array
    h0: Any
    outputs: Any
    states: Any


@functools.cache
def trial(label: str) -> Trial:
    """Call it under `x64`."""
    cell = CASES[label].build()
    layer = Recurrent(cell)
    x = noise(0, jax.ShapeDtypeStruct((T, B, M), jnp.float64))
    made = jax.eval_shape(layer.init, jax.random.key(0), x)
    variables = noise(1, made, 0.5)
    h0 = noise(2, cell.initial_state((B,)))
    run = jax.jit(lambda v, x, h: layer.apply(v, x, initial_state=h))
    outputs, states = run(variables, x, h0)
    params = {k: np.asarray(v) for k, v in variables["params"]["cell"].items()}
    return Trial(variables, params, x, h0, outputs, states)


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
    h0 = jax.tree.map(np.asarray, run.h0)
    h0 = tuple(h0) if isinstance(h0, tuple) else h0
    expected = stated.states(run.params, np.asarray(run.x), h0)
    assert relative_error(run.states, expected) < 1e-12
    output = jax.tree.leaves(expected)[0]
    if stated.output is not None:
        output = stated.output(run.params, np.asarray(run.x), expected)
    assert relative_error(run.outputs, output) < 1e-12
    assert run.outputs.shape[-1] == stated.build().output_size


@pytest.mark.parametrize("label", ONE_EACH.values())
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
    for leaf in jax.tree.leaves(start):
        assert leaf.shape == (B, 2, N)
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


# -- starts ------------------------------------------------------------------------


def start(name: str, *wanted: str, features: int = 64, **options: Any) -> Any:
    """These parameters or effective kernels of a fresh cell, as NumPy arrays."""
    cell = CELLS[name](inputs=3, features=features, param_dtype=jnp.float64, **options)

    @jax.jit  # compiles what is wanted alone
    def draw(key: jax.Array) -> list[jax.Array]:
        made = cell.init(key, cell.initial_state((1,)), jnp.zeros((1, 3)))
        drawn = {**made["params"], **cell.apply(made, method="kernels")}
        return [drawn[name] for name in wanted]

    return [np.asarray(array) for array in draw(jax.random.key(0))]


@pytest.mark.parametrize(
    ("name", "kernel", "gates"),
    [
        ("elman", "U", 1),
        ("lstm", "U", 4),
        ("gru", "U", 3),
        ("gru_before", "U", 2),
        ("gru_before", "Uh", 1),
        ("minimal_rnn", "U", 1),
        ("minimal_rnn", "Uz", 1),
    ],
)
def test_recurrent_kernels_start_orthogonal_gate_by_gate(
    name: str, kernel: str, gates: int, x64: None
) -> None:
    (fused,) = start(name, kernel, features=16)
    blocks = np.split(fused, gates, axis=1)
    for block in blocks:
        np.testing.assert_allclose(block @ block.T, np.eye(16), atol=1e-12)
    for one, other in zip(blocks, blocks[1:], strict=False):
        assert not np.allclose(one, other)


LOG_T = np.log(99.0)


@pytest.mark.parametrize(
    ("name", "bias", "signs"),
    [
        ("lstm", "b", [-1, 1, 0, 0]),
        ("gru", "b", [0, 1, 0]),
        ("gru_before", "b", [0, 1, 0]),
        ("minimal_rnn", "bu", [1]),
        ("mingru", "b", [-1, 0]),
    ],
)
def test_chrono_biases(name: str, bias: str, signs: list[int], x64: None) -> None:
    (fused,) = start(name, bias, chrono=100.0)
    gates = np.split(fused, len(signs))
    drawn = [sign * gate for sign, gate in zip(signs, gates, strict=True) if sign]
    for sign, gate in zip(signs, gates, strict=True):
        if not sign:
            assert np.all(gate == 0)
    for gate in drawn:
        np.testing.assert_array_equal(gate, drawn[0])  # b_i = −b_f, unit by unit
        assert np.all((gate >= 0) & (gate <= LOG_T))
    assert 30 < np.mean(np.exp(drawn[0])) < 70  # e^b is uniform on [1, 99]
    assert np.max(np.exp(drawn[0])) > 85


@pytest.mark.parametrize(
    ("name", "options", "bias", "expected"),
    [
        ("elman", {"bias": 0.5}, "b", [0.5]),
        ("lstm", {}, "b", [0, 1, 0, 0]),
        ("lstm", {"forget_bias": 2.0}, "b", [0, 2, 0, 0]),
        ("gru", {"update_bias": 1.5}, "b", [0, 1.5, 0]),
        ("minimal_rnn", {"update_bias": 1.5}, "bu", [1.5]),
        ("mingru", {"update_bias": -1.5}, "b", [-1.5, 0]),
        ("indrnn", {"bias": 0.5}, "b", [0.5]),
        ("rhn", {}, "b1", [0, -2]),
        ("rhn", {"coupled": False, "transform_bias": -3.0}, "b5", [0, -3, 3]),
    ],
)
def test_constant_biases(
    name: str, options: Any, bias: str, expected: list[float], x64: None
) -> None:
    (fused,) = start(name, bias, features=4, **options)
    np.testing.assert_array_equal(fused, np.repeat(expected, 4))


def test_eigenvalues_of_lru_start_on_the_ring(x64: None) -> None:
    inside = {"r_min": 0.4, "r_max": 0.9, "max_phase": 1.5}
    eigenvalues, gamma = start("lru", "lambda", "gamma", features=256, **inside)
    modulus, phase = np.abs(eigenvalues), np.angle(eigenvalues)
    assert np.all((modulus >= 0.4) & (modulus <= 0.9))
    assert np.all((phase >= 0) & (phase <= 1.5))
    # uniform on the ring: |λ|² is uniform between the squares
    assert abs(np.mean(modulus**2) - (0.16 + 0.81) / 2) < 0.05
    assert modulus.min() < 0.45 and modulus.max() > 0.88 and phase.max() > 1.4
    np.testing.assert_allclose(np.exp(gamma), np.sqrt(1 - modulus**2))


def test_kernels_of_lru_start_with_unit_variance(x64: None) -> None:
    B, C = start("lru", "B", "C", features=64)
    for part, size in ((B.real, 6), (B.imag, 6), (C.real, 64), (C.imag, 64)):
        assert np.std(part) == pytest.approx(1 / np.sqrt(size), rel=0.15)


@pytest.mark.parametrize("features", [5, 8])
def test_the_matrix_of_urnn_is_unitary(features: int, x64: None) -> None:
    wanted = ("W", "angles", "reflections")
    kernel, angles, reflections = start("urnn", *wanted, features=features)
    params = {"angles": angles, "reflections": reflections}
    W = kernel.T
    np.testing.assert_allclose(W @ W.conj().T, np.eye(features), atol=1e-13)
    np.testing.assert_allclose(W, reference.unitary(params), atol=1e-13)
    assert np.pi / 2 < np.max(np.abs(angles)) <= np.pi


@pytest.mark.parametrize("skew_init", ["henaff", "cayley"])
def test_the_matrix_of_exprnn_is_orthogonal(skew_init: str, x64: None) -> None:
    kernel, A = start("exprnn", "B", "A", features=7, skew_init=skew_init)
    B = kernel.T
    np.testing.assert_allclose(B @ B.T, np.eye(7), atol=1e-13)
    np.testing.assert_allclose(B, reference.orthogonal({"A": A}, 7), atol=1e-13)
    # rotations in the planes (0, 1), (2, 3), (4, 5); an odd unit stays
    angles = A[[0, 11, 18]]
    assert np.count_nonzero(A) == 3 and np.all(angles != 0)
    np.testing.assert_allclose(np.diag(B), [*np.repeat(np.cos(angles), 2), 1])
    bound = np.pi if skew_init == "henaff" else 1
    assert np.all(np.abs(angles) <= bound)
    assert skew_init == "henaff" or np.all(angles < 0)


def test_exprnn_names_its_starts(x64: None) -> None:
    with pytest.raises(UserError, match="'caley'; did you mean cayley"):
        start("exprnn", "A", skew_init="caley")


def test_eigenvalues_of_antisymmetric_have_the_real_part_of_the_damping(
    x64: None,
) -> None:
    A, U = start("antisymmetric", "A", "U", gamma=0.3)
    eigenvalues = np.linalg.eigvals(A.T)
    np.testing.assert_allclose(eigenvalues.real, -0.3, atol=1e-12)
    assert np.std(U) == pytest.approx(1 / 8, rel=0.1)


@pytest.mark.parametrize(
    ("name", "parameters", "bound"),
    [
        ("lem", ["V", "U", "Uy", "b"], 64**-0.5),
        ("cornn", ["V", "Wy", "Wz", "b"], (3 + 2 * 64) ** -0.5),
        ("rhn", ["V", "R1", "R5"], 64**-0.5),
        ("urnn", ["V_re", "V_im"], (6 / (3 + 128)) ** 0.5),
        ("urnn", ["b"], 0.01),
        ("exprnn", ["b"], 0.01),
    ],
)
def test_uniform_starts(
    name: str, parameters: list[str], bound: float, x64: None
) -> None:
    for array in start(name, *parameters):
        assert 0.9 * bound < np.max(np.abs(array)) <= bound


def test_indrnn_starts_between_its_bounds(x64: None) -> None:
    (u,) = start("indrnn", "u", features=256, u_min=0.5, u_max=1.5)
    assert 0.5 <= u.min() < 0.55 and 1.45 < u.max() <= 1.5


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
        x, h0 = np.asarray(run.x), jax.tree.map(np.asarray, run.h0)
        h0 = tuple(h0) if isinstance(h0, tuple) else h0
        states = CASES[label].states(run.params, x, h0, **fields)
        return np.sum(np.sin(jax.tree.leaves(states)[0]))

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
