"""Handwritten digits that ship with scikit-learn, pixel by pixel."""

import dataclasses
from typing import ClassVar

import numpy as np

from rnnjax.checks import check_choice
from rnnjax.tasks.base import TASKS, Data
from rnnjax.tasks.dataset import split_rows
from rnnjax.tasks.pixels import PixelTask


OWN_SEED = 92_916
"""Seed of the order of permuted digits."""


@TASKS.register("digits")
@dataclasses.dataclass(frozen=True)
class Digits(PixelTask):
    """1797 images of 8 × 8 pixels (UCI optical digits), 64 steps, 10 classes.

    The split into 80, 10 and 10 % is fixed. Baseline: the most frequent class of the
    training split, about .1; the last pixel is dark in most images, and the best guess
    from this pixel only reaches .14. Solved if the accuracy is at least .9 (our
    choice). All steps are informative.

    Attributes:
        permuted: whether pixels are in one fixed random order instead of row by row.
            The order is this package's own; no published result uses it.
    """

    name: ClassVar[str] = "digits"
    brightest: ClassVar[int] = 16
    solved_from: ClassVar[float] = 0.9
    permuted: bool = False

    def __post_init__(self) -> None:
        check_choice("task.permuted", self.permuted, (False, True))

    def load(self) -> Data:
        """Images ``(1797, 64)``, labels, rows of each split."""
        from sklearn.datasets import load_digits  # this import takes a second

        pixels, digits = map(np.asarray, load_digits(return_X_y=True))
        images = pixels.astype(np.uint8)
        order = np.random.default_rng(OWN_SEED).permutation(images.shape[1])
        return {
            "images": images[:, order] if self.permuted else images,
            "labels": digits.astype(np.int32),
            **split_rows(len(images), 0, "task digits"),
        }
