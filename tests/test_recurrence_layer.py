"""The recurrent layer: stacked, started, padded, packed and walked backwards."""

import functools
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnjax.cells import CELLS
from rnnjax.errors import UserError
from rnnjax.models.sequence import SequenceModel
from rnnjax.probes.backward.walk import walk_forward
from rnnjax.probes.dynamics.jacobian import jacobians
from rnnjax.recurrence.functional import make_weights
from rnnjax.recurrence.layer import Recurrent
from rnnjax.recurrence.masking import check_masks
from tests.recurrence_samples import (
    LENGTHS,
    RESETS,
    B,
    M,
    N,
    T,
    arguments,
    build,
    noise,
    normwise,
    quick_jit,
)


two_kinds = pytest.mark.parametrize("label", ["lstm", "urnn"])  # a tuple, complex


@pytest.mark.parametrize(
    ("label", "bidirectional"), [("lstm", True), ("urnn", False), ("lru", True)]
)
def test_stacked_layers(label: str, bidirectional: bool, x64: None) -> None:
    lengths = jnp.maximum(LENGTHS, 1)
    x = noise(0, jax.ShapeDtypeStruct((T, B, M), jnp.float64))

    def model(engine: str) -> SequenceModel:
        return SequenceModel(
            build(label, "float64"),
            output_size=2,
            input_size=M,
            layers=2,
            bidirectional=bidirectional,
            learn_initial_state=True,
            engine=engine,
        )

    made = jax.eval_shape(model("plain").init, jax.random.key(0), x, lengths)
    variables = noise(1, made, 0.5)

    @quick_jit
    def gradients(variables: Any, x: jax.Array) -> Any:
        def by(engine: str) -> Any:
            def objective(args: Any) -> jax.Array:
                answers: Any = model(engine).apply(args[0], args[1], lengths)
                return jnp.sum(jnp.sin(answers))

            return objective

        args = (variables, x)
        return jax.grad(by("scan"))(args), jax.grad(by("plain"))(args)

    actual, expected = gradients(variables, x)
    for part, reference in zip(actual, expected, strict=True):
        assert normwise(part, reference) < 1e-12
    # every layer, direction and initial state takes part, and every valid input
    assert all(np.any(leaf != 0) for leaf in jax.tree.leaves(actual[0]))
    valid = np.arange(T)[:, None] < lengths[None, :]
    np.testing.assert_array_equal(np.any(actual[1] != 0, axis=-1), valid)


@two_kinds
def test_a_learned_initial_state_is_real_and_shared(label: str, x64: None) -> None:
    variables, x, _ = arguments(label, "float64")
    layer = Recurrent(build(label, "float64"), learn_initial_state=True)
    made = jax.eval_shape(layer.init, jax.random.key(0), x)["params"]["initial_state"]
    learned = noise(3, made, 0.5)

    def state(learned: Any) -> Any:
        if label == "urnn":  # real and imaginary part
            learned = learned[0] + 1j * learned[1]
        return jax.tree.map(lambda p: jnp.broadcast_to(p[None], (B, N)), learned)

    def actual(learned: Any) -> jax.Array:
        params = {**variables["params"], "initial_state": learned}
        return jnp.sum(jnp.sin(layer.apply({"params": params}, x)[0]))

    def expected(learned: Any) -> jax.Array:
        outputs, _ = layer.apply(variables, x, initial_state=state(learned))
        return jnp.sum(jnp.sin(outputs))

    both = quick_jit(lambda p: (jax.grad(actual)(p), jax.grad(expected)(p)))
    assert normwise(*both(learned)) < 1e-12


@functools.cache
def run_layer(
    label: str, walk: Literal["padded", "packed", "bare"]
) -> Callable[..., Any]:
    """(variables, x, h0) → outputs and states. Call it under `x64`."""
    layer = Recurrent(build(label, "float64"))

    def run(args: Any) -> Any:
        variables, x, h0 = args
        lengths = jnp.asarray(LENGTHS) if walk == "padded" else None
        resets = None if walk == "bare" else jnp.asarray(RESETS)
        return layer.apply(variables, x, lengths, resets, h0)

    return quick_jit(run)


def one_example(args: Any, b: int, steps: slice) -> Any:
    variables, x, h0 = args
    return variables, x[steps, b : b + 1], jax.tree.map(lambda h: h[b : b + 1], h0)


@two_kinds
def test_padding_holds_the_state_and_silences_the_output(label: str, x64: None) -> None:
    args = arguments(label, "float64")
    outputs, states = run_layer(label, "padded")(args)
    packed, alike = run_layer(label, "packed")(args)
    for b, length in enumerate(LENGTHS):
        assert np.all(outputs[length:, b] == 0)
        np.testing.assert_array_equal(outputs[:length, b], packed[:length, b])
        for leaf, free, start in zip(
            *map(jax.tree.leaves, (states, alike, args[2])), strict=True
        ):
            np.testing.assert_array_equal(leaf[:length, b], free[:length, b])
            last = leaf[length - 1, b] if length else start[b]
            for t in range(length, T):  # whatever `resets` says there
                np.testing.assert_array_equal(leaf[t, b], last)


@two_kinds
def test_a_reset_starts_anew(label: str, x64: None) -> None:
    args = arguments(label, "float64")
    packed, _ = run_layer(label, "packed")(args)
    bare, _ = run_layer(label, "bare")(args)
    assert RESETS[5, 0] and not RESETS[6:, 0].any()
    tail, _ = run_layer(label, "bare")(one_example(args, 0, slice(5, None)))
    np.testing.assert_allclose(packed[5:, 0], tail[:, 0], rtol=1e-12)
    assert not np.allclose(packed[5:, 0], bare[5:, 0])


@two_kinds
def test_backwards_equals_flipping_by_hand(label: str, x64: None) -> None:
    args = arguments(label, "float64")
    layer = Recurrent(build(label, "float64"), backwards=True)
    outputs, _ = quick_jit(
        lambda v, x, h: layer.apply(v, x, jnp.asarray(LENGTHS), None, h)
    )(*args)
    for b, length in enumerate(LENGTHS):
        assert np.all(outputs[length:, b] == 0)
        if length == 0:
            continue
        variables, x, h0 = one_example(args, b, slice(0, length))
        flipped, _ = run_layer(label, "bare")((variables, x[::-1], h0))
        np.testing.assert_allclose(outputs[:length, b], flipped[::-1, 0], rtol=1e-12)


def test_a_layer_works_without_compilation() -> None:
    cell = CELLS["elman"](inputs=M, features=N)
    layer = Recurrent(cell)
    x = noise(0, jax.ShapeDtypeStruct((3, 2, M), jnp.float32))
    variables = layer.init(jax.random.key(0), x)
    outputs, states = jax.tree.map(np.asarray, layer.apply(variables, x))
    np.testing.assert_array_equal(outputs, states)
    alone: Any = {"params": variables["params"]["cell"]}
    step: Callable[..., Any] = cell.apply
    carry = cell.initial_state((2,))
    for t in range(3):  # called step by step, as linen's cells are
        carry, y = step(alone, carry, x[t])
        np.testing.assert_allclose(outputs[t], y, rtol=1e-6)
        np.testing.assert_allclose(states[t], carry, rtol=1e-6)


DOCUMENTS = ((0, 4), (4, 9), (9, 10))
"""First step, and the step after the last one, of the documents of a packed row."""

PACKED = [
    ("lstm", {}),
    ("elman", {"remat": 3}),
    ("mingru", {"engine": "associative"}),
    pytest.param("elman", {"engine": "plain"}, marks=pytest.mark.slow),
    pytest.param("elman", {"engine": "newton"}, marks=pytest.mark.slow),
    pytest.param("elman", {"backprop": "renormalise"}, marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("label", "fields"), PACKED)
def test_documents_walked_back_are_walked_apart(
    label: str, fields: dict[str, Any], x64: None
) -> None:
    """Marks at first steps; one on padding, which does not count, and a last step."""
    layer = Recurrent(build(label, "float64"), backwards=True, **fields)
    variables, x, _ = arguments(label, "float64")
    x, end = x[:, :1], DOCUMENTS[-1][1]
    resets = np.zeros((T, 1), bool)
    resets[[start for start, _ in DOCUMENTS] + [end]] = True
    plain = layer.clone(engine="plain", remat=None, backprop="exact")

    @quick_jit
    def run(variables: Any, x: jax.Array) -> Any:
        def packed(args: Any) -> Any:
            given = jnp.array([end]), jnp.asarray(resets)
            outputs, _ = layer.apply(*args, *given)
            return jnp.sum(jnp.sin(outputs)), outputs[:end]

        def apart(args: Any) -> Any:
            variables, x = args
            pieces = [plain.apply(variables, x[a:b])[0] for a, b in DOCUMENTS]
            outputs = jnp.concatenate(pieces)
            return jnp.sum(jnp.sin(outputs)), outputs

        both = [jax.value_and_grad(f, has_aux=True) for f in (packed, apart)]
        return [one((variables, x)) for one in both]

    ((value, outputs), gradient), (expected, own) = run(variables, x)
    assert normwise((value, outputs), expected) < 1e-12
    if layer.backprop == "exact":
        assert normwise(gradient, own) < 1e-9
    assert np.all(gradient[1][end:] == 0)


def test_jacobians_end_where_a_document_ends(x64: None) -> None:
    """The probe of a packed walk from the end sees each document alone."""
    cell = build("elman", "float64")
    variables, x, _ = arguments("elman", "float64")
    x, params = x[:, :1], variables["params"]["cell"]
    resets = np.zeros((T, 1), bool)
    resets[[start for start, _ in DOCUMENTS]] = True
    length = DOCUMENTS[-1][1]

    @quick_jit
    def found(params: Any, x: jax.Array) -> Any:
        static, weights = make_weights(cell, params)

        def walk(x: jax.Array, marks: Any, lengths: Any) -> Any:
            start = cell.initial_state((1,))
            given = static, weights, "layer0", x, start, lengths, marks
            return jacobians(walk_forward(*given, backwards=True)[0])

        whole = walk(x, jnp.asarray(resets), jnp.array([length]))
        return whole, [walk(x[a:b], None, None) for a, b in DOCUMENTS]

    whole, alone = jax.tree.map(np.asarray, found(params, x))
    assert np.all(whole[: T - length, 0] == np.eye(N)[None])
    whole = whole[T - length :]
    for (a, b), own in zip(DOCUMENTS, alone, strict=True):
        # in the order of the walk, whose first step leads from another document
        part = whole[length - b : length - a]
        assert np.all(part[0] == 0) or b == length
        assert normwise(part[1:], own[1:]) < 1e-12 if b - a > 1 else True


@pytest.mark.parametrize("lengths", [[7, 2], None], ids=["ragged", "full"])
def test_one_answer_from_both_ends(lengths: Any, x64: None) -> None:
    """Both halves are final states, as torch's h_n and Keras concatenate them."""
    steps = 7
    cell = CELLS["elman"](inputs=M, features=N, param_dtype=jnp.float64)
    model = SequenceModel(cell, output_size=2, input_size=M, layers=2)
    model = model.clone(bidirectional=True)
    x = noise(0, jax.ShapeDtypeStruct((steps, 2, M), jnp.float64))
    made = jax.eval_shape(model.init, jax.random.key(0), x)["params"]
    params = jax.tree.map(np.asarray, noise(1, made, 0.5))

    def walk(where: str, x: np.ndarray, order: int) -> list[np.ndarray]:
        V, U, b = (params[where]["cell"][k] for k in ("V", "U", "b"))
        h, found = np.zeros(N), []
        for v in x[::order]:
            h = np.tanh(v @ V + h @ U + b)
            found.append(h)
        return found[::order]

    answers = []
    for b, n in enumerate(lengths or [steps] * 2):
        own = np.asarray(x)[:n, b]
        low = [walk(f"stack_0_{i}", own, s) for i, s in ((0, 1), (1, -1))]
        y = np.concatenate(low, axis=-1)
        ends = walk("stack_1_0", y, 1)[-1], walk("stack_1_1", y, -1)[0]
        head = params["head"]
        answers.append(np.concatenate(ends) @ head["kernel"] + head["bias"])
    given = None if lengths is None else jnp.array(lengths)

    @quick_jit
    def run(params: Any) -> Any:
        def one(params: Any, remat: Any) -> Any:
            answers: Any = model.clone(remat=remat).apply({"params": params}, x, given)
            return jnp.sum(answers), answers

        def both(params: Any) -> Any:
            (_, whole), (_, chunked) = one(params, None), one(params, 3)
            return jnp.sum(jnp.sin(whole)), (whole, chunked)

        return jax.grad(both, has_aux=True)(params)

    gradient, (whole, chunked) = run(params)
    np.testing.assert_allclose(whole, answers, rtol=1e-12)
    np.testing.assert_allclose(chunked, answers, rtol=1e-12)
    assert np.any(gradient["stack_1_1"]["cell"]["U"] != 0)


@pytest.mark.parametrize(
    ("lengths", "resets", "sentence"),
    [
        ([3, 5], None, r"lengths must be from 0 to T = 4, got 5"),
        ([-1, 4], None, r"lengths must be from 0 to T = 4, got -1"),
        (
            [3, 4, 4],
            None,
            r"lengths have shape \(3,\), not \(2,\), one for each example",
        ),
        (
            None,
            np.zeros((2, 4), bool),
            r"resets have shape \(2, 4\), not \(4, 2\), the steps",
        ),
    ],
)
def test_masks_that_do_not_fit_are_refused(lengths, resets, sentence) -> None:
    with pytest.raises(UserError, match=sentence):
        check_masks(jnp.ones((4, 2, M)), lengths, resets)


def test_a_layer_refuses_lengths_beyond_its_steps() -> None:
    layer = Recurrent(CELLS["elman"](inputs=M, features=N))
    with pytest.raises(UserError, match="lengths must be from 0 to T = 4, got 5"):
        layer.init(jax.random.key(0), jnp.ones((4, 2, M)), jnp.array([3, 5]))


def test_traced_lengths_are_brought_into_range() -> None:
    layer = Recurrent(CELLS["elman"](inputs=M, features=N))
    x = noise(0, jax.ShapeDtypeStruct((4, 2, M), jnp.float32))
    variables = layer.init(jax.random.key(0), x)
    run = quick_jit(lambda n: layer.apply(variables, x, n, last=True)[0])
    for wrong, right in (([9, 2], [4, 2]), ([-3, 4], [0, 4])):
        np.testing.assert_array_equal(run(jnp.array(wrong)), run(jnp.array(right)))
