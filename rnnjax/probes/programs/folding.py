"""Associative scans, traced as the sequential loops that they mean.

``associative_scan(f, e)`` is the fold c_t = f(c_{t−1}, e_t), c_0 = e_0, of any
associative f: the recurrence of most state-space models, computed in parallel as a tree
whose nodes are states of no step. While a program is traced for the probe, the fold
takes its place, and is a `lax.scan` like any other.
"""

import contextlib
import contextvars
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental.xla_metadata import set_xla_metadata

from rnnjax.compat import associative_scan_is


_folds: contextvars.ContextVar[list[int] | None] = contextvars.ContextVar(
    "folds", default=None
)


def fold(
    fn: Callable[[Any, Any], Any], elems: Any, reverse: bool = False, axis: int = 0
) -> Any:
    """`jax.lax.associative_scan`, one element after another.

    `fn` gets elements that keep their axis, with a size of one, because it may be
    written for slices of many elements.

    >>> fold(jnp.multiply, jnp.array([1.0, 2.0, 3.0])).tolist()
    [1.0, 2.0, 6.0]
    """
    leaves, tree = jax.tree.flatten(elems)
    place = axis % jnp.ndim(leaves[0])
    moved = [jnp.moveaxis(jnp.asarray(x), place, 0) for x in leaves]
    length = len(moved[0])
    if length < 2:
        return elems
    again = lambda x: jnp.expand_dims(x, place)

    def step(carry: list[Any], x: list[Any]) -> Any:
        pair = (jax.tree.unflatten(tree, y) for y in (carry, map(again, x)))
        carry = jax.tree.leaves(fn(*pair))
        return carry, carry

    first = [again(x[-1 if reverse else 0]) for x in moved]
    rest = [x[:-1] if reverse else x[1:] for x in moved]
    _, states = lax.scan(step, first, rest, reverse=reverse)
    joined = []
    for one, others in zip(first, states, strict=True):
        pair = [others, one[None]] if reverse else [one[None], others]
        flat = jnp.squeeze(jnp.concatenate(pair), place + 1)
        joined.append(jnp.moveaxis(flat, 0, place))
    return jax.tree.unflatten(tree, joined)


def associative_scan(
    fn: Callable[[Any, Any], Any], elems: Any, reverse: bool = False, axis: int = 0
) -> Any:
    """`jax.lax.associative_scan`, which `rnnjax.probe` can measure.

    The probe measures that of JAX as well, unless it warns that it cannot.
    """
    counted = _folds.get()
    if counted is None:
        return lax.associative_scan(fn, elems, reverse=reverse, axis=axis)
    return _counted_fold(fn, elems, reverse=reverse, axis=axis)


def _counted_fold(*args: Any, **options: Any) -> Any:
    counted = _folds.get()
    if counted is not None:
        counted.append(1)
    return fold(*args, **options)


@contextlib.contextmanager
def folding() -> Iterator[list[int]]:
    """Trace associative scans as folds; yields a list with an entry for each."""
    counted: list[int] = []
    token = _folds.set(counted)
    # metadata keep the traces of `jit` apart: one that was made outside would be used
    # as it is, with the parallel form in it
    with associative_scan_is(_counted_fold), set_xla_metadata(rnnjax="fold"):
        try:
            yield counted
        finally:
            _folds.reset(token)
