"""What is held out: shares of classes, fair baselines, small spaces kept apart."""

import warnings
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rnnjax.errors import UserError
from rnnjax.tasks import Arrays, Opinion, Reviews, Task, TemporalOrder
from rnnjax.tasks.base import TaskSpec, compiled_sample
from rnnjax.tasks.dataset import split_rows
from rnnjax.tasks.grammar import CHOICES, FIRST
from rnnjax.tasks.held_out import of_part
from rnnjax.training.evaluation import by_class, judge
from tests.training_samples import tiny, train


PARTS = ("train", "validation", "test")


# -- classes -----------------------------------------------------------------------


@settings(deadline=None)
@given(
    st.lists(st.integers(1, 60), min_size=1, max_size=12),
    st.integers(0, 2**31 - 1),
)
@pytest.mark.filterwarnings("ignore:.*some classes have too few examples")
def test_every_part_has_the_classes_in_their_shares(
    sizes: list[int], seed: int
) -> None:
    labels = np.random.default_rng(seed).permutation(
        np.repeat(range(len(sizes)), sizes)
    )
    count = len(labels)
    if count < 3:
        return
    rows = split_rows(count, seed, "demo", labels)
    part = max(1, count // 10)
    assert [len(rows[name]) for name in PARTS] == [count - 2 * part, part, part]
    assert np.array_equal(np.sort(np.concatenate(list(rows.values()))), range(count))
    enough = np.array(sizes) >= 3
    found = {
        name: np.bincount(labels[rows[name]], minlength=len(sizes)) for name in PARTS
    }
    if enough.sum() <= part:
        assert all((found[name][enough] >= 1).all() for name in PARTS)
    if min(sizes) * part >= count:  # one example or more of each class is due
        for name in PARTS[1:]:
            assert np.abs(found[name] - np.array(sizes) * part / count).max() <= 1
    again = split_rows(count, seed, "demo", labels)
    assert all(np.array_equal(rows[name], again[name]) for name in PARTS)


def test_the_split_depends_on_its_seed() -> None:
    labels = np.arange(100) % 2
    one, other = (split_rows(100, seed, "demo", labels) for seed in (0, 1))
    assert not np.array_equal(one["test"], other["test"])


def test_classes_that_are_too_rare_are_named() -> None:
    labels = np.repeat([0, 1, 2], [40, 2, 1])
    with pytest.warns(
        UserWarning, match=r"b.csv: .*too few.*: so-so \(2\), odd \(1\)$"
    ):
        split_rows(43, 0, "b.csv", labels, ("good", "so-so", "odd"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        split_rows(43, 0, "b.csv", np.minimum(labels, 1))
    with pytest.warns(UserWarning, match=r"too few .* test: 0 \(3\),.* and 5 more"):
        split_rows(30, 0, "more classes than places", np.arange(30) % 10)


def rare(folder: Path, positives: int) -> Arrays:
    """400 sequences, few of them of class 1."""
    labels = np.zeros(400, int)
    chosen = np.random.default_rng(0).choice(400, positives, replace=False)
    labels[chosen] = 1
    inputs = np.random.default_rng(1).integers(0, 20, (400, 3))
    np.savez(folder / "rare.npz", inputs=inputs, targets=labels)
    return Arrays(path=str(folder / "rare.npz"))


@pytest.mark.parametrize("positives", [8, 3, 1])
@pytest.mark.filterwarnings("ignore:.*some classes have too few examples")
def test_a_constant_answer_never_solves_a_task(positives: int, tmp_path: Path) -> None:
    task = rare(tmp_path, positives)
    data = task.load()
    spec = task.spec(data)
    for split in PARTS[1:]:
        targets = np.asarray(data["targets"])[data[split]]
        assert positives < 3 or targets.sum() == max(1, round(positives / 10))
        constant = np.bincount(targets).max() / len(targets)
        judged = judge(spec, task.heldout(split, 1000, data))
        assert judged.baseline == judged.constant == constant
        assert judged.solved == pytest.approx(constant + 0.9 * (1 - constant))
        assert not judged.is_solved(constant)
        assert judged.is_solved(1.0) == (constant < 1)
    test = np.asarray(data["targets"])[data["test"]]
    assert not spec.is_solved(np.bincount(test).max() / len(test))


def test_a_constant_value_is_judged_on_the_examples_at_hand(tmp_path: Path) -> None:
    values = np.random.default_rng(3).normal(size=(50, 2)) * np.arange(50)[:, None]
    np.savez(tmp_path / "a.npz", inputs=np.ones((50, 2, 1)), targets=values)
    task = Arrays(path=str(tmp_path / "a.npz"))
    data = task.load()
    for size in (1000, 2):
        chosen = values[data["test"]][:size]
        errors = np.mean(np.square(chosen - chosen.mean(axis=0)))
        judged = judge(task.spec(data), task.heldout("test", size, data))
        assert judged.baseline == pytest.approx(errors, rel=1e-6)
        assert judged.solved == pytest.approx(errors / 10, rel=1e-6)
        assert not judged.is_solved(judged.baseline) and judged.is_solved(0.0)


def test_a_generated_task_keeps_its_exact_baseline() -> None:
    task = Opinion(distance=5)
    spec = task.spec({})
    assert judge(spec, task.heldout("test", 7, {})) == spec


def test_balanced_accuracy_is_the_mean_over_the_classes() -> None:
    rng, spec = np.random.default_rng(0), tiny_spec()
    for size in range(1, 60):
        targets = np.minimum(rng.integers(0, 5, size), rng.integers(0, 5, size))
        right = rng.integers(0, 2, size).astype(float)
        recalls = [float(right[targets == c].mean()) for c in set(targets.tolist())]
        counts = np.unique(targets, return_counts=True)[1]
        expected: dict[str, Any] = {"test_examples": size}
        if counts.max() >= 2 * counts.min():
            mean = sum(recalls) / len(recalls)
            expected["test_balanced_accuracy"] = pytest.approx(mean)
        assert by_class(spec, right, targets) == expected


def tiny_spec() -> TaskSpec:
    """The specification of a task with classes and a measured baseline."""
    return TaskSpec(
        4, 9, 1, 5, "cross_entropy", "last", "accuracy", 0.5, 0.7, 0.9, constant=0.5
    )


def test_a_run_on_uneven_classes_is_not_called_solved(tmp_path: Path) -> None:
    task = rare(tmp_path, 20)
    (outcome,) = train(
        tiny(task="arrays", task_options={"path": str(task.path)}, lr=0.0, steps=1)
    )
    test = np.asarray(task.load()["targets"])[task.load()["test"]][:20]
    share = np.bincount(test).max() / len(test)
    results = outcome.results
    assert results["baseline"] == share and results["test_examples"] == 20
    assert results["solved"] is False
    assert (results.get("test_balanced_accuracy") is None) == (share == 1)


# -- small spaces ------------------------------------------------------------------


def sentences(task: Task, split: Any, many: int) -> tuple[set[bytes], np.ndarray]:
    """The inputs among so many draws of a split, and the labels."""
    batch = compiled_sample(task, jax.random.key(0), many, of_part(split, {}))
    inputs = np.asarray(batch.inputs).T.astype(np.uint8)
    return {row.tobytes() for row in inputs}, np.asarray(batch.targets)


@pytest.mark.parametrize(
    ("task", "sizes"),
    [
        (Opinion(distance=2), (96, 16, 16)),
        (Opinion(), (6144, 1024, 1024)),
        (Opinion(distance=2, length=3, form="next_word"), (768, 128, 128)),
        (TemporalOrder(10, symbols=3), (4096, 2048, 2048)),
    ],
    ids=repr,
)
def test_small_spaces_are_held_out_whole(task: Task, sizes: tuple[int, ...]) -> None:
    found = {split: sentences(task, split, 80_000) for split in PARTS}
    seen = [found[split][0] for split in PARTS]
    assert tuple(map(len, seen)) == sizes
    assert len(set().union(*seen)) == sum(sizes)
    for split in PARTS:
        labels = found[split][1]
        last = labels[-1] - labels[-1].min() if labels.ndim == 2 else labels
        counts = np.bincount(last)
        assert np.abs(counts / counts.mean() - 1).max() < 0.05
    for split, part in zip(PARTS, seen, strict=True):
        rows = np.asarray(task.heldout(split, 50, {}).inputs).T.astype(np.uint8)
        assert {row.tobytes() for row in rows} <= part
    drawn = compiled_sample(task, jax.random.key(1), 50, {}).inputs
    assert {row.tobytes() for row in np.asarray(drawn).T.astype(np.uint8)} <= seen[0]


def test_a_large_space_is_drawn_as_it_always_was() -> None:
    task = Opinion(distance=7)
    key = jax.random.key(5)
    bits = np.asarray(jax.random.bits(key, (8, 16)))
    expected = bits[1:-1] % CHOICES
    words = np.asarray(compiled_sample(task, key, 16, {}).inputs)
    assert np.array_equal(words[0], FIRST["negative"] + bits[-1] % (2 * CHOICES))
    assert np.array_equal((words[1:] - 1) % CHOICES, expected)


# -- reviews -----------------------------------------------------------------------


def test_reviews_keep_the_shares_of_their_labels(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    names = ["good"] * 70 + ["bad"] * 20 + ["so-so"] * 10
    lines = [f"word{i % 7} and more,{name}" for i, name in enumerate(names)]
    file.write_text("\n".join(["review,sentiment", *lines]))
    task = Reviews(path=str(file))
    data = task.load()
    spec = task.spec(data)
    assert spec.classes == ("bad", "good", "so-so") and spec.output_size == 3
    for split in PARTS[1:]:
        assert np.bincount(data["labels"][data[split]]).tolist() == [2, 7, 1]
    assert spec.baseline == spec.constant == 0.7
    assert spec.solved == pytest.approx(0.85)


def test_one_label_alone_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text("so fine,good\n" * 30)
    with pytest.raises(UserError, match="all 24 training sentences have label good"):
        Reviews(path=str(file)).load()
