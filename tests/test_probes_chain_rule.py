"""The chain rule written out: against a hand computation, and against jax.grad."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnjax.cells import Elman
from rnnjax.errors import UserError
from rnnjax.probes import trace
from rnnjax.probes.backward.walk import walk_forward
from rnnjax.probes.contributions.chain_rule import chain_rule
from tests.probe_models import batch_of, model_of, spec_of
from tests.probe_models import parameters as model_parameters
from tests.walk_samples import (
    LENGTHS,
    M,
    back,
    cell_of,
    forward,
    inputs,
    last_answer,
    parameters,
    walk,
)


def scalar_network(backwards=False):
    """h_t = σ(1.5 h_{t−1} + 0.8 x_t − 0.3), h_0 = 0.2, L = 2 h_T."""
    cell = Elman(1, 1, activation="sigmoid", param_dtype=jnp.float64)
    params = {"U": [[1.5]], "V": [[0.8]], "b": [-0.3]}
    x = [1.0, -2.0, 0.5][:: -1 if backwards else 1]
    params = {name: jnp.asarray(v) for name, v in params.items()}
    walked, h = forward(cell, params, jnp.asarray(x)[:, None, None], None, backwards)
    end = 0 if backwards else -1
    return back(walked, jnp.zeros_like(h).at[end].set(2.0))


@pytest.mark.parametrize("backwards", [False, True])
def test_a_scalar_network_by_hand(backwards, x64):
    seen = scalar_network(backwards)
    words = ["I", "never", "laughed"]
    sentence = words[::-1] if backwards else words
    got = chain_rule(seen, "U", (0, 0), rate=0.5, words=sentence)
    into = chain_rule(seen, "V", (0, 0), rate=0.5, words=sentence)

    s = lambda z: 1 / (1 + np.exp(-z))
    x, h, z = [1.0, -2.0, 0.5], [0.2], []
    for entered in x:
        z.append(1.5 * h[-1] + 0.8 * entered - 0.3)
        h.append(s(z[-1]))
    slope = [s(v) * s(-v) for v in z]
    factor = [1.5 * d for d in slope]
    product = [factor[1] * factor[2], factor[2], 1.0]
    term = [2.0 * p * d * v for p, d, v in zip(product, slope, h, strict=False)]
    table = got.table()
    assert table["word"].to_list() == words
    assert table["step"].to_list() == ([2, 1, 0] if backwards else [0, 1, 2])
    columns = {
        "value": h[:3],
        "z": z,
        "h": h[1:],
        "slope": slope,
        "factor": factor,
        "slope_factor": slope,
        "weight_factor": [1.5] * 3,
        "product": product,
        "log10_product": np.log10(product),
        "adjoint": 2 * np.array(product),
        "delta": 2 * np.array(product) * slope,
        "term": term,
        "total": np.cumsum(term),
    }
    for name, wanted in columns.items():
        np.testing.assert_allclose(table[name], wanted, rtol=1e-12, err_msg=name)
    np.testing.assert_allclose(got.gradient, sum(term), rtol=1e-12)
    assert got.old == 1.5
    np.testing.assert_allclose(got.new, 1.5 - 0.5 * sum(term), rtol=1e-12)
    term = 2.0 * np.array(product) * slope * x
    np.testing.assert_allclose(into.term, term, rtol=1e-12)
    assert into.weight == "V[0, 0]" and into.old == 0.8


MODELS = [
    # cell, readout, fields of the model, of the cell
    ("elman", "last", {}, {}),
    pytest.param(
        *("elman", "every", {"layers": 2, "bidirectional": True}, {}),
        marks=pytest.mark.slow,
    ),
    ("lstm", "every", {}, {}),
    pytest.param("gru_before", "last", {}, {}, marks=pytest.mark.slow),
    pytest.param("indrnn", "last", {}, {}, marks=pytest.mark.slow),
    pytest.param("antisymmetric", "last", {}, {}, marks=pytest.mark.slow),
]


def test_a_delta_below_float32_is_a_number():
    """h_t = σ(h_{t−1}) passes on at most a quarter: δ_0 is about 10^−76 here."""
    steps = 120
    cell = Elman(1, 1, activation="sigmoid", param_dtype=jnp.float32)
    params = {"U": [[1.0]], "V": [[0.0]], "b": [0.0]}
    params = {name: jnp.asarray(v, jnp.float32) for name, v in params.items()}
    walked, h = forward(cell, params, jnp.ones((steps, 1, 1), jnp.float32), None, False)
    seen = back(walked, jnp.zeros_like(h).at[-1].set(1.0))
    table = chain_rule(seen, "U", (0, 0), rate=0.5).table()

    states = [0.2]
    for _ in range(steps):
        states.append(1 / (1 + np.exp(-states[-1])))
    slopes = np.array([x * (1 - x) for x in states[1:]])
    wanted = np.cumprod(slopes[::-1])[::-1]
    assert wanted[0] < 1e-70
    np.testing.assert_allclose(table["delta"], wanted, rtol=1e-3)
    np.testing.assert_allclose(table["term"], wanted * states[:-1], rtol=1e-3)


@pytest.mark.parametrize(("cell", "readout", "fields", "options"), MODELS)
def test_terms_sum_to_the_gradient_of_jax(cell, readout, fields, options, x64):
    length, batch = 4, batch_of(readout, 4, [3], seed=3)
    spec = spec_of(readout, length)
    model = model_of(cell, 3, jnp.float64, readout=readout, **fields)
    params = model_parameters(model, batch)
    seen = jax.jit(lambda p: trace(model, p, batch, spec, lag="last"))(params)

    @jax.jit
    @jax.grad
    def reference(params):
        """The last loss of the sentence, weighted as in training."""
        answers: Any = model.apply({"params": params}, batch.inputs, batch.lengths)
        if readout == "last":
            return -jax.nn.log_softmax(answers)[0, batch.targets[0]]
        last = int(np.flatnonzero(np.asarray(batch.mask)[:, 0])[-1])
        loss = -jax.nn.log_softmax(answers[last, 0])[batch.targets[last, 0]]
        return loss / jnp.sum(batch.mask)

    wanted = reference(params)
    for at, seen_walk in enumerate(seen.walks):
        backwards = seen_walk.name.endswith("backward")
        layer, direction = int(seen_walk.name[5]), int(backwards)
        scope = f"stack_{layer}_{direction}"
        for kernel, matrix in seen_walk.kernels.items():
            index = (0,) if matrix.ndim == 1 else (1, matrix.shape[1] - 1)
            got = chain_rule(seen_walk, kernel, index)
            assert len(got.step) == 3, "padding has a row"
            if kernel not in wanted[scope]["cell"]:
                continue  # an effective kernel: tested below
            exact = wanted[scope]["cell"][kernel][index]
            np.testing.assert_allclose(got.gradient, exact, rtol=1e-9, atol=1e-14)
            assert at == 0 or abs(exact) > 0
            assert got.old == float(params[scope]["cell"][kernel][index])


def test_effective_kernel_of_an_antisymmetric_cell(x64):
    """∂L/∂A by central differences of the walk, A itself moved."""
    cell = cell_of("antisymmetric", jnp.float64)
    x = inputs()[:, :1]
    seen = jax.jit(lambda p: walk(cell, p, x))(parameters(cell))
    walked = seen.forward
    got = chain_rule(seen, "A", (0, 2))

    @jax.jit
    def loss(change):
        A = walked.weights.kernels["A"].at[0, 2].add(change)
        weights = dataclasses.replace(walked.weights, kernels={"A": A})
        _, out = walk_forward(
            walked.cell, weights, "layer0", walked.inputs, walked.initial
        )
        return jnp.sum(out * last_answer(out, None))

    step = 1e-5
    slope = (loss(step) - loss(-step)) / (2 * step)
    np.testing.assert_allclose(got.gradient, slope, rtol=1e-8)
    assert abs(slope) > 1e-3


def test_factors_and_products_of_a_network_of_several_units(x64):
    """Spectral norms of diag(φ′) U and of their products, one ragged example."""
    cell = cell_of("elman", jnp.float64)
    params = parameters(cell)
    x, lengths = inputs(), jnp.asarray(LENGTHS)
    seen = jax.jit(lambda p: walk(cell, p, x, lengths))(params)
    got = chain_rule(seen, "U", (2, 1), example=1)
    U, h = np.asarray(params["U"]).T, np.asarray(seen.states)[: LENGTHS[1], 1]
    J = [np.diag(1 - v**2) @ U for v in h]
    np.testing.assert_allclose(got.factor, [np.linalg.norm(j, 2) for j in J])
    products = [J[2] @ J[1], J[2], np.eye(3)]
    norms = [np.linalg.norm(p, 2) for p in products]
    np.testing.assert_allclose(got.product, norms, rtol=1e-10)
    np.testing.assert_allclose(got.log10_product, np.log10(norms), atol=1e-10)
    end = np.asarray(last_answer(seen.states, LENGTHS))[2, 1]
    adjoints = [end @ p for p in products]
    np.testing.assert_allclose(got.adjoint, np.linalg.norm(adjoints, axis=1))
    slope = 1 - h[:, 1] ** 2
    np.testing.assert_allclose(got.slope, slope)
    np.testing.assert_allclose(got.h, h[:, 1])
    before = np.array([0.2, h[0, 2], h[1, 2]])
    term = np.array([a[1] for a in adjoints]) * slope * before
    np.testing.assert_allclose(got.term, term)
    ratio = got.adjoint[:-1] / got.adjoint[1:]
    np.testing.assert_allclose((got.slope_factor * got.weight_factor)[1:], ratio)


def test_a_product_below_every_float():
    n, steps = 1, 600
    cell = Elman(n, n, activation="sigmoid")
    params = {"U": jnp.full((1, 1), -1.0), "V": jnp.ones((1, 1)), "b": jnp.zeros(1)}
    seen = jax.jit(lambda p: walk(cell, p, jnp.zeros((steps, 1, 1))))(params)
    got = chain_rule(seen, "U", (0, 0))
    wanted = np.cumsum(np.log10(np.abs(got.factor[:0:-1])))
    assert wanted[-1] < -330 and got.product[0] == 0
    np.testing.assert_allclose(got.log10_product[-2::-1], wanted, rtol=1e-9)
    assert got.product[-2] < 0 < got.product[-3], "the sign of the factor is lost"


def test_text_has_a_row_a_step_and_leaves_out_empty_columns():
    cell = cell_of("lstm")
    seen = jax.jit(lambda p: walk(cell, p, inputs(3)))(parameters(cell))
    got = chain_rule(seen, "U", (0, 4))
    header, *rows = got.rows()
    assert len(rows) == 3 and header[0] == "step" and len(rows[0]) == len(header)
    assert not {"word", "z", "slope"} & set(header)
    assert len(got.text().splitlines()) == 6 and "U[0, 4] <- " in got.text()
    assert got.table()["term"].is_finite().all()


def test_what_cannot_be_written_out():
    cell = cell_of("elman")
    seen = jax.jit(lambda p: walk(cell, p, inputs(2)))(parameters(cell))
    with pytest.raises(UserError, match="unknown kernel 'W'"):
        chain_rule(seen, "W", (0, 0))
    for index in [(0,), (M, 0), (-1, 0), (0, 0, 0)]:
        with pytest.raises(ValueError, match="no entry"):
            chain_rule(seen, "V", index)
    lru = cell_of("lru")
    seen = jax.jit(lambda p: walk(lru, p, inputs(2)))(parameters(lru))
    with pytest.raises(ValueError, match="lambda is complex"):
        chain_rule(seen, "lambda", (0,))
    assert chain_rule(seen, "D", (0, 0)).term.shape == (2,)
