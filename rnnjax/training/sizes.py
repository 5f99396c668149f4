"""Sizes of parameters and states, computed from shapes only, and their formatting."""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rnnjax.executables.lookup import remembered
from rnnjax.training.program import Signature


NUMBERS = 37
"""Bytes of a state besides parameters and optimizer: step, meter, and flags."""


def state_bytes(signature: Signature) -> int:
    """Bytes of the state of one run: parameters, optimizer state, a few numbers."""
    return sum(_bytes(signature)) + NUMBERS


def param_bytes(signature: Signature) -> int:
    """Bytes of the parameters of a model."""
    return _bytes(signature)[0]


@functools.lru_cache(maxsize=1024)
def _bytes(signature: Signature) -> tuple[int, int]:
    """Bytes of the parameters, and of the optimizer's state."""
    find = lambda: _traced_bytes(signature)
    params, kept = remembered(find, (_traced_bytes, signature))
    return params, kept


def _traced_bytes(signature: Signature) -> tuple[int, int]:
    """`_bytes`, found by tracing.

    At most two layers are traced, because all layers above the first are alike.
    """
    model, rule = signature.model, signature.optimizer.transformation(0.1)

    def of(layers: int) -> np.ndarray:
        cut = model.clone(layers=layers)
        tokens = model.vocabulary is not None
        shape = (1, 1) if tokens else (1, 1, model.input_size)
        inputs = jax.ShapeDtypeStruct(shape, jnp.int32 if tokens else jnp.float32)
        made: Any = jax.eval_shape(cut.init, jax.random.key(0), inputs)
        params = made["params"]
        kept = jax.eval_shape(rule.init, params)
        return np.array([bytes_of(params), bytes_of(kept)])

    found = first = of(1)
    if model.layers > 1:
        found = first + (model.layers - 1) * (of(2) - first)
    return int(found[0]), int(found[1])


def bytes_of(tree: Any) -> int:
    """Bytes of all arrays of a pytree; its leaves may be `jax.ShapeDtypeStruct`."""
    return sum(math.prod(x.shape) * x.dtype.itemsize for x in jax.tree.leaves(tree))


def in_bytes(count: float) -> str:
    """A number of bytes in a readable unit.

    >>> in_bytes(137_438_953_472), in_bytes(999), in_bytes(1_000_000)
    ('137 GB', '999 B', '1 MB')
    """
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if count < 999.5:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:,.3g} PB" if count < 999.5 else f"{count:,.0f} PB"
