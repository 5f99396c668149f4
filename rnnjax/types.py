"""The notation for array shapes, and the types shared between packages.

One letter per axis, everywhere: ``T`` time steps, ``B`` examples, ``n`` units of a
state, ``m`` size of an input, ``q`` size of an output. Arrays are time-major,
``(T, B, …)``, so that a recurrence can scan the leading axis without a copy.
"""

from typing import Any

import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float, Inexact, Int


Params = Any
"""A pytree of parameters, as ``flax.linen`` stores them."""

State = Any
"""A pytree of state arrays ``(B, n)`` (one array, or a NamedTuple of them)."""

Trajectory = Any
"""A `State` with a leading time axis, ``(T, B, n)``; entry t is the state after step t.
"""

Lengths = Int[Array, "B"]
Sequence = Inexact[Array, "T B m"]


@struct.dataclass
class Batch:
    """Examples of a task, time-major, padded to a common length.

    Attributes:
        inputs: tokens ``int32 (T, B)`` or vectors ``float32 (T, B, m)``.
        targets: for a loss at the last step, classes ``(B,)`` or values ``(B, q)``; for
            a loss at every step, the same with a leading ``T``.
        mask: ``float32 (T, B)``, weight of the loss at each step. For a loss at the
            last step it is 1 at step ``lengths − 1`` of each example, 0 elsewhere.
        lengths: ``int32 (B,)``, valid steps of each example; the rest is padding, where
            neither inputs nor targets nor the mask are ever read.
        informative: ``bool (T, B)``, the steps that the target depends on.
    """

    inputs: Int[Array, "T B"] | Float[Array, "T B m"]
    targets: Array
    mask: Float[Array, "T B"]
    lengths: Lengths
    informative: Bool[Array, "T B"]


def wide_type(dtype: Any) -> Any:
    """The type itself, or float32 if it has 16 bits.

    For LAPACK, sums of squares and logarithms, which are unavailable or inaccurate in
    16 bits.
    """
    return jnp.float32 if jnp.dtype(dtype).itemsize == 2 else dtype
