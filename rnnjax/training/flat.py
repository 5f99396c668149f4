"""The arrays of a pytree as one vector for each dtype.

XLA compiles a pass over a pytree into one kernel per array. A network has a dozen small
arrays, and an update makes ten such passes: over one vector they are ten kernels, which
compile sooner and, for small networks, run faster.
"""

import dataclasses
import math
from typing import Any, Self

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array

from rnnjax.training.hyper import Hyper
from rnnjax.training.optimizers import Optimizer


@struct.dataclass
class Vectors:
    """The arrays of a pytree by dtype, joined along their last axis."""

    by_dtype: dict[str, Array]


@dataclasses.dataclass(frozen=True)
class Form:
    """The structure of a pytree, and the shape and dtype of each of its arrays."""

    structure: Any
    arrays: tuple[jax.ShapeDtypeStruct, ...]

    @classmethod
    def of(cls, tree: Any, leading: int = 0) -> Self:
        """The form of a pytree, without the `leading` axes of its arrays."""
        leaves, structure = jax.tree.flatten(tree)
        shapes = (jax.ShapeDtypeStruct(x.shape[leading:], x.dtype) for x in leaves)
        return cls(structure, tuple(shapes))

    def vectors(self, leading: tuple[int, ...] = ()) -> Any:
        """Zeros with the shape of the result of `join`."""
        sizes: dict[str, int] = {}
        for one in self.arrays:
            name = str(one.dtype)
            sizes[name] = sizes.get(name, 0) + math.prod(one.shape)
        make = lambda name: jnp.zeros((*leading, sizes[name]), name)
        return Vectors({name: make(name) for name in sorted(sizes)})

    def fits(self, tree: Any) -> bool:
        """Whether a pytree has this form."""
        return Form.of(tree) == self

    def join(self, tree: Any) -> Any:
        """The arrays of a pytree as `Vectors`; leading axes, the same for all, remain.

        (Optax does not know the type: it declares trees of parameters its own way.)
        """
        parts: dict[str, list[Array]] = {}
        for x, one in zip(jax.tree.leaves(tree), self.arrays, strict=True):
            leading = x.shape[: x.ndim - len(one.shape)]
            parts.setdefault(str(one.dtype), []).append(x.reshape(*leading, -1))
        return Vectors({k: jnp.concatenate(v, -1) for k, v in sorted(parts.items())})

    def split(self, vectors: Any) -> Any:
        """The inverse of `join`.

        >>> tree = {"U": jnp.ones((2, 3)), "b": jnp.zeros(3)}
        >>> form = Form.of(tree)
        >>> form.join(tree).by_dtype["float32"].shape
        (9,)
        >>> form.split(form.join(tree))["U"].shape
        (2, 3)
        """
        leaves, begin = [], dict.fromkeys(vectors.by_dtype, 0)
        for one in self.arrays:
            vector, first = vectors.by_dtype[str(one.dtype)], begin[str(one.dtype)]
            begin[str(one.dtype)] = end = first + math.prod(one.shape)
            part = vector[..., first:end]
            leaves.append(part.reshape(*vector.shape[:-1], *one.shape))
        return jax.tree.unflatten(self.structure, leaves)

    def join_within(self, tree: Any) -> Any:
        """A pytree in which every subtree of this form is replaced by its vectors."""
        return jax.tree.map(
            lambda x: self.join(x) if self.fits(x) else x, tree, is_leaf=self.fits
        )

    def split_within(self, tree: Any) -> Any:
        """The inverse of `join_within`."""
        joined = lambda x: isinstance(x, Vectors)
        return jax.tree.map(
            lambda x: self.split(x) if joined(x) else x, tree, is_leaf=joined
        )


def takes_vectors(optimizer: Optimizer, form: Form, hyper: Hyper, state: Any) -> bool:
    """Whether the rule is elementwise and `state` is what it keeps for vectors."""
    if not optimizer.is_elementwise():
        return False
    made = jax.eval_shape(optimizer.transformation(hyper.lr).init, form.vectors())
    return Form.of(made) == Form.of(state)
