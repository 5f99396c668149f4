"""How far the gradient of truncated back-propagation is from the full gradient.

The bias of a truncation at lag K is ‖g_K − g‖ / ‖g‖, where g is the training gradient
and g_K the gradient along paths of at most lag K (rule ``cut`` of
`rnnjax.recurrence.backprop_rules`). A network whose gradient vanishes loses nothing
with a short K: a small bias does not mean that the gradient is good, but that distant
steps do not contribute to it.
Tallec & Ollivier (2017, "Unbiasing truncated backpropagation through time") study the
bias of truncation at regular intervals; here there is a single cut, K steps before the
last step.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jax import lax
from jaxtyping import Array, Float, Int

from rnnjax.clipping import global_norm
from rnnjax.models.objective import objective
from rnnjax.models.sequence import SequenceModel
from rnnjax.tasks.base import TaskSpec
from rnnjax.types import Batch, Params


@struct.dataclass
class TruncationBias:
    """The bias at each lag.

    Attributes:
        lags: the lags K.
        arrays: ‖g_K − g‖ / ‖g‖ of every parameter array, in the structure of the
            parameters; NaN where g is exactly zero.
        joint: the same over all parameters.
    """

    lags: Int[Array, "K"]
    arrays: Any
    joint: Float[Array, "K"]


def truncation_bias(
    model: SequenceModel,
    params: Params,
    batch: Batch,
    spec: TaskSpec,
    lags: Sequence[int] | Int[Array, "K"],
) -> TruncationBias:
    """Bias of the gradient of one batch for each lag; dropout is off.

    Args:
        model: the model; its `backprop` setting is ignored.
        params: its parameters.
        batch: the examples, which may differ in length: lags count from the last valid
            step of each.
        spec: loss and readout of the task.
        lags: lags K ≥ 0 after which the gradient is cut; may be traced. K ≥ T cuts
            nothing: the bias is 0 up to rounding.

    Pure, works under `jit`; a single program computes the lags one after the other.
    Costs one training gradient per lag, and memory for two gradients. The gradients are
    subtracted in the precision that they have: in float32 a bias below about 10⁻⁷ is
    rounding error.
    """
    cut = model.clone(backprop="cut")
    lags = jnp.asarray(lags, jnp.int32)

    def gradient(lag: Array) -> Params:
        def loss(params: Params) -> Array:
            answers: Any = cut.clone(lag=lag).apply(
                {"params": params}, batch.inputs, batch.lengths
            )
            return objective(spec, answers, batch)[0]

        return jax.grad(loss)(params)

    whole = gradient(jnp.asarray(batch.inputs.shape[0], jnp.int32))

    def one(lag: Array) -> tuple[Any, Array]:
        missing = jax.tree.map(jnp.subtract, gradient(lag), whole)
        each = jax.tree.map(_relative, missing, whole)
        return each, _relative(missing, whole)

    arrays, joint = lax.map(one, lags)
    return TruncationBias(lags, arrays, joint)


def _relative(difference: Any, reference: Any) -> Array:
    norm = global_norm(reference)
    there = norm > 0
    ratio = global_norm(difference) / jnp.where(there, norm, 1.0)
    return jnp.where(there, ratio, jnp.nan)
