"""A scan for large arrays on a CPU: reads one step ahead, and writes in place."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.core import jaxpr_as_fun
from jaxtyping import Array


Body = Callable[[Any, Any, Any, Any], tuple[Any, Any]]


@partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def piped_scan(
    body: Body, reverse: bool, constants: Any, carry: Any, inputs: Any, spent: Any
) -> tuple[Any, Any]:
    """`lax.scan` of ``body(constants, carry, input, spent) -> (carry, output)``.

    XLA fuses the read of a slice with the operations that use it. On a CPU it does not
    vectorise the result if these split gates, which makes the pointwise part of an LSTM
    five times slower. Here slices that are wider than the carry are read one step
    ahead, so that a step uses arrays already in memory; other slices are read as usual.

    An output takes the place of a wide array of `spent` of the same shape and dtype,
    slice by slice: a new array ``(T, …)`` would first be filled with zeros, and memory
    that was just read is still in the processor's cache.

    Values are those of `lax.scan`, and derivatives are those of an actual `lax.scan`.

    Args:
        body: must not close over arrays; pass these as `constants`.
        reverse: run from the last slice to the first.
        constants: pytree of arrays, the same at every step.
        carry: pytree, the carry before the first step; states ``(B, n)`` and possibly
            sums with fewer axes.
        inputs: pytree of arrays ``(T, …)``, T ≥ 1.
        spent: inputs that are not used elsewhere (else they are copied).

    Returns:
        the last carry, and the outputs stacked ``(T, …)``.
    """
    leaves, treedef = jax.tree.flatten((inputs, spent))
    steps, kept = leaves[0].shape[0], len(jax.tree.leaves(inputs))
    width = max(x.shape[-1] for x in jax.tree.leaves(carry) if x.ndim > 1)
    wide = [i for i, x in enumerate(leaves) if x.ndim > 1 and x.shape[-1] > width]

    def step(carry: Any, here: list[Any]) -> tuple[Any, Any]:
        return body(constants, carry, *treedef.unflatten(here))

    slices = [jax.ShapeDtypeStruct(x.shape[1:], x.dtype) for x in leaves]
    closed, (_, out) = jax.make_jaxpr(step, return_shape=True)(carry, slices)
    outputs, outdef = jax.tree.flatten(out)
    places = _places(outputs, leaves, [i for i in wide if i >= kept])
    buffers = [
        jnp.zeros((steps, *x.shape), x.dtype) if i is None else leaves[i]
        for i, x in zip(places, outputs, strict=True)
    ]
    carried, carrydef = jax.tree.flatten(carry)

    def ahead(place: Any, buffers: list[Array]) -> dict[int, Array]:
        place = jnp.clip(place, 0, steps - 1)
        now = leaves.copy()
        for i, buffer in zip(places, buffers, strict=True):
            if i is not None:
                now[i] = buffer
        return {i: _slice(now[i], place) for i in wide}

    def one(count: Any, now: Any) -> Any:
        carried, read, buffers = now
        place = steps - 1 - count if reverse else count
        here = [
            read[i] if i in read else _slice(x, place) for i, x in enumerate(leaves)
        ]
        done = jaxpr_as_fun(closed)(*carried, *here)
        carried, out = done[: len(carried)], done[len(carried) :]
        buffers = [_with_slice(b, x, place) for b, x in zip(buffers, out, strict=True)]
        return carried, ahead(place - 1 if reverse else place + 1, buffers), buffers

    start = carried, ahead(steps - 1 if reverse else 0, buffers), buffers
    carried, _, buffers = lax.fori_loop(0, steps, one, start)
    return carrydef.unflatten(carried), outdef.unflatten(buffers)


def _places(outputs: list[Any], leaves: list[Any], free: list[int]) -> list[int | None]:
    """For each output the first free leaf with its shape and dtype, or None."""
    free, found = free.copy(), []
    for out in outputs:
        like = (out.shape, out.dtype)
        same = [i for i in free if (leaves[i].shape[1:], leaves[i].dtype) == like]
        found.append(same[0] if same else None)
        free = [i for i in free if i not in same[:1]]
    return found


def _slice(x: Array, place: Any) -> Array:
    start, sizes = (place, *[0] * (x.ndim - 1)), (1, *x.shape[1:])
    part = lax.dynamic_slice(x, start, sizes, allow_negative_indices=False)
    return lax.squeeze(part, (0,))


def _with_slice(x: Array, part: Array, place: Any) -> Array:
    start = (place, *[0] * part.ndim)
    return lax.dynamic_update_slice(x, part[None], start, allow_negative_indices=False)


@piped_scan.defjvp
def _derivative(body: Body, reverse: bool, primals: Any, tangents: Any) -> Any:
    def plain(constants: Any, carry: Any, inputs: Any, spent: Any) -> tuple[Any, Any]:
        def step(carry: Any, now: Any) -> tuple[Any, Any]:
            return body(constants, carry, *now)

        return lax.scan(step, carry, (inputs, spent), reverse=reverse)

    return jax.jvp(plain, primals, tangents)
