"""What every task keeps: shapes, masks, determinism, splits, range checks."""

import dataclasses
import gzip
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnjax.errors import UserError
from rnnjax.tasks import TASKS, Task
from rnnjax.tasks.base import compiled_sample
from rnnjax.tasks.twins import training_batch
from rnnjax.training.shards import take_examples
from rnnjax.types import Batch


BATCH = 16

CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "opinion": ("opinion", {"distance": 5, "length": 8}),
    "opinion next word": ("opinion", {"form": "next_word", "length": 6}),
    "reviews": ("reviews", {"pad": 5, "max_vocabulary": 40, "split": 3}),
    "text": ("text", {"length": 16}),
    "text words": ("text", {"unit": "word", "length": 4, "max_vocabulary": 12}),
    "digits": ("digits", {}),
    "mnist": ("mnist", {}),
    "adding": ("adding", {"length": 9}),
    "temporal order": ("temporal_order", {"length": 20, "symbols": 3}),
    "copy": ("copy", {"delay": 3}),
    "arrays": ("arrays", {"path": "ragged.npz"}),
    "arrays csv": ("arrays", {"path": "table.csv"}),
}
GENERATED = ("opinion", "adding", "temporal_order", "copy")
DATA_SETS = [case for case, (name, _) in CASES.items() if name not in GENERATED]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with small files of every form."""
    root = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(5)
    for part in ("sentiment", "text", "mnist"):
        (root / part).mkdir()
    words = "the food was good bad fine Don't ever go".split()
    lines = [
        f"{' '.join(rng.choice(words, rng.integers(1, 9)))}. \t{rng.integers(2)}"
        for _ in range(60)
    ]
    (root / "sentiment" / "yelp_labelled.txt").write_text("\n".join(lines) + "\n")
    text = " ".join(f"{word} {word}s, and" for word in rng.choice(words, 300)) + "\n"
    (root / "text" / "tinyshakespeare.txt").write_text(text)
    images = rng.integers(0, 256, (40, 28, 28), np.uint8)
    labels = rng.integers(0, 10, 40, np.uint8)
    for name, array in (("images-idx3", images), ("labels-idx1", labels)):
        head = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
        file = root / "mnist" / f"t10k-{name}-ubyte.gz"
        file.write_bytes(gzip.compress(head + array.tobytes()))
    np.savez(
        root / "ragged.npz",
        inputs=rng.normal(size=(30, 7, 3)),
        targets=rng.normal(size=(30, 2)),
        lengths=rng.integers(1, 8, 30),
    )
    rows = [",".join(map(str, rng.integers(0, 5, 6))) for _ in range(30)]
    header = ",".join(f"x{step}" for step in range(5)) + ",target"
    (root / "table.csv").write_text("\n".join([header, *rows]))
    return root


@pytest.fixture
def task_of(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Task]:
    """The task of a case, with its files in place."""
    monkeypatch.setenv("RNNJAX_DATA", str(folder))

    def make(case: str) -> Task:
        name, fields = CASES[case]
        fields = dict(fields)
        if "path" in fields:
            fields["path"] = str(folder / fields["path"])
        return TASKS[name](**fields)

    return make


def same(one: Batch, other: Batch) -> bool:
    """Whether two batches are equal to the bit."""
    pairs = zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
    return all(np.array_equal(a, b) for a, b in pairs)


def test_every_task_has_a_case_and_its_name() -> None:
    assert {name for name, _ in CASES.values()} == set(TASKS)
    assert all(cls.name == name for name, cls in TASKS.items())


@pytest.mark.parametrize("case", CASES)
@pytest.mark.filterwarnings("ignore:.*too few examples")
def test_batch_keeps_the_contract(case: str, task_of: Callable[[str], Task]) -> None:
    task = task_of(case)
    data = task.load()
    spec = task.spec(data)
    batch = compiled_sample(task, jax.random.key(1), BATCH, data)
    steps = spec.length
    every = spec.readout == "every"

    leading = (steps, BATCH) if every else (BATCH,)
    if spec.vocabulary is None:
        assert batch.inputs.shape == (steps, BATCH, spec.input_size)
        assert batch.inputs.dtype == np.float32
    else:
        assert batch.inputs.shape == (steps, BATCH)
        assert batch.inputs.dtype == np.int32
        assert 0 <= batch.inputs.min() and batch.inputs.max() < spec.vocabulary
        assert len(task.words(np.asarray(batch.inputs[:, 0]))) == steps
    if spec.loss == "cross_entropy":
        assert batch.targets.shape == leading
        assert batch.targets.dtype == np.int32
        assert 0 <= batch.targets.min() and batch.targets.max() < spec.output_size
        assert spec.metric == "accuracy" and 0 < spec.baseline < spec.solved < 1
    else:
        assert batch.targets.shape == (*leading, spec.output_size)
        assert batch.targets.dtype == np.float32
        assert spec.metric == "mean_squared_error" and spec.solved < spec.baseline
    assert spec.baseline_loss > 0
    assert spec.is_solved(spec.solved) and not spec.is_solved(spec.baseline)

    lengths, mask = np.asarray(batch.lengths), np.asarray(batch.mask)
    step = np.arange(steps)[:, None]
    valid = step < lengths
    assert lengths.dtype == np.int32 and mask.dtype == np.float32
    assert 1 <= lengths.min() and lengths.max() <= steps
    assert spec.ragged or lengths.min() == steps
    assert np.array_equal(mask, valid if every else step == lengths - 1)
    informative = np.asarray(batch.informative)
    assert informative.dtype == bool and informative.shape == (steps, BATCH)
    assert informative.any(axis=0).all() and not (informative & ~valid).any()


@pytest.mark.parametrize("case", CASES)
@pytest.mark.filterwarnings("ignore:.*too few examples")
def test_examples_follow_from_task_and_key(
    case: str, task_of: Callable[[str], Task]
) -> None:
    task = task_of(case)
    data = task.load()
    one = compiled_sample(task, jax.random.key(1), BATCH, data)
    assert task == task_of(case) and hash(task) == hash(task_of(case))
    assert same(one, compiled_sample(task_of(case), jax.random.key(1), BATCH, data))
    assert not same(one, compiled_sample(task, jax.random.key(2), BATCH, data))
    held = task.heldout("validation", BATCH, data)
    assert same(held, task_of(case).heldout("validation", BATCH, task_of(case).load()))
    assert not same(held, task.heldout("test", BATCH, data))
    assert held.inputs.shape[0] == one.inputs.shape[0]
    assert 1 <= held.lengths.shape[0] <= BATCH


@pytest.mark.parametrize("case", DATA_SETS)
@pytest.mark.filterwarnings("ignore:.*too few examples")
def test_splits_are_apart_and_complete(
    case: str, task_of: Callable[[str], Task], folder: Path
) -> None:
    task = task_of(case)
    data = task.load()
    parts = [np.asarray(data[part]) for part in ("train", "validation", "test")]
    if task.name == "text":  # the parts are the streams themselves
        words = [word for part in parts for word in task.words(part)]
        text = (folder / "text" / "tinyshakespeare.txt").read_text()
        units = re.findall("[a-z']+|,", text.lower()) if "words" in case else text
        assert len(words) == len(units)
        both = zip(words, units, strict=True)
        assert all(word in ("<unknown>", unit) for word, unit in both)
        assert words.count("<unknown>") < len(words) / 2
        shares = np.array(list(map(len, parts))) / sum(map(len, parts))
        assert np.abs(shares - [0.9, 0.05, 0.05]).max() < 0.005
        return
    count = len(data["labels" if "labels" in data else "targets"])
    assert np.array_equal(np.sort(np.concatenate(parts)), np.arange(count))
    assert list(map(len, parts)) == [count - 2 * (count // 10), *[count // 10] * 2]
    assert task.heldout("test", 10_000, data).lengths.shape == (count // 10,)


@pytest.mark.parametrize(
    ("name", "fields", "named"),
    [
        ("opinion", {"distance": 1}, "task.distance"),
        ("opinion", {"distance": 4.5}, "task.distance"),
        ("opinion", {"distance": True}, "task.distance"),
        ("opinion", {"distance": 5, "length": 4}, "task.length"),
        ("opinion", {"length": 1}, "task.length"),
        ("opinion", {"form": "nextword"}, "task.form"),
        ("reviews", {"length": 1}, "task.length"),
        ("reviews", {"length": 10, "pad": 10}, "task.length"),
        ("reviews", {"pad": -1}, "task.pad"),
        ("reviews", {"files": "imbd"}, "task.files"),
        ("reviews", {"max_vocabulary": 3}, "task.max_vocabulary"),
        ("reviews", {"split": -1}, "task.split"),
        ("reviews", {"path": ""}, "task.path"),
        ("text", {"unit": "line"}, "task.unit"),
        ("text", {"length": 0}, "task.length"),
        ("text", {"max_vocabulary": 2}, "task.max_vocabulary"),
        ("digits", {"permuted": "yes"}, "task.permuted"),
        ("mnist", {"permuted": 2}, "task.permuted"),
        ("adding", {"length": 1}, "task.length"),
        ("adding", {"length": 10**9}, "task.length"),
        ("temporal_order", {"length": 9}, "task.length"),
        ("temporal_order", {"symbols": 4}, "task.symbols"),
        ("copy", {"delay": 0}, "task.delay"),
        ("arrays", {"split": "a"}, "task.split"),
    ],
)
def test_fields_out_of_range_are_named(
    name: str, fields: dict[str, Any], named: str
) -> None:
    with pytest.raises(UserError, match=rf"^{named}=.* is (not|unknown)") as caught:
        TASKS[name](**fields)
    assert "\n" not in str(caught.value)


def test_unknown_task_gets_the_nearest_name() -> None:
    with pytest.raises(UserError, match="did you mean opinion"):
        TASKS["opinon"]


@pytest.mark.parametrize("name", TASKS)
def test_tasks_are_frozen_dataclasses_with_defaults(name: str) -> None:
    task = TASKS[name]()
    assert all(
        field.default is not dataclasses.MISSING for field in dataclasses.fields(task)
    )
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(task, dataclasses.fields(task)[0].name, 3)


def test_stated_baselines() -> None:
    stated = {
        "adding": (1 / 6, 1 / 6),
        "copy": (1 / 8, 10 * math.log(8) / 120),
        "opinion": (1 / 2, math.log(2)),
        "temporal_order": (1 / 4, math.log(4)),
    }
    for name, (baseline, loss) in stated.items():
        spec = TASKS[name]().spec({})
        assert (spec.baseline, spec.baseline_loss) == pytest.approx((baseline, loss))


@pytest.mark.parametrize(
    "case", ["opinion", "opinion next word", "adding", "temporal order"]
)
def test_a_twin_differs_in_the_deciding_input_and_the_target(
    case: str, task_of: Callable[[str], Task]
) -> None:
    task = task_of(case)
    data = task.load()
    spec = task.spec(data)
    key = jax.random.key(3)
    batch = training_batch(task, spec, key, 2 * BATCH, data, pairs=True)
    ones = task.sample(key, BATCH, data)
    assert same(ones, take_examples(spec, batch, jnp.arange(BATCH)))
    others = take_examples(spec, batch, BATCH + jnp.arange(BATCH))
    assert same(ones, task.twins(others)) or case == "adding"
    apart = np.abs(np.asarray(ones.inputs) - np.asarray(others.inputs))
    changed = (apart if spec.vocabulary else apart.max(-1)) > 0
    first = np.argmax(np.asarray(ones.informative), axis=0)
    assert (changed.sum(axis=0) == 1).all()
    assert changed[first, np.arange(BATCH)].all()
    for name in ("mask", "lengths", "informative"):
        assert np.array_equal(getattr(ones, name), getattr(others, name))
    answers = np.asarray(others.targets)
    if case == "adding":
        marked, values = np.moveaxis(np.asarray(others.inputs), -1, 0)[::-1]
        np.testing.assert_allclose(answers[:, 0], (marked * values).sum(0), rtol=1e-6)
        assert same_values(ones, task.twins(others))
    elif case == "temporal order":
        assert (abs(answers - np.asarray(ones.targets)) == 4).all()
    elif case == "opinion":
        assert (answers == 1 - np.asarray(ones.targets)).all()
        opinion = np.asarray(others.inputs)[first, np.arange(BATCH)]
        words = task.words(opinion)
        positive = "good great excellent wonderful lovely superb delicious fantastic"
        assert ((answers == 1) == np.isin(words, positive.split())).all()
    else:
        verdict = np.asarray(others.targets)
        assert np.array_equal(verdict[:-1], np.asarray(others.inputs)[1:])
        assert (verdict[-1] != np.asarray(ones.targets)[-1]).all()


def same_values(one: Batch, other: Batch) -> bool:
    """Whether two batches are equal up to rounding."""
    pairs = zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
    return all(np.allclose(a, b, atol=1e-6) for a, b in pairs)
