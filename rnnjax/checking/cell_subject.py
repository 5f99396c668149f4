"""The cell that is checked: how it is built, its random arguments, and comparisons."""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from rnnjax.cells.base import Cell
from rnnjax.checking.numbers import quick_jit, wide
from rnnjax.user_code import place_in


T, B, M, N = 6, 4, 3, 4
"""Steps, examples, inputs and units of the cell that is checked."""

LENGTHS = (T, 0, 4, 1)
"""Valid steps of the examples, with none and one among them."""


@dataclasses.dataclass(frozen=True)
class Subject:
    """A cell that is checked.

    Attributes:
        name: what the user calls it.
        kind: its class.
        options: fields with other values than their defaults.
    """

    name: str
    kind: type[Cell]
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def build(self, dtype: Any = "float32", inputs: int = M, features: int = N) -> Cell:
        """The cell in a precision, unbound."""
        return self.kind(
            inputs=inputs,
            features=features,
            param_dtype=jnp.dtype(dtype),
            **self.options,
        )

    def arguments(self, dtype: Any, seed: int = 0) -> tuple[Any, Array, Any]:
        """(parameters, inputs ``(T, B, m)``, state before the first step).

        Drawn in double precision, so that they are the same numbers in each. Parameters
        lie near their initial values: a cell may need a parameter that is positive.
        """
        with jax.enable_x64(True):
            params, state = self.initial()
            params = jax.tree.map(np.add, params, noise(seed, params, 0.2))
            x = noise(seed + 1, np.zeros((T, B, M)))
            drawn = params, x, noise(seed + 2, state, 0.5)
        return cast(drawn, dtype)

    def initial(self) -> tuple[Any, Any]:
        """Initial parameters and state in double precision, as NumPy arrays."""
        key = self.kind, tuple(sorted(self.options.items(), key=lambda item: item[0]))
        return _initial(*key)

    def place(self, method: str) -> str:
        """``file:line in method``; for a cell of this package the method alone."""
        found, inside = place_in(self.kind, None, method)
        if not found:
            return f"{self.kind.__name__}.{method}"
        return f"{found} in {inside}" if inside else f"{found}, {method}"


@functools.lru_cache(maxsize=8)
def _initial(kind: type[Cell], options: tuple[tuple[str, Any], ...]) -> tuple[Any, Any]:
    cell = Subject(kind.__name__, kind, dict(options)).build("float64")
    state = cell.initial_state((B,))
    make = quick_jit(lambda key: cell.init(key, state, jnp.zeros((B, M), jnp.float64)))
    params = make(jax.random.key(0)).get("params", {})
    return jax.tree.map(np.asarray, (params, state))


def noise(seed: int, like: Any, scale: float = 1.0) -> Any:
    """Normal noise in the shapes and dtypes of a pytree, complex ones included."""
    rng = np.random.default_rng(seed)

    def draw(leaf: Any) -> np.ndarray:
        values = scale * rng.normal(size=leaf.shape)
        if np.issubdtype(leaf.dtype, np.complexfloating):
            values = values + 1j * scale * rng.normal(size=leaf.shape)
        return values.astype(leaf.dtype)

    return jax.tree.map(draw, like)


def cast(tree: Any, dtype: Any) -> Any:
    """Floats in another precision, and complex numbers in that which belongs to it."""

    def one(x: Any) -> Array:
        to = jnp.result_type(dtype, jnp.complex64) if np.iscomplexobj(x) else dtype
        return jnp.asarray(x, to)

    return jax.tree.map(one, tree)


def objective(outputs: Array, states: Any) -> Array:
    """A number that depends on every output and on every last state."""
    outputs = outputs.astype(jnp.promote_types(outputs.dtype, jnp.float32))
    weight = jnp.cos(jnp.arange(outputs.size, dtype=outputs.dtype))
    parts = [jnp.sum(jnp.sin(outputs) * jnp.reshape(weight, outputs.shape))]
    for leaf in jax.tree.leaves(states):
        size = jnp.square(leaf[-1].real) + jnp.square(leaf[-1].imag)
        parts.append(0.5 * jnp.sum(size.astype(outputs.dtype)))
        parts.append(0.3 * jnp.sum(leaf[-1].real.astype(outputs.dtype)))
    return sum(parts[1:], parts[0])


def difference(actual: Any, expected: Any) -> float:
    """‖actual − expected‖ / ‖expected‖ over all leaves; inf where one is not finite."""
    squares = np.zeros(2)
    for a, e in zip(*map(jax.tree.leaves, (actual, expected)), strict=True):
        a, e = (wide(x) for x in (a, e))
        squares += [np.sum(np.abs(a - e) ** 2), np.sum(np.abs(e) ** 2)]
    if not np.isfinite(squares).all():
        return float("inf")
    apart, size = np.sqrt(squares)
    return float(apart / size) if size else float(apart)


def same_bits(one: Any, other: Any) -> bool:
    """Whether two pytrees of one structure have equal bits."""
    pairs = zip(*map(jax.tree.leaves, (one, other)), strict=True)
    return all(np.asarray(a).tobytes() == np.asarray(b).tobytes() for a, b in pairs)


def finite(tree: Any) -> bool:
    """Whether all numbers are finite."""
    return all(np.isfinite(wide(x)).all() for x in jax.tree.leaves(tree))


def jittered(tree: Any, dtype: Any) -> Any:
    """The arrays with relative changes of one rounding unit.

    What a function makes of them shows how much of its result rounding may decide.
    """
    eps = float(jnp.finfo(dtype).eps)

    def one(x: Any, by: Any) -> Array:
        return jnp.asarray(x * (1 + eps * np.sign(np.real(by))), x.dtype)

    return jax.tree.map(one, tree, noise(17, tree))


def named(tree: Any) -> dict[str, Any]:
    """The leaves of a pytree by their paths, such as ``cell/U``."""
    return {
        "/".join(str(getattr(k, "key", getattr(k, "name", k))) for k in path): leaf
        for path, leaf in jax.tree.leaves_with_path(tree)
    }
