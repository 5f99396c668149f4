"""Programs that run a few times, and arrays in double precision."""

import contextlib
import functools
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from rnnjax.xla_options import ONCE


quick_jit = functools.partial(jax.jit, compiler_options=dict(ONCE))
"""`jax.jit` for programs that run a few times: compiling them is the cost."""


def wide(x: Any) -> np.ndarray:
    """An array in double precision; NumPy cannot compute with 16 bits of JAX's."""
    x = np.asarray(x)
    return x.astype(np.complex128 if np.iscomplexobj(x) else np.float64)


def perturbed(leaves: list[np.ndarray], epsilon: float, draw: int) -> list[np.ndarray]:
    """Every number times 1 + u, with u uniform in ±epsilon."""
    random = np.random.default_rng([draw, 10**6])
    return [x * (1 + epsilon * random.uniform(-1, 1, x.shape)) for x in leaves]


@contextlib.contextmanager
def doubled_callbacks() -> Iterator[None]:
    """`jax.enable_x64` that holds in the threads of foreign functions, too.

    `jax.pure_callback` calls them in threads that see only what is set for the process.
    """
    before = jax.config.values["jax_enable_x64"]
    jax.config.update("jax_enable_x64", True)
    try:
        with jax.enable_x64(True):
            yield
    finally:
        jax.config.update("jax_enable_x64", before)
