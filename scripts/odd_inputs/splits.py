"""Splits that lack a class, and classes that are uneven."""

from typing import Any

import numpy as np

from scripts.odd_inputs.case import add, case, expect
from scripts.odd_inputs.samples import load, npz, train


ROWS = 200


def _rare(kinds: int) -> tuple[np.ndarray, np.ndarray]:
    """Rare classes in the training split alone, for the split that seed 0 gives."""
    order = np.random.default_rng(0).permutation(ROWS)
    targets = np.zeros(ROWS, int)
    for kind in range(1, kinds):
        targets[order[-2 * kind :][:2]] = kind
    return np.random.default_rng(1).integers(0, 5, (ROWS, 4)), targets


def _not_solved(inputs: np.ndarray, targets: Any) -> None:
    """A network that says one class always has solved nothing."""
    path = npz("rare.npz", inputs=inputs, targets=targets)
    run = train("steps=60", "lr=0.05", path=path)
    name, solved = f"test_{run.manifest.metric}", run.results.get("solved")
    expect(not solved, f"solved with a {name} of {run.results[name]}")


add("one rare class, in the training split alone", lambda: _not_solved(*_rare(2)))
add("two rare classes, in the training split alone", lambda: _not_solved(*_rare(3)))
add("one class in all", lambda: _not_solved(*_rare(1)))


@case()
def a_target_that_is_constant() -> None:
    inputs, _ = _rare(1)
    _not_solved(inputs, np.full(ROWS, 2.5))


@case("never")
def the_baseline_of_uneven_classes() -> None:
    """The share of the most frequent class, here of nine to one."""
    from rnnjax.tasks import TASKS

    inputs, _ = _rare(1)
    targets = (np.arange(ROWS) % 10 == 0).astype(int)
    path = npz("uneven.npz", inputs=inputs, targets=targets)
    made: Any = TASKS["arrays"]
    task = made(path=path)
    data = load(path)
    training = targets[np.asarray(data["train"])]
    baseline = task.spec(data).baseline
    want = (training == 0).mean()
    expect(abs(baseline - want) < 1e-6, f"baseline {baseline}, not {want}")


@case()
def a_class_that_only_the_test_split_has() -> None:
    """The training split cannot teach it, and its number counts among the outputs."""
    order = np.random.default_rng(0).permutation(ROWS)
    targets = np.arange(ROWS) % 2
    targets[order[ROWS // 10 : ROWS // 10 + 4]] = 2
    inputs, _ = _rare(1)
    run = train(path=npz("late.npz", inputs=inputs, targets=targets))
    answers = run.apply(inputs[:2].T)
    expect(answers.shape == (2, 3), f"answers of shape {answers.shape}")
