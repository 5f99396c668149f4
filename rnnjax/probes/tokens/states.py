"""States of many sentences on the host, to which linear probes are fitted."""

import functools
from typing import Any

import jax
import numpy as np
from jaxtyping import Float

from rnnjax.executables.functions import kept_jit
from rnnjax.models.sequence import SequenceModel
from rnnjax.probes.adjoints.norms import JOINT, state_names
from rnnjax.types import Batch, Params


def collect_states(
    model: SequenceModel,
    params: Params,
    batch: Batch,
    *,
    layer: int = 0,
    backwards: bool = False,
    array: str = JOINT,
    chunk: int = 512,
) -> Float[np.ndarray, "T N K"]:
    """The states after every step, on the host; complex arrays as 2n real numbers.

    Args:
        model, params: the network; dropout is off.
        batch: the examples; only `inputs` and `lengths` are read.
        layer: index of the layer.
        backwards: whether to take the backward direction of a bidirectional layer.
        array: `joint` for all arrays concatenated, or one of them, such as `h`.
        chunk: number of examples at a time.

    Raises:
        ValueError: there is no such array.
    """
    count = batch.lengths.shape[0]
    width = min(chunk, count)
    parts = []
    for start in range(0, count, width):
        # all chunks have one shape, hence one compilation: the last one starts earlier
        first = min(start, count - width)
        some = slice(first, first + width)
        examples = batch.inputs[:, some], batch.lengths[some]
        seen = _states(model, layer, params, *examples)[backwards]
        names = state_names(seen)[1:]
        if array not in (JOINT, *names):
            raise ValueError(f"no state array {array!r}; known: joint, {names}")
        leaves = zip(names, jax.device_get(jax.tree.leaves(seen)), strict=True)
        kept = [leaf for name, leaf in leaves if array in (JOINT, name)]
        joined = np.concatenate([real for x in kept for real in _reals(x)], -1)
        parts.append(joined[:, start - first :])
    return np.concatenate(parts, axis=1)


@functools.partial(kept_jit, static_argnames=("model", "layer"))
def _states(
    model: SequenceModel, layer: int, params: Params, inputs: Any, lengths: Any
) -> Any:
    """States of a layer, in both of its directions if it has two."""
    bound = model.bind({"params": params})
    x = bound.encode(inputs)
    for number in range(layer):
        x, _ = bound.run_layer(number, bound.between(x), lengths)
    return bound.run_layer(layer, bound.between(x), lengths)[1]


def _reals(x: np.ndarray) -> list[np.ndarray]:
    return [np.real(x), np.imag(x)] if np.iscomplexobj(x) else [x]
