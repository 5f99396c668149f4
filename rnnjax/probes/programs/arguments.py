"""Arguments of a function: arrays, which are traced, and settings, which are not."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Arguments as flat leaves; numbers that choose sizes or branches stay Python's.

    Attributes:
        leaves: all leaves.
        tree: their structure.
        traced: the places of those that are arrays, or floats.
    """

    leaves: tuple[Any, ...]
    tree: Any
    traced: tuple[int, ...]

    @property
    def count(self) -> int:
        """The number of arguments."""
        return len(jax.tree.unflatten(self.tree, self.leaves))

    @property
    def arrays(self) -> list[Any]:
        """The traced leaves."""
        return [self.leaves[i] for i in self.traced]

    def filled(self, arrays: Sequence[Any]) -> tuple[Any, ...]:
        """The arguments with other arrays."""
        full = list(self.leaves)
        for place, x in zip(self.traced, arrays, strict=True):
            full[place] = x
        return jax.tree.unflatten(self.tree, full)

    def names(self, argument: int) -> dict[int, str]:
        """Paths within one argument, by place among the arrays; "" of an array."""
        dummy = jax.tree.unflatten(self.tree, range(len(self.leaves)))
        own = jax.tree_util.tree_flatten_with_path(dummy[argument])[0]
        paths = {leaf: path for path, leaf in own}

        def simple(path: Any) -> str:
            own = path[:-1] if path[1:] and str(path[-1]) == ".value" else path
            return jax.tree_util.keystr(own, simple=True, separator="/")

        return {
            i: simple(paths[leaf])
            for i, leaf in enumerate(self.traced)
            if leaf in paths
        }


def arguments_of(args: Sequence[Any]) -> Arguments:
    """Tell the arrays of arguments from settings, such as a name, a flag or a function.

    >>> arguments_of((np.zeros(2), 3, "mean", {"a": 0.5})).traced
    (0, 3)
    """
    leaves, tree = jax.tree.flatten(tuple(args))
    traced = [i for i, x in enumerate(leaves) if _is_traced(x)]
    return Arguments(tuple(leaves), tree, tuple(traced))


def _is_traced(x: Any) -> bool:
    return isinstance(x, jax.Array | np.ndarray | np.generic | float | complex)
