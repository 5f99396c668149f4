"""Images read pixel by pixel: the common part of `digits` and `mnist`."""

from typing import ClassVar

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, UInt8

from rnnjax.tasks.base import Data, TaskSpec, best_constant
from rnnjax.tasks.dataset import IndexedTask, class_shares, entropy
from rnnjax.tasks.masks import last_step
from rnnjax.types import Batch


DIGITS = 10
PERMUTATION_SEED = 92_916
"""Seed of the pixel order of permuted MNIST used in publications, see `pixel_rows`."""


def pixel_rows(
    images: UInt8[np.ndarray, "N height width"], permuted: bool
) -> UInt8[np.ndarray, "N T"]:
    """Images as sequences of pixels, row by row or in one fixed random order.

    For 784 pixels the order is the one in the code of scoRNN (Helfrich, Willmott & Ye
    2018) and expRNN (Lezcano-Casado & Martínez-Rubio 2019),
    ``np.random.RandomState(92916).permutation(784)``, so that results on permuted MNIST
    are comparable: step t reads pixel ``order[t]`` of the image, counted row by row.
    """
    rows = images.reshape(len(images), -1)
    if not permuted:
        return rows
    order = np.random.RandomState(PERMUTATION_SEED).permutation(rows.shape[1])
    return rows[:, order]


class PixelTask(IndexedTask):
    """A digit, one pixel per step; its class is asked for at the last step.

    `load` returns ``images (N, T)`` as bytes, ``labels (N,)`` and the rows of each
    split.
    """

    brightest: ClassVar[int]
    """The byte that is mapped to 1.0."""
    solved_from: ClassVar[float]
    """Accuracy at which the task counts as solved."""

    def spec(self, data: Data) -> TaskSpec:
        """Baseline: the most frequent class of the training split, and its entropy."""
        labels = np.asarray(data["labels"])
        shares = class_shares(labels[np.asarray(data["train"])])
        return TaskSpec(
            length=data["images"].shape[1],
            vocabulary=None,
            input_size=1,
            output_size=DIGITS,
            loss="cross_entropy",
            readout="last",
            metric="accuracy",
            baseline=float(shares.max()),
            baseline_loss=entropy(shares),
            solved=self.solved_from,
            ragged=False,
            constant=best_constant("accuracy", labels[np.asarray(data["test"])]),
        )

    def gather(self, rows: Int[Array, "B"], data: Data) -> Batch:
        """These images as ``float32 (T, B, 1)`` in [0, 1]."""
        pixels = jnp.asarray(data["images"])[rows].astype(jnp.float32).T
        lengths = jnp.full(rows.shape, pixels.shape[0], jnp.int32)
        return Batch(
            inputs=pixels[:, :, None] / self.brightest,
            targets=jnp.asarray(data["labels"])[rows],
            mask=last_step(lengths, pixels.shape[0]),
            lengths=lengths,
            informative=jnp.ones(pixels.shape, bool),
        )
