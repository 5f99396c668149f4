"""MNIST pixel by pixel, in order or permuted."""

import dataclasses
from pathlib import Path
from typing import ClassVar

import numpy as np

from rnnjax.checks import check_choice, check_path
from rnnjax.errors import UserError
from rnnjax.paths import user_path
from rnnjax.tasks.base import TASKS, Data
from rnnjax.tasks.dataset import split_rows
from rnnjax.tasks.pixels import DIGITS, PixelTask, pixel_rows
from rnnjax.tasks.readers.idx import read_idx
from rnnjax.tasks.readers.text_files import DATA_VARIABLE, data_folder


NAMES = ("{}-images-idx3-ubyte", "{}-labels-idx1-ubyte")


@TASKS.register("mnist")
@dataclasses.dataclass(frozen=True)
class Mnist(PixelTask):
    """Images of 28 × 28 pixels, 784 steps, 10 classes (Le, Jaitly & Hinton 2015).

    Reads ``train-`` and ``t10k-images-idx3-ubyte`` and ``-labels-idx1-ubyte``, plain or
    with ``.gz``. If both pairs of files exist, a twelfth of the training images (5000)
    is used for validation, and the test images are the test split. **If the training
    images are missing, the 10 000 test images are split into 8000, 1000 and 1000**
    (fixed), and accuracies are not comparable with published ones.

    Baseline: the most frequent class of the training split, about .11. Solved if the
    accuracy is at least .95 (our choice; published recurrent networks reach .82 to
    .99). All steps are informative.

    Attributes:
        path: folder of the files; None: ``mnist`` in the data folder.
        permuted: whether pixels are in one fixed random order, the one used in
            published results (`pixels.pixel_rows`), instead of row by row.
    """

    name: ClassVar[str] = "mnist"
    brightest: ClassVar[int] = 255
    solved_from: ClassVar[float] = 0.95
    path: str | None = None
    permuted: bool = False

    def __post_init__(self) -> None:
        check_path("task.path", self.path)
        check_choice("task.permuted", self.permuted, (False, True))

    def load(self) -> Data:
        """Images ``(N, 784)`` as bytes, labels ``(N,)``, rows of each split.

        Raises:
            UserError: files are missing or damaged, or images and labels do not match.
        """
        folder = data_folder("mnist")
        if self.path is not None:
            folder = user_path(self.path)
        if folder is None:
            raise UserError(
                "task mnist has no files: set task.path, or put t10k-images-idx3-ubyte"
                ".gz and t10k-labels-idx1-ubyte.gz (and the train- files) into the "
                f"folder ${DATA_VARIABLE}/mnist"
            )
        images, labels = _read_pair(folder, "t10k")
        if not any(folder.glob("train-*")):
            rows = split_rows(len(images), 0, "task mnist")
        else:
            more_images, more_labels = _read_pair(folder, "train")
            if more_images.shape[1:] != images.shape[1:]:
                raise UserError(f"{folder}: training and test images differ in size")
            count = len(more_images)
            order = np.random.default_rng(0).permutation(count).astype(np.int32)
            rows = {
                "train": order[count // 12 :],
                "validation": order[: count // 12],
                "test": np.arange(count, count + len(images), dtype=np.int32),
            }
            images = np.concatenate([more_images, images])
            labels = np.concatenate([more_labels, labels])
        return {
            "images": pixel_rows(images, self.permuted),
            "labels": labels.astype(np.int32),
            **rows,
        }


def _read_pair(folder: Path, part: str) -> tuple[np.ndarray, np.ndarray]:
    """Images ``(N, height, width)`` and labels ``(N,)``."""
    files = [folder / name.format(part) for name in NAMES]
    files = [file if file.exists() else Path(f"{file}.gz") for file in files]
    images, labels = read_idx(files[0], 3), read_idx(files[1], 1)
    if len(images) != len(labels):
        raise UserError(
            f"{files[0]} has {len(images)} images and {files[1]} {len(labels)} labels"
        )
    if labels.max(initial=0) >= DIGITS:
        raise UserError(f"{files[1]} has label {labels.max()}; permitted: 0 to 9")
    return images, labels
