"""Data sets: random rows of a training split, and held-out rows in a fixed order."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, PRNGKeyArray

from rnnjax.errors import UserError
from rnnjax.tasks.base import Data, Split, Task
from rnnjax.tasks.stratified_split import stratified, warn_of_missing_classes
from rnnjax.types import Batch


def split_rows(
    count: int,
    seed: int,
    what: str,
    labels: np.ndarray | None = None,
    names: Sequence[str] | None = None,
) -> dict[str, np.ndarray]:
    """Row numbers of disjoint training (80 %), validation and test (10 % each) sets.

    The order is a permutation determined by `seed`. Both held-out parts have at least
    one row. With `labels` the split is stratified: the classes have the same shares in
    each part, see `stratified_split.stratified`; a warning names classes that are too
    rare for that.

    Args:
        count: number of rows.
        seed: seed of the permutation.
        what: name of the data in messages.
        labels: the class of each row ``(N,)``; None: the split is not stratified.
        names: names of the classes, for messages.

    Raises:
        UserError: there are fewer than 3 rows.

    >>> {part: len(rows) for part, rows in split_rows(25, 0, "demo").items()}
    {'train': 21, 'validation': 2, 'test': 2}
    """
    if count < 3:
        raise UserError(f"{what} has {count} examples; a split needs at least 3")
    order = np.random.default_rng(seed).permutation(count).astype(np.int32)
    part = max(1, count // 10)
    if labels is not None:
        rows = stratified(order, labels, part)
        warn_of_missing_classes(what, labels, rows, names)
        return rows
    return {
        "train": order[2 * part :],
        "validation": order[:part],
        "test": order[part : 2 * part],
    }


def class_shares(labels: Any) -> np.ndarray:
    """Relative frequency of each class in ``labels (N,)``."""
    counts = np.bincount(np.asarray(labels))
    return counts / counts.sum()


def entropy(shares: np.ndarray) -> float:
    """Entropy in nats: the cross-entropy of the best constant predictor.

    >>> round(entropy(np.array([0.5, 0.5])), 4)
    0.6931
    """
    positive = shares[shares > 0]
    return float(-(positive * np.log(positive)).sum())


class IndexedTask(Task):
    """A task over rows of arrays in memory.

    A subclass defines `gather`, and `load`, whose mapping contains the row numbers of
    ``train``, ``validation`` and ``test`` in addition to its arrays. Training batches
    are drawn with replacement, so that a batch depends only on its key and may be
    larger than the data.
    """

    def gather(self, rows: Int[Array, "B"], data: Data) -> Batch:
        """The batch of these rows, time-major."""
        raise NotImplementedError

    def sample(self, key: PRNGKeyArray, batch: int, data: Data) -> Batch:
        """`batch` rows of the training split, drawn with replacement."""
        rows = jnp.asarray(data["train"])
        return self.gather(jax.random.choice(key, rows, (batch,)), data)

    def heldout(self, split: Split, size: int, data: Data) -> Batch:
        """The first `size` rows of the split, or all if it has fewer."""
        return self.gather(jnp.asarray(data[split])[:size], data)
