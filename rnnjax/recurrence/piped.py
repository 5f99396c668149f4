"""A scan that fetches the next step's slices while it works on this one."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax


Body = Callable[[Any, Any, Any], tuple[Any, Any]]


@partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def piped_scan(
    body: Body, reverse: bool, constants: Any, carry: Any, inputs: Any
) -> tuple[Any, Any]:
    """`lax.scan` of ``body(constants, carry, slice) -> (carry, output)``.

    XLA merges the read of a slice into whatever computes with it, and on a CPU does not
    vectorise the result if that takes gates apart: five times slower for the pointwise
    part of an LSTM. Here slices that are wider than the carry are read one step ahead,
    so that a step computes with arrays that are there; others are read as ever. Values
    are those of `lax.scan`, and derivatives are taken of it: a read by index has none.

    Args:
        body: must close over no array: `constants` is for them.
        reverse: from the last slice to the first.
        constants: pytree of arrays, the same at every step.
        carry: pytree, what enters the first step; states ``(B, n)`` and perhaps sums of
            fewer axes.
        inputs: pytree of arrays ``(T, …)``, T ≥ 1.

    Returns:
        the last carry, and the outputs stacked ``(T, …)``.
    """
    leaves, treedef = jax.tree.flatten(inputs)
    steps = leaves[0].shape[0]
    width = max(x.shape[-1] for x in jax.tree.leaves(carry) if x.ndim > 1)
    wide = {i: x for i, x in enumerate(leaves) if x.ndim > 1 and x.shape[-1] > width}
    narrow = [x for i, x in enumerate(leaves) if i not in wide]

    def read(place: Any) -> dict[int, Any]:
        place = jnp.clip(place, 0, steps - 1)
        take = partial(lax.dynamic_index_in_dim, index=place, keepdims=False)
        return {i: take(x) for i, x in wide.items()}

    def one(now: Any, entering: Any) -> tuple[Any, Any]:
        carry, ahead = now
        place, rest = entering
        rest = iter(rest)
        here = [ahead[i] if i in ahead else next(rest) for i in range(len(leaves))]
        carry, out = body(constants, carry, treedef.unflatten(here))
        return (carry, read(place - 1 if reverse else place + 1)), out

    places = jnp.arange(steps, dtype=jnp.int32)
    start = carry, read(places[-1] if reverse else places[0])
    (carry, _), stacked = lax.scan(one, start, (places, narrow), reverse=reverse)
    return carry, stacked


@piped_scan.defjvp
def _derivative(body: Body, reverse: bool, primals: Any, tangents: Any) -> Any:
    def plain(constants: Any, carry: Any, inputs: Any) -> tuple[Any, Any]:
        return lax.scan(partial(body, constants), carry, inputs, reverse=reverse)

    return jax.jvp(plain, primals, tangents)
