"""What runs are trained and judged on: paired batches, held-out examples in blocks."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rnnjax.errors import UserError
from rnnjax.models.objective import objective, per_example
from rnnjax.models.sequence import SequenceModel
from rnnjax.sweeps.job_data import data_digest
from rnnjax.tasks import TASKS, Adding
from rnnjax.tasks.base import TaskSpec
from rnnjax.training import evaluation
from rnnjax.training.build import build_hyper, heldout, initial_params, signature
from rnnjax.training.config import ModelConfig
from rnnjax.training.history import by_length
from rnnjax.training.keys import DROPOUT, PARAMS, TRAIN_DATA, key_for
from rnnjax.training.program import Program
from rnnjax.training.shards import take_examples
from rnnjax.types import Batch
from tests.training_samples import differing, tiny, train


# -- paired data -------------------------------------------------------------------


SEEN: list[bytes] = []


@dataclasses.dataclass(frozen=True)
class Watched(Adding):
    """Adding that keeps the key of every batch that is drawn while it runs."""

    length: int = 2

    def sample(self, key: Any, batch: int, data: Any) -> Batch:
        drawn = super().sample(key, batch, data)
        # Held-out examples have a size of their own.
        if batch == 4:
            jax.debug.callback(lambda k: SEEN.append(k.tobytes()), key_data(key))
        return drawn


def key_data(key: Any) -> Any:
    return jax.random.key_data(key)


def keys_of(cell: str, **changes: Any) -> set[bytes]:
    """The keys of three batches of a run."""
    SEEN.clear()
    train(tiny(cell, task="watched", task_options={}, steps=3, **changes))
    jax.effects_barrier()
    assert len(SEEN) == len(set(SEEN)) == 3
    return set(SEEN)


@pytest.mark.slow
def test_runs_of_one_seed_see_the_same_batches(monkeypatch):
    monkeypatch.setitem(TASKS._entries, "watched", Watched)
    first = keys_of("elman", lr=0.1)
    assert first == keys_of("elman", lr=1e-3)
    assert first == keys_of("mingru", lr=0.1)
    assert not first & keys_of("elman", lr=0.1, seed=1)
    hyper = build_hyper(tiny())
    keys = [key_data(key_for(hyper, TRAIN_DATA, step)) for step in range(3)]
    assert first == {np.asarray(key).tobytes() for key in keys}


def test_every_purpose_and_step_has_a_key_of_its_own():
    hypers = [build_hyper(tiny(seed=seed)) for seed in (0, 1, 2**32 - 1)]
    keys = [
        np.asarray(key_data(key_for(hyper, purpose, step))).tobytes()
        for hyper in hypers
        for purpose in (PARAMS, TRAIN_DATA, DROPOUT)
        for step in (0, 1, 2, 10**9)
    ]
    assert len(set(keys)) == len(keys)


@dataclasses.dataclass(frozen=True)
class Constant(Adding):
    """Adding with the same examples in every batch."""

    length: int = 4

    def sample(self, key: Any, batch: int, data: Any) -> Batch:
        return super().sample(jax.random.key(0), batch, data)


def test_every_update_drops_other_entries(monkeypatch):
    monkeypatch.setitem(TASKS._entries, "constant", Constant)
    for dropout, other in ((0.0, False), (0.5, True)):
        sizes = ModelConfig(hidden=5, layers=2, dropout=dropout)
        run = tiny(task="constant", task_options={}, model=sizes)
        gradient = jax.jit(Program(signature(run))._gradient)
        params, hyper = initial_params(run), build_hyper(run)
        one, two = (gradient(params, hyper, step, {})[0] for step in (3, 4))
        assert (float(one) != float(two)) == other


# -- lengths -----------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Shortened(Adding):
    """Adding whose examples end early, though its spec says that none does."""

    length: int = 5

    def sample(self, key: Any, batch: int, data: Any) -> Batch:
        drawn = super().sample(key, batch, data)
        return dataclasses.replace(drawn, lengths=drawn.lengths - 1)


def test_a_task_with_shorter_examples_than_it_says_is_refused(monkeypatch):
    monkeypatch.setitem(TASKS._entries, "shortened", Shortened)
    with pytest.raises(UserError, match="fewer than 5 steps.*ragged=False"):
        heldout("shortened", (), "test", 3)


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_masks_of_examples_of_one_length_change_nothing(cell, x64):
    run = tiny(cell)
    made, found = signature(run), []
    for ragged in (True, False):
        spec = dataclasses.replace(made.spec, ragged=ragged)
        program = Program(dataclasses.replace(made, spec=spec))
        gradient = jax.jit(program._gradient)
        found.append(gradient(initial_params(run), build_hyper(run), 3, {}))
    for a, b in zip(*map(jax.tree.leaves, found), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-15)


# -- evaluation --------------------------------------------------------------------


@pytest.fixture(scope="module")
def answers() -> dict[str, tuple[Program, Any, Any]]:
    """Programs with a readout at the last or at every step, and their parameters."""
    found = {}
    for readout, form in (("last", "sentiment"), ("every", "next_word")):
        run = tiny(task_options={"distance": 5, "form": form})
        found[readout] = Program(signature(run)), initial_params(run), build_hyper(run)
    return found


def examples(program: Program, size: int, ragged: bool) -> Batch:
    """Held-out sentences; ragged: cut to 1 to 5 words, as a data set has them."""
    batch = program.signature.task.heldout("test", size, {})
    if not ragged:
        return batch
    steps = batch.inputs.shape[0]
    lengths = jnp.asarray(np.random.default_rng(size).integers(1, steps + 1, size))
    lengths = lengths.astype(jnp.int32)
    at = jnp.arange(steps)[:, None]
    inside = (at < lengths[None]).astype(jnp.float32)
    mask = inside if program.signature.spec.readout == "every" else batch.mask
    return dataclasses.replace(batch, lengths=lengths, mask=mask * inside)


@pytest.mark.parametrize(
    ("readout", "scored", "ragged"),
    [
        ("last", None, False),
        ("last", None, True),
        ("every", None, True),
        ("every", 1, False),
        ("every", 2, True),
    ],
)
def test_blocks_give_what_the_whole_batch_gives(
    answers, readout, scored, ragged, monkeypatch
):
    monkeypatch.setattr(evaluation, "BLOCK", 8)
    program, params, hyper = answers[readout]
    spec = dataclasses.replace(program.signature.spec, scored=scored)
    program = Program(dataclasses.replace(program.signature, spec=spec))
    batch = examples(program, 21, ragged)
    loss, metric, each = jax.jit(program.evaluate)(params, hyper, batch)
    expected = direct(program.model(hyper), spec, params, batch)
    np.testing.assert_allclose(loss, expected[0], rtol=1e-6)
    np.testing.assert_allclose(metric, expected[1], rtol=1e-6)
    np.testing.assert_allclose(each, expected[2], rtol=1e-6)
    assert each.shape == (21,)


def direct(
    model: SequenceModel, spec: TaskSpec, params: Any, batch: Batch
) -> tuple[Any, Any, np.ndarray]:
    """Loss and metric of the whole batch at once, and the metric example by example."""
    judged = jax.jit(lambda outputs, batch: objective(spec, outputs, batch))
    apply: Any = jax.jit(model.apply)
    outputs = apply({"params": params}, batch.inputs, batch.lengths)
    each = []
    for b in range(batch.lengths.shape[0]):
        one = take_examples(spec, batch, jnp.array([b]))
        alone = outputs[:, b : b + 1] if spec.readout == "every" else outputs[b : b + 1]
        each.append(judged(alone, one)[1])
    return *judged(outputs, batch), np.array(each)


@pytest.mark.parametrize("size", [1, 8, 9])
def test_any_number_of_examples(answers, size, monkeypatch):
    monkeypatch.setattr(evaluation, "BLOCK", 8)
    program, params, hyper = answers["last"]
    batch = examples(program, size, ragged=False)
    loss, metric, each = jax.jit(program.evaluate)(params, hyper, batch)
    outputs: Any = program.model(hyper).apply({"params": params}, batch.inputs)
    losses, hits = per_example(program.signature.spec, outputs, batch)
    np.testing.assert_allclose(loss, np.mean(losses), rtol=1e-6)
    np.testing.assert_allclose(metric, np.mean(hits), rtol=1e-6)
    assert each.tolist() == hits.tolist()


def test_a_run_is_judged_on_the_test_examples():
    config = tiny(steps=6)
    (outcome,) = train(config)
    program = Program(signature(config))
    batch = program.signature.task.heldout("test", config.eval.size, {})
    model = program.model(build_hyper(config))
    params = jax.tree.map(jnp.asarray, outcome.params)
    loss, metric, _ = direct(model, program.signature.spec, params, batch)
    assert outcome.results["test_loss"] == pytest.approx(float(loss), rel=1e-6)
    assert outcome.results["test_accuracy"] == pytest.approx(float(metric), rel=1e-6)
    assert outcome.results["baseline"] == 0.5 and outcome.results["solved"] is False
    validation = program.signature.task.heldout("validation", config.eval.size, {})
    assert differing(validation.inputs, batch.inputs) != []
    loss, metric, _ = direct(model, program.signature.spec, params, validation)
    last = {name: column[-1] for name, column in outcome.metrics.items()}
    assert last["validation_loss"] == pytest.approx(float(loss), rel=1e-6)
    assert last["validation_accuracy"] == outcome.results["validation_accuracy"]
    assert last["validation_accuracy"] == pytest.approx(float(metric), rel=1e-6)


@given(st.lists(st.tuples(st.integers(0, 60), st.floats(0, 1)), min_size=1))
def test_results_by_length(pairs):
    lengths, scores = (np.array(column) for column in zip(*pairs, strict=True))
    found = by_length("accuracy", scores, lengths)
    if lengths.min() == lengths.max():
        assert found == {}
        return
    buckets = {
        "short": lengths <= 8,
        "middle": (lengths > 8) & (lengths < 25),
        "long": lengths >= 25,
    }
    assert {k for k in found if "count" in k} == {f"test_count.{b}" for b in buckets}
    for name, inside in buckets.items():
        assert found[f"test_count.{name}"] == inside.sum()
        assert (f"test_accuracy.{name}" in found) == bool(inside.any())
        if inside.any():
            mean = np.mean(scores[inside])
            assert found[f"test_accuracy.{name}"] == pytest.approx(mean)


def test_every_array_counts_in_the_digest_of_data():
    data = {"inputs": np.arange(6), "rows": np.arange(3), "targets": np.zeros(2)}
    known = data_digest(data)
    assert known == data_digest({name: x.copy() for name, x in data.items()})
    for name, x in data.items():
        for other in (x + 1, x.astype(np.float32), x[::-1] + 1, x.reshape(-1, 1)):
            assert data_digest(data | {name: other}) != known
    renamed = {"input": data["inputs"], "rows": data["rows"], "targets": np.zeros(2)}
    assert data_digest(renamed) != known
    assert data_digest({}) is None
