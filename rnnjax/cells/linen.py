"""Any cell of `flax.linen`, unchanged, with the interface of our cells."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import traverse_util
from jaxtyping import Array

from rnnjax.activations import ACTIVATIONS
from rnnjax.cells.base import Cell
from rnnjax.types import State


SHARED = ("sigmoid", "tanh", "relu")
"""Activations that are the same function in linen and here."""


class LinenCell(Cell):
    """A `flax.linen.RNNCellBase` as a cell; make one with `from_linen`.

    Its `nn.Dense` calls become seams under their linen names (`hf`, `ii`). This
    includes the products with the input, which are inside the time loop. Parameters
    that are used in other ways (the fused products of `OptimizedLSTMCell`) get their
    gradient from the VJP of each step.

    Attributes:
        inner: the linen cell.
        output: index of the leaf of the carry that is the cell's output.
    """

    inner: Any = None
    output: int = 0

    structural = (*Cell.structural, "inner", "output")

    def kernels(self):
        params: Any = self.inner.variables.get("params", {})
        params = traverse_util.flatten_dict(params)
        return {
            "/".join(path[:-1]): value
            for path, value in params.items()
            if path[-1] == "kernel" and jnp.ndim(value) == 2
        }

    @nn.nowrap
    def parameter_of(self, kernel: str, /) -> str | None:
        return f"inner/{kernel}/kernel"

    def step(self, state, drive):
        depth = len(self.inner.path)

        def seam(call: Any, args: Any, kwargs: Any, context: Any) -> Any:
            dense = context.module
            if not _plain_dense(dense, context.method_name) or self.is_initializing():
                return call(*args, **kwargs)
            out = self.recur("/".join(dense.path[depth:]), args[0])
            return out + dense.get_variable("params", "bias") if dense.use_bias else out

        with nn.intercept_methods(seam):
            return self.inner(state, drive)[0]

    def readout(self, state, drive):
        return jax.tree.leaves(state)[self.output]

    @nn.nowrap
    def initial_state(self, batch: tuple[int, ...], /) -> State:
        key = jax.random.key(0)  # unused by default: linen's cells start at zeros
        return self.inner.initialize_carry(key, (*batch, self.inputs))


def _plain_dense(module: nn.Module, method: str) -> bool:
    """Whether a call is just v @ kernel (+ bias), in the precision of its arguments."""
    if not isinstance(module, nn.Dense) or method != "__call__":
        return False
    usual = module.dot_general is None and module.dot_general_cls is None
    return usual and module.dtype is None and module.precision is None


def _own_activations(cell: nn.RNNCellBase) -> dict[str, Any]:
    """Replacements for those linen activations of a cell that we have as well.

    Ours can be recorded, and their slopes are computed without cancellation.
    """
    return {
        field: ACTIVATIONS[name]
        for field in cell.__dataclass_fields__
        for name in SHARED
        if getattr(cell, field) is getattr(nn, name)
    }


def from_linen(cell: nn.RNNCellBase, inputs: int) -> LinenCell:
    """Wrap a linen cell for inputs of size m.

    >>> made = from_linen(nn.LSTMCell(features=3), inputs=2)
    >>> made.output, made.features
    (1, 3)

    Raises:
        TypeError: the cell's output is not part of its carry, or its state does not
            have the shape ``(B, n)``, as in a convolutional cell.
    """
    cell = cell.clone(parent=None, **_own_activations(cell))
    if cell.num_feature_axes != 1:
        raise TypeError(f"{type(cell).__name__} has states that are not vectors")
    x = jnp.zeros((1, inputs))

    def step(x: Array) -> Any:
        carry = cell.initialize_carry(jax.random.key(0), x.shape)
        return cell.init_with_output(jax.random.key(0), carry, x)[0]

    shapes = jax.eval_shape(step, x)
    jaxpr = jax.make_jaxpr(step)(x).jaxpr
    *carry, output = jaxpr.outvars  # the output is the last leaf: one array
    if output not in carry:
        raise TypeError(f"the output of {type(cell).__name__} is not part of its carry")
    dtype, size = shapes[1].dtype, shapes[1].shape[-1]
    where = carry.index(output)
    # parent=None: not a submodule of the module that is currently running, if any
    return LinenCell(inputs, size, dtype, inner=cell, output=where, parent=None)
