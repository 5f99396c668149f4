"""The cheap probe: float32 norms read off the backward pass of training itself.

A tap, that is a zero, is added to every state and to the output of every seam. The
gradients with respect to the taps are the total adjoints ∂L/∂h_t and the cotangents
δ_t, which the reverse scan computes anyway. Norms below the smallest float32 appear as
−inf; the full probe (`trace`) has no such floor.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float

from rnnjax.models.sequence import SequenceModel
from rnnjax.probes.backward.trace import layer_name
from rnnjax.probes.backward.walk import first_state, in_order
from rnnjax.recurrence import scaled, scan
from rnnjax.recurrence.masking import make_drive
from rnnjax.types import Batch, Params


@struct.dataclass
class LightNorms:
    """log10 of root mean squares over the batch, ``(T,)`` in the order of the input.

    Attributes:
        adjoint: that of ‖∂L/∂h_t‖, over all state arrays, keyed by layer (`layer0`).
        delta: that of ‖δ_t‖, keyed by layer and site (`layer0/U`).
    """

    adjoint: Mapping[str, Float[Array, "T"]]
    delta: Mapping[str, Float[Array, "T"]]


def zero_taps(model: SequenceModel, params: Params, batch: Batch) -> Any:
    """The collection `taps`, all zeros: differentiate the loss with respect to it.

    ``model.apply({"params": params, "taps": taps}, batch.inputs, batch.lengths)`` gives
    the same answers and the same parameter gradient up to rounding: XLA may fuse the
    two programs differently, in which case the last bit differs on some processors.
    """

    def taps(params: Params, batch: Batch) -> dict[str, Any]:
        bound = model.bind({"params": params})
        x = bound.encode(batch.inputs)
        made = {}
        for layer, walks in enumerate(bound.stack):
            for walk in walks:
                cell, weights = walk.weights()
                drive = make_drive(cell, weights, x)
                initial = first_state(walk, x.shape[1])
                zeros = scan.zero_taps(cell, weights, initial, drive)
                made[walk.name] = {"states": zeros.states, "seams": zeros.seams}
            x, _ = bound.run_layer(layer, x, batch.lengths)
        return made

    shapes = jax.eval_shape(taps, params, batch)
    return jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)


def norms(model: SequenceModel, gradients: Any) -> LightNorms:
    """Turn the gradients of the taps into norms; call once after a backward pass."""
    adjoint, delta = {}, {}
    bound = model.bind({})
    for layer in range(model.layers):
        for walk in bound.stack[layer]:
            name = layer_name(layer, walk.backwards)
            own = in_order(gradients[walk.name], walk.backwards)
            adjoint[name] = _root_mean_square(own["states"])
            for site, cotangent in own["seams"].items():
                delta[f"{name}/{site}"] = _root_mean_square(cotangent)
    return LightNorms(adjoint, delta)


def _root_mean_square(tree: Any) -> Float[Array, "T"]:
    batch = jax.tree.leaves(tree)[0].shape[1]
    return scaled.log10_norm(scaled.lift(tree, 1)) - 0.5 * jnp.log10(float(batch))
