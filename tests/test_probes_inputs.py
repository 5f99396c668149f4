"""Quantities of the input against plain autodiff, quadrature and brute force."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import log_softmax, softmax

from rnnjax.cells.elman import Elman
from rnnjax.models.objective import per_example
from rnnjax.models.sequence import SequenceModel
from rnnjax.probes.inputs.answer import chosen_answer, example_loss, example_weights
from rnnjax.probes.inputs.integrated_gradients import integrated_gradients
from rnnjax.probes.inputs.saliency import (
    answer_trace,
    encoded,
    input_gradient,
    loss_trace,
    plain,
    saliency,
)
from rnnjax.probes.tokens.influence import (
    constant_substitutes,
    influence,
    permuted_substitutes,
    token_substitutes,
)
from rnnjax.recurrence.scaled import Scaled
from tests.probe_models import (
    CLASSES,
    VOCABULARY,
    batch_of,
    model_of,
    parameters,
    spec_of,
)


LENGTH, LENGTHS = 4, [4, 2, 1]
VALID = np.arange(LENGTH)[:, None] < np.array(LENGTHS)

MODELS = [
    # cell, readout, fields of the model
    ("lstm", "every", {}),
    pytest.param("elman", "last", {"bidirectional": True}, marks=pytest.mark.slow),
    ("lru", "last", {"vocabulary": None, "input_size": 2}),
]


def case(cell: str, readout: str, fields: dict[str, Any]):
    batch = batch_of(readout, LENGTH, LENGTHS)
    spec = dataclasses.replace(spec_of(readout, LENGTH), output_size=3)
    if "vocabulary" in fields:
        vectors = np.random.default_rng(5).standard_normal((LENGTH, 3, 2))
        batch = dataclasses.replace(batch, inputs=jnp.asarray(vectors))
    fields = {"output_size": 3, **fields}
    model = model_of(cell, features=3, dtype=jnp.float64, readout=readout, **fields)
    return model, parameters(model, batch), batch, spec


def after(model: SequenceModel, params: Any, batch: Any):
    """Answers as a function of the input vectors, by the plain engine."""
    bound = model.clone(engine="plain").bind({"params": params})

    def answers(x: Any) -> Any:
        for layer in range(model.layers):
            x, _ = bound.run_layer(layer, x, batch.lengths)
        return bound.decode(x, batch.lengths)

    return answers


def final_of(batch: Any, readout: str, values: Any) -> Any:
    """Rows of the last loss step, which is looked for one by one."""
    if readout == "last":
        return values
    steps = [np.flatnonzero(column)[-1] for column in np.asarray(batch.mask).T]
    return jnp.stack([values[s, b] for b, s in enumerate(steps)])


def targets_of(batch: Any, readout: str) -> np.ndarray:
    if readout == "last":
        return np.asarray(batch.targets)
    return targets_at(
        batch, [np.flatnonzero(column)[-1] for column in np.asarray(batch.mask).T]
    )


def targets_at(batch: Any, steps: list[Any]) -> np.ndarray:
    return np.asarray(batch.targets)[steps, np.arange(len(steps))]


def own_loss(spec: Any, batch: Any, answers: Any) -> Any:
    losses = per_example(spec, answers, batch)[0]
    if spec.readout == "last":
        return losses
    return jnp.stack(
        [
            jnp.sum(losses[:, b] * batch.mask[:, b]) / jnp.sum(batch.mask[:, b])
            for b in range(losses.shape[1])
        ]
    )


def contrast(batch: Any, readout: str, answers: Any) -> Any:
    final = final_of(batch, readout, answers)
    targets = targets_of(batch, readout)
    rest = [np.array([k for k in range(3) if k != y]) for y in targets]
    return jnp.stack(
        [final[b, y] - jnp.mean(final[b, rest[b]]) for b, y in enumerate(targets)]
    )


@pytest.mark.parametrize(("cell", "readout", "fields"), MODELS)
def test_gradients_of_the_input_equal_autodiff(cell, readout, fields, x64):
    model, params, batch, spec = case(cell, readout, fields)

    @jax.jit
    def probe(params):
        x = encoded(model, params, batch)
        traces = [loss_trace(model, params, batch, spec)]
        traces.append(answer_trace(model, params, batch, spec, "contrast"))
        return x, [(saliency(seen, x), input_gradient(seen)) for seen in traces]

    x, found = probe(params)
    run = after(model, params, batch)
    scalars = [
        lambda x: own_loss(spec, batch, run(x)),
        lambda x: contrast(batch, readout, run(x)),
    ]
    sums = lambda x: jnp.stack([f(x).sum() for f in scalars])
    reference = jax.jit(jax.jacrev(sums))
    for (seen, gradient), expected in zip(found, reference(x), strict=True):
        np.testing.assert_allclose(gradient, expected, rtol=1e-10, atol=1e-14)
        assert np.all(np.asarray(gradient)[~VALID] == 0)
        assert np.all(np.asarray(seen.times_input)[~VALID] == 0)
        assert np.any(np.abs(expected)[VALID] > 1e-3)
        norm = np.linalg.norm(expected, axis=-1)
        product = np.sum(np.asarray(x) * expected, axis=-1)
        np.testing.assert_allclose(seen.times_input, product, rtol=1e-9, atol=1e-14)
        for log, size in (
            (seen.log10_norm, norm),
            (seen.log10_times_input, np.abs(product)),
        ):
            assert np.all(np.isnan(log) == ~VALID)
            np.testing.assert_allclose(
                10.0 ** np.asarray(log)[VALID], size[VALID], rtol=1e-9, atol=1e-14
            )


def test_saliency_of_a_sigmoid_network_over_400_steps():
    """Against ∂L/∂x_t = V diag(h(1 − h)) λ_t in float64 with the logarithm apart."""
    length, size = 400, 2
    random = np.random.default_rng(1)
    batch = batch_of("last", length, [length] * size)
    vectors = jnp.asarray(random.standard_normal((length, size, 2)), jnp.float32)
    batch = dataclasses.replace(batch, inputs=vectors)
    spec = spec_of("last", length, None)
    cell = Elman(2, 6, activation="sigmoid")
    model = SequenceModel(cell, CLASSES, input_size=2)
    params = parameters(model, batch)

    @jax.jit
    def probe(params):
        seen = loss_trace(model, params, batch, spec)
        of_loss = saliency(seen, encoded(model, params, batch))
        return of_loss, seen.walks[0].states, input_gradient(seen)

    seen, states, gradient = probe(params)
    h, x = np.asarray(states, np.float64), np.asarray(vectors, np.float64)
    wide = lambda tree: jax.tree.map(lambda a: np.asarray(a, np.float64), tree)
    head, weights = wide(params["head"]), wide(params["stack_0_0"]["cell"])
    odds = softmax(h[-1] @ head["kernel"] + head["bias"], -1)
    adjoint = (odds - np.eye(CLASSES)[np.asarray(batch.targets)]) @ head["kernel"].T
    shift = np.zeros(size)
    for t in reversed(range(length)):
        delta = adjoint * h[t] * (1 - h[t])
        entered = delta @ weights["V"].T
        norm = np.log10(np.linalg.norm(entered, axis=-1)) + shift
        np.testing.assert_allclose(seen.log10_norm[t], norm, rtol=1e-6, atol=1e-3)
        product = np.abs(np.sum(entered * x[t], -1))
        big = product > 1e-2 * np.linalg.norm(entered, axis=-1)
        log = np.log10(product) + shift
        np.testing.assert_allclose(
            seen.log10_times_input[t][big], log[big], rtol=1e-6, atol=1e-2
        )
        adjoint = delta @ weights["U"].T
        size_now = np.linalg.norm(adjoint, axis=-1)
        adjoint, shift = adjoint / size_now[:, None], shift + np.log10(size_now)
    assert np.all(np.isfinite(seen.log10_norm)) and np.all(seen.log10_norm[0] < -200)
    assert np.all(np.asarray(gradient)[0] == 0), "float32 would have been enough"


def test_plain_numbers_go_to_zero_and_to_infinity():
    mantissa = jnp.asarray([[0.5, -0.75, 0.0]] * 3, jnp.float32)
    exponents = jnp.asarray([3, -1000, 1000], jnp.int32)
    numbers = jax.jit(plain)(Scaled(mantissa, exponents))
    assert np.asarray(numbers).tolist() == [
        [4.0, -6.0, 0.0],
        [0.0, 0.0, 0.0],
        [np.inf, -np.inf, 0.0],
    ]


def test_integrated_gradients_equal_quadrature_and_are_complete(x64):
    model, params, batch, spec = case("lstm", "every", {})
    given = 0.3 * np.random.default_rng(2).standard_normal((LENGTH, 3, 3))

    @jax.jit
    def probe(params):
        def of(**options):
            return integrated_gradients(model, params, batch, spec, **options)

        return {
            "trapezoid": of(steps=3, rule="trapezoid", baseline=jnp.asarray(given)),
            "gauss": of(steps=12, baseline="mean"),
        }

    found = probe(params)
    x = params["embed"]["embedding"][batch.inputs]
    run = after(model, params, batch)
    value = jax.jit(lambda x: contrast(batch, "every", run(x)))
    slope = jax.jit(jax.grad(lambda x: contrast(batch, "every", run(x)).sum()))
    path = np.where(VALID[..., None], np.asarray(x) - given, 0.0)
    places = [0, 1 / 3, 2 / 3, 1]
    slopes = [np.asarray(slope(x - (1 - a) * path)) for a in places]
    mean = (slopes[0] / 2 + slopes[1] + slopes[2] + slopes[3] / 2) / 3
    seen = found["trapezoid"]
    np.testing.assert_allclose(seen.entries, path * mean, rtol=1e-10, atol=1e-14)
    words = np.sum(path * mean, -1)
    np.testing.assert_allclose(seen.attribution, words, rtol=1e-10, atol=1e-14)
    change = value(x) - value(x - path)
    np.testing.assert_allclose(seen.change, change, rtol=1e-10)
    np.testing.assert_allclose(seen.answer, value(x), rtol=1e-10)
    error = words.sum(0) - change
    np.testing.assert_allclose(seen.completeness_error, error, rtol=1e-8, atol=1e-13)
    # what is left of too coarse a rule is said, not spread over the words
    assert np.max(np.abs(seen.completeness_error)) > 1e-6

    neutral = np.asarray(params["embed"]["embedding"]).mean(0)
    origin = jnp.broadcast_to(neutral[None, None], x.shape)
    for seen in found.values():
        assert np.all(np.asarray(seen.entries)[~VALID] == 0)
        assert np.all(np.isnan(seen.log10_attribution) == ~VALID)
    seen = found["gauss"]
    np.testing.assert_allclose(
        seen.change, value(x) - value(origin), rtol=1e-10, atol=1e-13
    )
    with np.errstate(divide="ignore"):  # words behind the last loss
        log = np.log10(np.abs(np.asarray(seen.attribution)[VALID]))
    np.testing.assert_allclose(
        np.asarray(seen.log10_attribution)[VALID], log, rtol=1e-9
    )
    assert np.all(np.abs(seen.completeness_error) < 1e-8)


def test_attributions_of_a_linear_network_are_exact(x64):
    batch, spec = batch_of("last", LENGTH, LENGTHS), spec_of("last", LENGTH)
    cell = Elman(1, 3, activation="identity", param_dtype=jnp.float64)
    model = SequenceModel(cell, CLASSES, vocabulary=VOCABULARY, embedding=3)
    params = jax.jit(model.init)(jax.random.key(0), batch.inputs)["params"]

    @jax.jit
    def probe(params):
        x = encoded(model, params, batch)
        along = integrated_gradients(model, params, batch, spec, answer=1, steps=1)
        gradient = saliency(answer_trace(model, params, batch, spec, 1), x)
        return along, gradient.times_input

    along, product = probe(params)
    h = np.zeros((3, 3))
    V, U = (np.asarray(params["stack_0_0"]["cell"][k]) for k in "VU")
    head = np.asarray(params["head"]["kernel"])[:, 1]
    x = np.asarray(params["embed"]["embedding"])[np.asarray(batch.inputs)]
    given = np.zeros((LENGTH, 3))
    for t in range(LENGTH):
        h = np.where(VALID[t][:, None], h @ U + x[t] @ V, h)
        for b in range(3):
            if VALID[t, b]:
                lag = LENGTHS[b] - 1 - t
                given[t, b] = x[t, b] @ V @ np.linalg.matrix_power(U, lag) @ head
    np.testing.assert_allclose(along.attribution, given, rtol=1e-10, atol=1e-13)
    np.testing.assert_allclose(product, given, rtol=1e-10, atol=1e-13)
    np.testing.assert_allclose(along.change, h @ head, rtol=1e-10)
    np.testing.assert_allclose(along.completeness_error, 0, atol=1e-14)


def test_influence_equals_one_replacement_after_the_other(x64):
    model, params, batch, spec = case("lstm", "every", {})
    tokens = jnp.asarray([0, 3, 4])
    found = jax.jit(
        lambda params: influence(
            model, params, batch, spec, token_substitutes(tokens, batch), chunk=2
        )
    )(params)
    run = jax.jit(lambda inputs: model.apply({"params": params}, inputs, batch.lengths))
    targets = targets_of(batch, "every")

    def read(inputs: np.ndarray) -> tuple[Any, Any, Any]:
        answers = run(jnp.asarray(inputs))
        final = np.asarray(final_of(batch, "every", answers))
        log = log_softmax(final, -1)[np.arange(3), targets]
        return np.asarray(own_loss(spec, batch, answers)), log, softmax(final, -1)

    words = np.asarray(batch.inputs)
    loss, log, chances = read(words)
    for t in range(LENGTH):
        for b in range(3):
            rows = []
            for token in np.asarray(tokens):
                other = words.copy()
                other[t, b] = token
                new = read(other)
                d_loss, d_log = new[0][b] - loss[b], new[1][b] - log[b]
                apart = np.abs(new[2][b] - chances[b]).sum() / 2
                rows.append([d_loss, abs(d_loss), d_log, abs(d_log), apart])
            fields = (
                found.loss,
                found.loss_abs,
                found.log_probability,
                found.log_probability_abs,
                found.distance,
            )
            got = [float(field[t, b]) for field in fields]
            np.testing.assert_allclose(got, np.mean(rows, 0), rtol=1e-9, atol=1e-13)
            assert VALID[t, b] or got == [0.0] * 5
    assert np.asarray(found.distance)[VALID].max() > 1e-3


def test_influence_of_a_network_without_memory_or_classes():
    """With U = 0 only the last word counts, and the squared error is by hand."""
    random = np.random.default_rng(3)
    batch = batch_of("last", LENGTH, LENGTHS)
    batch = dataclasses.replace(
        batch,
        inputs=jnp.asarray(random.standard_normal((LENGTH, 3, 2)), jnp.float32),
        targets=jnp.asarray(random.standard_normal((3, 1)), jnp.float32),
    )
    spec = dataclasses.replace(
        spec_of("last", LENGTH, None), loss="squared_error", output_size=1
    )
    model = SequenceModel(Elman(2, 3), 1, input_size=2)
    params = parameters(model, batch)
    cell = params["stack_0_0"]["cell"]
    cell = {**cell, "U": jnp.zeros_like(cell["U"])}
    params = {**params, "stack_0_0": {"cell": cell}}
    found = jax.jit(
        lambda params: influence(
            model, params, batch, spec, constant_substitutes(batch, "mean")
        )
    )(params)

    def answer(x: np.ndarray) -> np.ndarray:
        h = np.tanh(x @ np.asarray(cell["V"]) + np.asarray(cell["b"]))
        head = jax.tree.map(np.asarray, params["head"])
        return h @ head["kernel"] + head["bias"]

    x, y = np.asarray(batch.inputs), np.asarray(batch.targets)
    mean = x[VALID].mean(0)
    last = x[np.array(LENGTHS) - 1, np.arange(3)]
    before, changed = answer(last), answer(np.repeat(mean[None], 3, 0))
    distance, loss = np.zeros((LENGTH, 3)), np.zeros((LENGTH, 3))
    at = (np.array(LENGTHS) - 1, np.arange(3))
    distance[at] = np.abs(changed - before)[:, 0]
    loss[at] = ((changed - y) ** 2 - (before - y) ** 2)[:, 0]
    np.testing.assert_allclose(found.distance, distance, rtol=1e-5)
    np.testing.assert_allclose(found.loss, loss, rtol=1e-4)
    np.testing.assert_array_equal(found.loss_abs, np.abs(found.loss))
    assert np.all(np.isnan(found.log_probability) == VALID)
    assert np.all(np.asarray(found.distance)[distance == 0] == 0)


def test_substitutes_come_from_other_sentences_that_are_not_over():
    lengths = [4, 2, 1, 4, 2, 3]
    batch = batch_of("last", LENGTH, lengths)
    names = jnp.arange(LENGTH * 6, dtype=jnp.int32).reshape(LENGTH, 6)
    batch = dataclasses.replace(batch, inputs=names)
    draw = jax.jit(lambda batch: permuted_substitutes(jax.random.key(0), batch, 40))
    drawn = np.asarray(draw(batch))
    assert drawn.shape == (40, LENGTH, 6)
    for t in range(LENGTH):
        running = np.flatnonzero(t < np.array(lengths))
        for row in drawn[:, t]:
            assert sorted(row[running]) == sorted(np.asarray(names)[t, running])
        if len(running) > 1:
            assert np.all(drawn[:, t, running] != np.asarray(names)[t, running])
        if len(running) > 2:
            assert len({tuple(row) for row in drawn[:, t]}) > 1
    vectors = dataclasses.replace(batch, inputs=names[..., None].astype(jnp.float32))
    np.testing.assert_array_equal(np.asarray(draw(vectors))[..., 0], drawn)


def test_an_answer_that_is_not_there():
    batch, spec = batch_of("last", LENGTH, LENGTHS), spec_of("last", LENGTH)
    answers = jnp.zeros((3, CLASSES))
    with pytest.raises(ValueError, match="0 to 1"):
        chosen_answer(spec, answers, batch, 2)
    values = dataclasses.replace(spec, loss="squared_error")
    with pytest.raises(ValueError, match="needs a task with classes"):
        chosen_answer(values, answers, batch, "contrast")


def test_an_example_without_a_loss_has_no_answer():
    batch, spec = batch_of("every", LENGTH, LENGTHS), spec_of("every", LENGTH)
    mask = np.asarray(batch.mask).copy()
    mask[:, 1] = 0.0
    batch = dataclasses.replace(batch, mask=jnp.asarray(mask))
    logits = np.random.default_rng(4).standard_normal((LENGTH, 3, CLASSES))

    @jax.jit
    def probe(answers):
        return (
            chosen_answer(spec, answers, batch, 0),
            chosen_answer(spec, answers, batch, "log_probability"),
            example_weights(spec, batch),
            example_loss(spec, answers, batch),
        )

    first, log, weights, loss = probe(jnp.asarray(logits, jnp.float32))
    last = [np.flatnonzero(column)[-1] if column.any() else -1 for column in mask.T]
    final = logits[last, np.arange(3)]
    known = log_softmax(final, -1)[np.arange(3), targets_at(batch, last)]
    some = np.array([1.0, 0.0, 1.0])
    np.testing.assert_allclose(first, some * final[:, 0], rtol=1e-6)
    np.testing.assert_allclose(log, some * known, rtol=1e-5)
    np.testing.assert_allclose(np.sum(weights, 0), some, rtol=1e-6)
    assert loss[1] == 0.0 and loss[0] > 0.0
