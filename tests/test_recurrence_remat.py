"""Chunks that are computed again on the way back: the same numbers, less memory."""

import math
import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnjax.cells import LRU, LSTM, Elman
from rnnjax.errors import UserError
from rnnjax.models.sequence import SequenceModel
from rnnjax.probes.backward.trace import trace
from rnnjax.probes.light import zero_taps
from rnnjax.recurrence.layer import Recurrent
from tests.engine_samples import outcome
from tests.probe_models import batch_of, model_of, parameters, spec_of
from tests.recurrence_samples import B, M, N, T, normwise, quick_jit


def alike(label: str, order: int, fields: dict[str, Any], **chunked: Any) -> None:
    """A layer in chunks against the same layer whole."""
    actual = outcome(label, order=order, **fields, **chunked)
    expected = outcome(label, order=order, **fields)
    for part in ("value", "run", "gradient", "taps", "second")[: 3 + order]:
        error = normwise(getattr(actual, part), getattr(expected, part))
        assert error < 1e-13, part


@pytest.mark.parametrize(("label", "order"), [("elman", 2), ("lstm", 1), ("urnn", 1)])
def test_derivatives_equal_those_of_the_whole(label: str, order: int) -> None:
    alike(label, order, {"resets": False}, remat=5)


@pytest.mark.parametrize(
    "fields",
    [
        {},  # with resets
        {"ragged": False, "resets": False, "backwards": True},
        {"resets": False, "backwards": True, "backprop": "cut", "lag": 3},
        {"resets": False, "backprop": "renormalise"},
        {"resets": False, "engine": "newton"},
    ],
    ids=["resets", "backwards", "cut", "renormalise", "newton"],
)
def test_every_way_through_time(fields: dict[str, Any]) -> None:
    alike("elman", 1, fields, remat=5)


def test_linear_recurrences() -> None:
    alike("lru", 1, {"resets": False, "engine": "associative"}, remat="sqrt")


@pytest.mark.parametrize("remat", [1, 4, T, 2 * T])
def test_any_size_of_a_chunk(remat: int, x64: None) -> None:
    layer = Recurrent(Elman(inputs=M, features=N, param_dtype=jnp.float64))
    x = jax.random.normal(jax.random.key(0), (T, B, M))
    variables = layer.init(jax.random.key(1), x)

    def gradient(layer: Recurrent) -> Any:
        loss = lambda v: jnp.sum(jnp.sin(layer.apply(v, x)[0]))
        return quick_jit(jax.grad(loss))(variables)

    assert normwise(gradient(layer.clone(remat=remat)), gradient(layer)) < 1e-14


@pytest.mark.parametrize("kind", [LSTM, LRU])
@pytest.mark.parametrize("lengths", [None, [T, 0, 7, 1]], ids=["full", "ragged"])
@pytest.mark.parametrize("backwards", [False, True])
def test_the_last_step_alone(
    kind: Any, lengths: Any, backwards: bool, x64: None
) -> None:
    """Whole or in chunks, and with a readout that needs the input too."""
    cell = kind(inputs=M, features=N, param_dtype=jnp.float64)
    layer = Recurrent(cell, backwards)
    x = jax.random.normal(jax.random.key(0), (T, B, M))
    variables = layer.init(jax.random.key(1), x)
    lengths = None if lengths is None else jnp.array(lengths)

    @quick_jit
    def run(variables: Any) -> Any:
        outputs, states = layer.apply(variables, x, lengths)
        one = [r.apply(variables, x, lengths, last=True) for r in (layer, chunked)]
        return outputs, states, *one

    chunked = layer.clone(remat=5)
    outputs, states, *found = jax.tree.map(np.asarray, run(variables))
    ends = np.full(B, T) if lengths is None else np.asarray(lengths)
    at = np.zeros(B, int) if backwards else np.maximum(ends - 1, 0)
    pick = lambda a: a[at, np.arange(B)]
    for one in found:
        assert normwise(one, (pick(outputs), jax.tree.map(pick, states))) < 1e-14


@pytest.mark.slow
def test_a_model_in_chunks_and_its_probes(x64: None) -> None:
    """Gradient, taps and the full probe of a model that answers at the last step."""
    batch, spec = batch_of("last", 7, [7, 4, 1]), spec_of("last", 7)
    whole = model_of("lstm", dtype=jnp.float64, readout="last", bidirectional=True)
    params = parameters(whole, batch)

    @quick_jit
    def run(params: Any) -> Any:
        def one(model: SequenceModel) -> Any:
            def loss(params: Any, taps: Any) -> Any:
                variables = {"params": params, "taps": taps}
                answers: Any = model.apply(variables, batch.inputs, batch.lengths)
                return jnp.sum(jnp.sin(answers))

            gradient = jax.grad(loss, (0, 1))(params, zero_taps(model, params, batch))
            return gradient, trace(model, params, batch, spec, lag="last").walks

        return one(whole), one(whole.clone(remat=3))

    (expected, probed), (found, also) = run(params)
    assert normwise(found, expected) < 1e-14
    for a, b in zip(also, probed, strict=True):
        assert normwise(a.adjoint.mantissa, b.adjoint.mantissa) < 1e-13


def largest(function: Any, *args: Any) -> int:
    """Entries of the largest array that a function makes or takes, by its program."""
    text = str(jax.make_jaxpr(function)(*args))
    shapes = re.findall(r"f32\[([\d,]+)\]", text)
    return max(math.prod(map(int, shape.split(","))) for shape in shapes)


def test_no_array_of_all_steps_for_an_answer_at_the_last() -> None:
    steps, n = 100, 16
    model = SequenceModel(LSTM(inputs=0, features=n), output_size=1)
    x = jnp.zeros((steps, 2, 1))
    params = model.init(jax.random.key(0), x)

    def gradient(params: Any, remat: Any) -> Any:
        chunked = model.clone(remat=remat)

        def loss(params: Any) -> Any:
            answers: Any = chunked.apply(params, x, jnp.array([steps, 3]))
            return jnp.sum(answers)

        return jax.grad(loss)(params)

    assert largest(lambda p: gradient(p, None), params) >= steps * 2 * 4 * n
    inside = max(10 * 2 * 4 * n, n * 4 * n)
    assert largest(lambda p: gradient(p, "sqrt"), params) <= inside < steps * 2 * n


@pytest.mark.parametrize("remat", [0, -3, "root", 2.5])
def test_a_size_that_is_none_is_refused(remat: Any) -> None:
    layer = Recurrent(Elman(inputs=M, features=N), remat=remat)
    with pytest.raises(UserError, match="remat=.* must be a number of steps"):
        jax.eval_shape(layer.init, jax.random.key(0), jnp.ones((2, 1, M)))


def test_renormalising_in_chunks_knows_no_resets() -> None:
    layer = Recurrent(Elman(inputs=M, features=N), backprop="renormalise", remat=2)
    x, resets = jnp.ones((4, 1, M)), jnp.zeros((4, 1), bool)
    with pytest.raises(UserError, match="does not support resets"):
        jax.eval_shape(layer.init, jax.random.key(0), x, None, resets)
