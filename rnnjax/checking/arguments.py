"""Arguments for a kernel: made at any length, with names and time axes.

A *maker* is a function ``(seed, steps) -> arguments``. Which axis is time is found by
making arguments of two lengths and comparing shapes, so that neither names nor the
shape of a pytree matter.
"""

import dataclasses
import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rnnjax.errors import UserError


Maker = Callable[[int, int], Sequence[Any]]

PROBED = 5
"""A length at which shapes are compared with those of the next length."""


@dataclasses.dataclass(frozen=True)
class Layout:
    """The leaves of the arguments and results that can be differentiated.

    Attributes:
        tree: structure of all arguments.
        moving: indices of the leaves with a gradient among all leaves of the arguments.
        names: their names, such as ``U`` or ``xs``.
        times: their time axis, or None.
        flags: time axes of boolean and integer leaves that have one, by their index.
        outputs: time axis of each result with a gradient, or None (a final state).
        state: indices within `moving` of the leaves that take the state before the
            first step; empty: none was found.
    """

    tree: Any
    moving: tuple[int, ...]
    names: tuple[str, ...]
    times: tuple[int | None, ...]
    flags: dict[int, int]
    outputs: tuple[int | None, ...]
    state: tuple[int, ...]

    @property
    def state_leaves(self) -> set[int]:
        """`state` as indices among all leaves of the arguments."""
        return {self.moving[i] for i in self.state}


def leaves_of(make: Maker, seed: int, steps: int) -> tuple[list[np.ndarray], Any]:
    """The leaves of the arguments as arrays, and their structure."""
    leaves, tree = jax.tree.flatten(tuple(make(seed, steps)))
    return [x if _is_key(x) else np.asarray(x) for x in leaves], tree


def layout(function: Callable[..., Any], make: Maker) -> Layout:
    """Compare the arguments and results of `function` at two lengths.

    Raises:
        UserError: no argument, or no result, changes with the length.
    """
    leaves, tree = leaves_of(make, 0, PROBED)
    longer, _ = leaves_of(make, 0, PROBED + 1)
    if len(leaves) != len(longer):
        raise UserError("the maker of arguments gives other arguments at other lengths")
    axes = [_time_axis(a.shape, b.shape) for a, b in zip(leaves, longer, strict=True)]
    if all(axis is None for axis in axes):
        raise UserError(
            "no argument becomes longer with the number of steps: the maker of "
            "arguments is called as make(seed, steps)"
        )
    moving = [i for i, x in enumerate(leaves) if is_inexact(x)]
    results = [
        inexact_leaves(jax.eval_shape(function, *jax.tree.unflatten(tree, some)))
        for some in (leaves, longer)
    ]
    outputs = [
        _time_axis(a.shape, b.shape)
        for a, b in zip(results[0], results[1], strict=True)
    ]
    state = [x for x, t in zip(results[0], outputs, strict=True) if t is None]
    if not state and results[0]:  # the outputs of the steps are likely to be states
        time = outputs[0]
        state = [jax.eval_shape(lambda x: x.take(0, time), results[0][0])]
    names = names_of(function, tree)
    return Layout(
        tree=tree,
        moving=tuple(moving),
        names=tuple(names[i] for i in moving),
        times=tuple(axes[i] for i in moving),
        flags={
            i: time
            for i, (x, time) in enumerate(zip(leaves, axes, strict=True))
            if i not in moving and not _is_key(x) and time is not None
        },
        outputs=tuple(outputs),
        state=_state(tree, leaves, axes, moving, state),
    )


def names_of(function: Callable[..., Any], tree: Any) -> list[str]:
    """A short name of every leaf: the last key of its path where that is unique."""
    try:
        given = list(inspect.signature(function).parameters)
    except (TypeError, ValueError):
        given = []
    dummy = jax.tree.unflatten(tree, range(tree.num_leaves))
    paths = [path for path, _ in jax.tree_util.tree_flatten_with_path(dummy)[0]]
    full = []
    for path in paths:
        place = path[0].idx
        first = given[place] if place < len(given) else f"argument {place}"
        full.append([first, *(_key(entry) for entry in path[1:])])
    last = [words[-1] for words in full]
    return [w[-1] if last.count(w[-1]) == 1 else ".".join(w) for w in full]


def from_shapes(text: str) -> Maker:
    """A maker of random arguments from shapes, such as ``{U: 8x8, b: 8} 4x8 Tx4x3``.

    Arguments are separated by spaces; T stands for the number of steps. A name in
    braces makes a dictionary. Dtypes follow a colon: ``4x8:bfloat16``. Matrices without
    T are drawn as N(0, 1/rows), vectors as N(0, .01), all else as N(0, 1).

    Raises:
        UserError: the text cannot be read.
    """
    words = re.findall(r"\{[^}]*\}|\S+", text)
    if not words or "T" not in text:
        raise UserError(
            f"--args '{text}' gives no sequence; write shapes with T for the steps, "
            "such as '{U: 8x8, V: 3x8, b: 8} 4x8 Tx4x3'"
        )
    parsed = [_shapes(word) for word in words]

    def make(seed: int, steps: int) -> list[Any]:
        random = np.random.default_rng([seed, 2**20])
        return [
            {k: _draw(random, v, steps) for k, v in one.items()}
            if isinstance(one, Mapping)
            else _draw(random, one, steps)
            for one in parsed
        ]

    make(0, PROBED)  # unknown dtypes are refused here
    return make


def _shapes(word: str) -> Any:
    if not word.startswith("{"):
        return word
    pairs = [pair.partition(":") for pair in word[1:-1].split(",") if pair.strip()]
    return {name.strip(): shape.strip() for name, _, shape in pairs}


def _draw(random: np.random.Generator, word: str, steps: int) -> Any:
    shape, _, dtype = word.partition(":")
    try:
        sizes = [steps if n == "T" else int(n) for n in shape.split("x")]
        kind = jnp.dtype(dtype or "float32")
    except (ValueError, TypeError):
        raise UserError(
            f"'{word}' is no shape, such as Tx4x3 or 8x8:bfloat16"
        ) from None
    scale = 1.0
    if "T" not in shape:
        scale = 0.1 if len(sizes) == 1 else sizes[0] ** -0.5
    values = scale * random.standard_normal(sizes)
    if jnp.issubdtype(kind, jnp.complexfloating):
        values = (values + 1j * scale * random.standard_normal(sizes)) / np.sqrt(2)
    if not jnp.issubdtype(kind, jnp.inexact):
        values = values > 0
    return jnp.asarray(values).astype(kind)


def _state(
    tree: Any, leaves: list[Any], axes: list[Any], moving: list[int], like: list[Any]
) -> tuple[int, ...]:
    """The leaves that have the shapes of a state.

    All of one argument, the first of several such; or else of arguments next to each
    other, if there is only one such place.

    Args:
        tree, leaves: the arguments.
        axes: the time axis of each leaf, or None.
        moving: indices of the leaves with a gradient.
        like: arrays of the shapes and dtypes of a state.
    """
    wanted = [(x.shape, x.dtype) for x in like]
    numbered = jax.tree.unflatten(tree, range(len(leaves)))
    alone = [jax.tree.leaves(argument) for argument in numbered]
    still = [i for i, axis in enumerate(axes) if axis is None]
    beside = [still[k : k + len(wanted)] for k in range(len(still))]

    def fits(own: list[int]) -> bool:
        found = [(leaves[i].shape, leaves[i].dtype) for i in own]
        return found == wanted and all(axes[i] is None for i in own)

    first, several = [x for x in alone if fits(x)], [x for x in beside if fits(x)]
    found = first[0] if first else several[0] if len(several) == 1 else []
    return tuple(moving.index(i) for i in found)


def _time_axis(shape: Sequence[int], longer: Sequence[int]) -> int | None:
    changed = [i for i, (a, b) in enumerate(zip(shape, longer, strict=False)) if a != b]
    return changed[0] if len(changed) == 1 else None


def inexact_leaves(tree: Any) -> list[Any]:
    """The leaves with a gradient, such as those of the results of a function."""
    return [x for x in jax.tree.leaves(tree) if is_inexact(x)]


def _is_key(x: Any) -> bool:
    return jnp.issubdtype(getattr(x, "dtype", np.float32), jax.dtypes.prng_key)


def is_inexact(x: Any) -> bool:
    """Whether an array has a gradient."""
    return not _is_key(x) and jnp.issubdtype(x.dtype, jnp.inexact)


def _key(entry: Any) -> str:
    for name in ("key", "name", "idx"):
        if hasattr(entry, name):
            return str(getattr(entry, name))
    return str(entry)
