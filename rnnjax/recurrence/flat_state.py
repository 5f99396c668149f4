"""The state of a layer as one real vector ``(…, N)``, with all arrays concatenated.

Arrays are in the order of the leaves (h before c for an LSTM). A complex array of n
units becomes 2n real numbers, real parts before imaginary parts, so that every Jacobian
is a real matrix even if a step is not holomorphic (modReLU).
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from rnnjax.types import State


def join(state: State) -> Float[Array, "*batch N"]:
    """All arrays ``(*batch, n)`` of a state as one real vector ``(*batch, N)``."""
    parts = []
    for x in jax.tree.leaves(state):
        parts += [x.real, x.imag] if jnp.iscomplexobj(x) else [x]
    return jnp.concatenate(parts, axis=-1)


def split(vector: Float[Array, "*batch N"], like: State) -> State:
    """The inverse of `join`; `like` gives the sizes and dtypes of the arrays."""
    leaves, treedef = jax.tree.flatten(like)
    arrays, start = [], 0

    def take(n: int) -> Array:
        nonlocal start
        start += n
        return vector[..., start - n : start]

    for x in leaves:
        n = x.shape[-1]
        if jnp.issubdtype(x.dtype, jnp.complexfloating):
            real = take(n)
            arrays.append((real + 1j * take(n)).astype(x.dtype))
        else:
            arrays.append(take(n).astype(x.dtype))
    return jax.tree.unflatten(treedef, arrays)
