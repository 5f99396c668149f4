"""A user's own sequences, from a .npz or a .csv file."""

import dataclasses
from typing import ClassVar

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from rnnjax.checks import SEEDS, check_int, check_path
from rnnjax.errors import UserError
from rnnjax.paths import user_path
from rnnjax.tasks.base import (
    TASKS,
    Data,
    Metric,
    TaskSpec,
    best_constant,
    part_way,
)
from rnnjax.tasks.dataset import IndexedTask, class_shares, entropy, split_rows
from rnnjax.tasks.masks import last_step, valid_steps
from rnnjax.tasks.readers.arrays import checked, read_csv, read_npz
from rnnjax.types import Batch


READERS = {".npz": read_npz, ".csv": read_csv}

WAY = 0.9
"""Solved: this fraction of the way from the best constant answer to a perfect one."""


@TASKS.register("arrays")
@dataclasses.dataclass(frozen=True)
class Arrays(IndexedTask):
    """Your own sequences of tokens or vectors; one target each, at the last valid step.

    ``.npz``: ``inputs`` as integers ``(N, T)`` (tokens) or floats ``(N, T, m)``
    (vectors), ``targets`` as integers ``(N,)`` (classes) or floats ``(N,)`` or
    ``(N, q)`` (values), and ``lengths (N,)`` if sequences differ in length. ``.csv``:
    one sequence per row, columns ``x0`` … ``x{T−1}`` and ``target``. Integers are taken
    as tokens or classes; write 3.0 for the value 3. Entries beyond the length of a
    sequence are ignored, whatever they are, even NaN.

    Classes are learned with cross-entropy, values with squared error (mean over q).
    Baseline: the best constant prediction of the training split, its most frequent
    class or its mean. Solved (our choice): 90 % of the way from that accuracy to 1, or
    a tenth of that squared error. When a run is evaluated, the best constant prediction
    for the evaluated examples is used instead. All valid steps are informative.

    Attributes:
        path: the file; required.
        target: name of the array or column with the targets; None: ``targets`` in a
            .npz file, ``target`` in a .csv file.
        split: seed of the split into 80, 10 and 10 %; the classes have the same shares
            in each part.
    """

    name: ClassVar[str] = "arrays"
    path: str | None = None
    target: str | None = None
    split: int = 0

    def __post_init__(self) -> None:
        check_path("task.path", self.path)
        check_int("task.split", self.split, 0, SEEDS)

    def load(self) -> Data:
        """``inputs``, ``targets``, ``lengths`` and the rows of each split.

        Raises:
            UserError: no path, a file that cannot be read, or arrays that do not match.
        """
        if self.path is None:
            raise UserError("task arrays needs task.path, a .npz or .csv file")
        path = user_path(self.path)
        reader = READERS.get(path.suffix.lower())
        if reader is None:
            raise UserError(f"task.path is {path}; permitted: a .npz or .csv file")
        arrays = checked(path, reader(path, self.target))
        targets = arrays["targets"]
        classes = targets if targets.ndim == 1 else None
        return arrays | split_rows(len(targets), self.split, str(path), classes)

    def spec(self, data: Data) -> TaskSpec:
        """Sizes from the data, and measured baselines, see the class."""
        inputs, targets = np.asarray(data["inputs"]), np.asarray(data["targets"])
        tokens, classes = inputs.ndim == 2, targets.ndim == 1
        training = targets[np.asarray(data["train"])]
        metric: Metric = "accuracy" if classes else "mean_squared_error"
        baseline = best_constant(metric, training)
        loss = entropy(class_shares(training)) if classes else baseline
        return TaskSpec(
            length=inputs.shape[1],
            vocabulary=int(inputs.max()) + 1 if tokens else None,
            input_size=1 if tokens else inputs.shape[2],
            output_size=int(targets.max()) + 1 if classes else targets.shape[1],
            loss="cross_entropy" if classes else "squared_error",
            readout="last",
            metric=metric,
            baseline=baseline,
            baseline_loss=loss,
            solved=part_way(metric, baseline, WAY),
            constant=best_constant(metric, targets[np.asarray(data["test"])]),
            way=WAY,
        )

    def gather(self, rows: Int[Array, "B"], data: Data) -> Batch:
        """The batch of these sequences, time-major."""
        inputs = jnp.swapaxes(jnp.asarray(data["inputs"])[rows], 0, 1)
        lengths = jnp.asarray(data["lengths"])[rows]
        return Batch(
            inputs=inputs,
            targets=jnp.asarray(data["targets"])[rows],
            mask=last_step(lengths, inputs.shape[0]),
            lengths=lengths,
            informative=valid_steps(lengths, inputs.shape[0]),
        )
