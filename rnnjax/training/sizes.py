"""Bytes of parameters and states, from shapes alone, and how bytes are written."""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp

from rnnjax.training.optimizer import MOMENTS
from rnnjax.training.program import Signature


NUMBERS = 37
"""Bytes of a state beside its arrays: the step, the meter, whether the run goes on."""


def state_bytes(signature: Signature) -> int:
    """What the state of one run takes: parameters, moments, and a few numbers."""
    arrays = 1 + MOMENTS[signature.optimizer]
    return arrays * param_bytes(signature) + NUMBERS


@functools.lru_cache(maxsize=1024)
def param_bytes(signature: Signature) -> int:
    """What the parameters of a model take.

    Two layers are traced at most: all above the first are alike.
    """
    model = signature.model

    def of(layers: int) -> int:
        cut = model.clone(layers=layers)
        tokens = model.vocabulary is not None
        shape = (1, 1) if tokens else (1, 1, model.input_size)
        inputs = jax.ShapeDtypeStruct(shape, jnp.int32 if tokens else jnp.float32)
        made: Any = jax.eval_shape(cut.init, jax.random.key(0), inputs)
        return bytes_of(made["params"])

    first = of(1)
    return first if model.layers == 1 else first + (model.layers - 1) * (of(2) - first)


def bytes_of(tree: Any) -> int:
    """Of all arrays of a pytree, which may be `jax.ShapeDtypeStruct`."""
    return sum(math.prod(x.shape) * x.dtype.itemsize for x in jax.tree.leaves(tree))


def in_bytes(count: float) -> str:
    """Bytes as a reader takes them in.

    >>> in_bytes(137_438_953_472), in_bytes(999), in_bytes(1_000_000)
    ('137 GB', '999 B', '1 MB')
    """
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if count < 999.5:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:,.3g} PB" if count < 999.5 else f"{count:,.0f} PB"
