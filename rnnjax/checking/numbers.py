"""Programs that run a few times, and arrays in double precision."""

import functools
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
