"""What a linear probe reads from states, and the table of words."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr

from rnnjax.cells.elman import Elman
from rnnjax.models.sequence import SequenceModel
from rnnjax.probes.tokens.decodability import decodability, word_decodability
from rnnjax.probes.tokens.importance import (
    first_sentences,
    measure_words,
    word_table,
)
from rnnjax.probes.tokens.influence import token_substitutes
from rnnjax.probes.tokens.states import collect_states
from rnnjax.quantities.tokens import TOKENS
from rnnjax.tasks.adding import Adding
from rnnjax.tasks.opinion import Opinion
from tests.probe_models import batch_of, model_of, parameters, spec_of


LENGTH, LENGTHS = 4, [4, 2, 1]
WORDS = ["a", "bé", "see", "dee", "eel"]


@pytest.mark.parametrize("probe", ["logistic", "ridge_classifier"])
def test_a_word_is_read_where_it_is_and_only_there(probe):
    """States of noise; at step 1 the class is added, at step 2 in one of two units."""
    random = np.random.default_rng(0)
    count = 600
    labels = random.choice([3, 5, 9], count, p=[0.5, 0.3, 0.2])
    states = random.standard_normal((4, count, 6))
    states[1, :, :3] += 20 * (labels[:, None] == [3, 5, 9])
    half = labels != 9
    states[2, :, 0] += 20 * half
    states[3] = 7.0
    found = decodability(states, labels, probe=probe)
    assert found.metric == "accuracy" and np.all(found.examples == 180)
    np.testing.assert_allclose(found.chance, found.chance[0])
    assert abs(found.chance[0] - 0.5) < 4 * np.sqrt(0.25 / 180)
    for t in (0, 3):
        assert abs(found.score[t] - found.chance[t]) < 3 * found.error[t]
    assert found.score[3] == found.chance[3], "a constant state says nothing"
    assert found.score[1] == 1.0 and 0 < found.error[1] < 0.02
    # two classes in one: 9 is known, of the others the more frequent one is said
    assert abs(found.score[2] - 0.7) < 4 * found.error[2]
    assert np.all(np.abs(found.control - found.chance) < 4 * found.error[0])


def test_r2_of_real_values_and_its_error():
    """y = signal + noise of equal variance: R² = 1/2; the error against resampling."""
    random = np.random.default_rng(1)
    found = []
    for seed in range(60):
        x = random.standard_normal((1, 800, 3))
        y = x[0, :, 1] + random.standard_normal(800)
        found.append(decodability(x, y, probe="ridge", seed=seed))
    rows = [(one.score[0], one.error[0], one.control[0]) for one in found]
    score, error, control = np.array(rows).T
    assert found[0].metric == "r2" and found[0].chance[0] == 0.0
    assert abs(score.mean() - 0.5) < 4 * score.std() / np.sqrt(60)
    np.testing.assert_allclose(error.mean(), score.std(), rtol=0.3)
    assert abs(control.mean()) < 0.02


def test_examples_that_are_over_take_no_part():
    random = np.random.default_rng(2)
    labels = random.integers(0, 2, 400)
    states = np.repeat(np.repeat(labels[None, :, None], 2, 2), 3, 0).astype(float)
    valid = np.ones((3, 400), bool)
    valid[1, ::2] = False
    valid[2, 1:] = False
    states[~valid] = -states[~valid]  # padding that lies
    found = decodability(states, labels, valid=valid)
    testing = found.examples
    assert testing[0] == 120 and 40 < testing[1] < 80 and testing[2] <= 1
    assert found.score[:2].tolist() == [1.0, 1.0] and np.isnan(found.score[2])
    with pytest.raises(ValueError, match="labels"):
        decodability(states, labels[:-1])
    with pytest.raises(ValueError, match="test_share"):
        decodability(states, labels, test_share=1.0)


def test_states_on_the_host():
    batch = batch_of("last", LENGTH, LENGTHS)
    model = model_of("lru", bidirectional=True)
    params = parameters(model, batch)

    def states(layer, direction, model, params):
        bound = model.bind({"params": params})
        x = bound.encode(batch.inputs)
        for number in range(layer):
            x, _ = bound.run_layer(number, x, batch.lengths)
        return bound.run_layer(layer, x, batch.lengths)[1][direction]

    h = np.asarray(jax.jit(lambda p: states(0, 1, model, p))(params))
    expected = np.concatenate([np.real(h), np.imag(h)], -1)
    # chunks of 2 and 1
    joint = collect_states(model, params, batch, backwards=True, chunk=2)
    np.testing.assert_allclose(joint, expected, rtol=1e-5, atol=1e-6)

    model = model_of("lstm", layers=2)
    params = parameters(model, batch)
    h, c = jax.jit(lambda p: states(1, 0, model, p))(params)
    joint = collect_states(model, params, batch, layer=1)
    expected = np.concatenate([h, c], -1)
    np.testing.assert_allclose(joint, expected, rtol=1e-5, atol=1e-6)
    only = collect_states(model, params, batch, layer=1, array="c")
    np.testing.assert_array_equal(only, joint[..., 4:])
    with pytest.raises(ValueError, match="known: joint"):
        collect_states(model, params, batch, array="n")


def test_an_orthogonal_network_remembers_what_a_sigmoid_network_forgets():
    """Which of 16 words stood first among 11; no training.

    The words of a sentence span 15 + 10 · 7 directions (each filler is one of 8), which
    the linear network keeps apart in its 112 units. In the sigmoid network a difference
    shrinks at least fourfold a step.
    """
    task = Opinion(distance=11)
    batch = task.heldout("test", 800, {})
    vocabulary = task.spec({}).vocabulary
    found = {}
    for activation in ("identity", "sigmoid"):
        cell = Elman(1, 112, activation=activation)
        model = SequenceModel(cell, 2, vocabulary=vocabulary, embedding=16)
        params = jax.jit(model.init)(jax.random.key(0), batch.inputs)["params"]
        found[activation] = word_decodability(
            model, params, batch, probe="ridge_classifier"
        )
    linear, sigmoid = found["identity"], found["sigmoid"]
    assert linear.score[0] > 0.95 and sigmoid.score[0] > 0.95
    assert linear.score[10] > 0.9
    assert abs(sigmoid.score[10] - sigmoid.chance[10]) < 4 * sigmoid.error[10]
    spread = np.sqrt(linear.chance / linear.examples)
    assert np.all(np.abs(linear.control - linear.chance) < 4 * spread)


def test_a_number_is_read_from_the_states_that_have_seen_it():
    """Adding: the value of step 2, in a linear network before and after it came."""
    batch = Adding(length=5).heldout("test", 600, {})
    model = SequenceModel(Elman(1, 12, activation="identity"), 1, input_size=2)
    params = jax.jit(model.init)(jax.random.key(1), batch.inputs)["params"]
    found = word_decodability(model, params, batch, step=2)
    assert found.probe == "ridge"
    assert np.all(found.score[:2] < 3 * found.error[:2])
    assert np.all(found.score[2:] > 0.95)
    large = (np.asarray(batch.inputs)[2, :, 0] > 0.5).astype(int)
    found = word_decodability(model, params, batch, step=2, labels=large)
    assert found.probe == "logistic"
    assert np.all(found.score[:2] < 0.65) and np.all(found.score[2:] > 0.95)


def test_table_of_words(x64, tmp_path):
    whole = batch_of("last", LENGTH, [*LENGTHS, 3, 4])
    spec = spec_of("last", LENGTH)
    model = model_of("lstm", dtype=jnp.float64)
    params = parameters(model, whole)
    batch = first_sentences(spec, whole, 3)
    others = token_substitutes(jnp.arange(5), batch)

    def probe(params, kernel="embedding"):
        return measure_words(
            model, params, batch, spec, others, kernel=kernel, steps=16
        )

    measured = jax.jit(probe)(params)
    memory = decodability(
        np.random.default_rng(0).standard_normal((LENGTH, 40, 2)), np.arange(40) % 2
    )
    words = lambda tokens: [WORDS[token] for token in tokens]
    data = word_table(
        measured, batch, kernel="embedding", words=words, decodability=memory
    )
    assert dict(data.sizes) == {"time": LENGTH, "sentence": 3}
    assert set(TOKENS) <= set(data.data_vars)
    for name in [*data.data_vars, *data.coords]:
        assert data[name].attrs["definition"], name
    assert data.word.values[:, 2].tolist()[1:] == ["", "", ""]
    assert data.word.values[0, 0] == WORDS[int(batch.inputs[0, 0])]
    np.testing.assert_allclose(data.word_share.sum("time"), 1.0, rtol=1e-10)
    assert np.all(np.abs(data.completeness_error) < 1e-4)
    padding = np.arange(LENGTH)[:, None] >= np.array(LENGTHS)
    for name in ("word_share", "gradient_times_input", "integrated_gradient"):
        assert np.all(data[name].values[padding] == 0), name
    assert np.all(np.isnan(data.log10_saliency.values) == padding)
    np.testing.assert_allclose(
        data.influence_loss, -data.influence_log_probability, atol=1e-14
    )
    assert data.word_share.attrs["parameter"] == "embedding"
    data.to_netcdf(tmp_path / "words.nc", engine="h5netcdf")
    again = xr.load_dataset(tmp_path / "words.nc", engine="h5netcdf")
    xr.testing.assert_identical(again.influence_distance, data.influence_distance)
    plain = word_table(measured, batch, kernel="embedding")
    assert "word" not in plain and "decodability" not in plain
    with pytest.raises(ValueError, match="known: embedding"):
        jax.eval_shape(lambda params: probe(params, "layer0/W"), params)


def test_first_sentences_of_a_loss_at_every_step():
    whole = batch_of("every", LENGTH, LENGTHS)
    some = first_sentences(spec_of("every", LENGTH), whole, 2)
    for field in dataclasses.fields(whole):
        expected = getattr(whole, field.name)[..., :2]
        np.testing.assert_array_equal(getattr(some, field.name), expected)
