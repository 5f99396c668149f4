"""A recurrence alone, walked forward and back, for tests of its factors."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rnnjax.cells import CELLS, Cell
from rnnjax.probes.backward.walk import Walk, Walked, walk_back, walk_forward
from rnnjax.recurrence import scaled
from rnnjax.recurrence.functional import make_weights


T, B, M, N = 5, 3, 2, 3
LENGTHS = np.array([5, 3, 1])


def parameters(cell: Cell, seed: int = 0) -> Any:
    """Those of the cell's start, moved away from zero."""
    start = cell.initial_state((B,))
    made = jax.jit(cell.init)(jax.random.key(seed), start, jnp.ones((B, cell.inputs)))
    random = np.random.default_rng(seed)
    move = lambda x: x + 0.3 * jnp.asarray(random.standard_normal(x.shape), x.dtype)
    return jax.tree.map(move, dict(made["params"]))


def inputs(steps: int = T, batch: int = B, size: int = M) -> Any:
    random = np.random.default_rng(1)
    drawn = random.standard_normal((steps, batch, size))
    return jnp.asarray(drawn, jnp.zeros(()).dtype)


def forward(
    cell: Cell, params: Any, x: Any, lengths: Any = None, backwards: bool = False
) -> tuple[Walked, Any]:
    """Walked from a start that is not zero."""
    static, weights = make_weights(cell, params)
    start = jax.tree.map(lambda s: s + 0.2, cell.initial_state(x.shape[1:2]))
    return walk_forward(
        static, weights, "layer0", x, start, lengths, backwards=backwards
    )


def last_answer(outputs: Any, lengths: Any, backwards: bool = False) -> Any:
    """The cotangent of the sum of w · y at the last step of the walk, for a fixed w."""
    steps, batch, size = outputs.shape
    w = np.random.default_rng(2).standard_normal((batch, size))
    ends = np.full(batch, steps) if lengths is None else np.asarray(lengths)
    at = np.zeros(batch, int) if backwards else ends - 1
    out = np.zeros(outputs.shape)
    out[at, np.arange(batch)] = w
    return jnp.asarray(out, outputs.dtype)


def back(walked: Walked, cotangent: Any) -> Walk:
    """Walked back from the cotangent of the outputs."""
    nothing = jax.tree.map(jnp.zeros_like, walked.states)
    return walk_back(walked, scaled.lift((cotangent, nothing), 2)).walk


def walk(
    cell: Cell, params: Any, x: Any, lengths: Any = None, backwards: bool = False
) -> Walk:
    walked, outputs = forward(cell, params, x, lengths, backwards)
    return back(walked, last_answer(outputs, lengths, backwards))


def cell_of(name: str, dtype: Any = jnp.float32, **fields: Any) -> Cell:
    given = {"inputs": M, "features": N, "param_dtype": dtype}
    return CELLS[name](**{**given, **fields})
