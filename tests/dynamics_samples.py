"""Walks with given weights, for the tests of the dynamics."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rnnjax.activations import tanh
from rnnjax.cells import Cell, Elman
from rnnjax.probes.backward.walk import Walked, walk_forward
from rnnjax.recurrence.functional import make_weights
from tests.recurrence_samples import noise, quick_jit


class Autonomous(Cell):
    """h ← J tanh(h) + x, the discrete analogue of the flow of Engelken et al."""

    def setup(self):
        self.kernel("J", self.features, self.features, "orthogonal")

    def step(self, h, drive):
        return self.recur("J", tanh(h)) + drive


def walk(
    cell: Cell,
    params: Any,
    x: Any,
    lengths: list[int] | None = None,
    initial: Any = None,
    backwards: bool = False,
) -> Walked:
    """The walk of a layer with these parameters over ``(T, B, m)``."""
    x = jnp.asarray(x)
    if initial is None:
        initial = cell.initial_state((x.shape[1],))
    sizes = None if lengths is None else jnp.asarray(lengths, jnp.int32)

    def run(params: Any, initial: Any) -> Walked:
        static, weights = make_weights(cell, params)
        made = walk_forward(
            static, weights, "layer0", x, initial, sizes, backwards=backwards
        )
        return made[0]

    return quick_jit(run)(params, initial)


def elman(U: np.ndarray, steps: int, batch: int, phi: str, seed: int = 0) -> Walked:
    """An Elman layer h ← φ(U h + x) with noise for x, in the dtype of U."""
    n = len(U)
    cell = Elman(inputs=n, features=n, param_dtype=U.dtype, activation=phi)
    eye = np.eye(n, dtype=U.dtype)
    params = {"U": jnp.asarray(U.T), "V": jnp.asarray(eye), "b": jnp.zeros(n, U.dtype)}
    x = noise(seed, jax.ShapeDtypeStruct((steps, batch, n), U.dtype))
    return walk(cell, params, x)
