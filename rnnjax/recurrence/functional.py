"""A cell as pure functions of its weights, which a scan can differentiate."""

from collections.abc import Callable, Mapping
from functools import lru_cache, wraps
from typing import Any, TypeVar, cast

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax.extend.core import Jaxpr, Literal, Var
from jaxtyping import Array

from rnnjax.cells.base import Cell, Seam
from rnnjax.types import State


Seams = Mapping[str, Seam]
CELLS = Cell.__module__.rpartition(".")[0] + "."
Find = TypeVar("Find", bound=Callable[..., Any])


@struct.dataclass
class Weights:
    """All arrays that a cell computes with.

    Attributes:
        params: the free parameters, as `flax.linen` stores them.
        kernels: effective kernels by name, computed once per sequence.
        numeric: hyperparameters of the cell that are arrays (a traced time step).
    """

    params: Any
    kernels: Mapping[str, Any]
    numeric: Mapping[str, Any]


def split_cell(cell: Cell) -> tuple[Cell, dict[str, Any]]:
    """The static part of a cell (hashable, unbound) and its array-valued fields.

    The arrays are converted to the precision of the cell, so that a state keeps its
    dtype.
    """
    numeric = {
        name: jnp.asarray(value, cell.param_dtype)
        for name in cell.__dataclass_fields__
        if name not in Cell.structural
        and isinstance(value := getattr(cell, name), jax.Array | np.ndarray)
    }
    emptied: Any = dict.fromkeys(numeric)
    return cell.clone(parent=None, **emptied), numeric


def call(
    cell: Cell,
    weights: Weights,
    method: str,
    *args: Any,
    taps: Any = None,
    held: Any = None,
    known: Any = None,
    transposed: Any = None,
) -> Any:
    """Run a method of a cell; returns its value and the seams that it used.

    Args:
        cell: the static cell.
        weights: its weights.
        method: name of the method.
        args: arguments of the method.
        taps: zeros that are added to the outputs of seams, by site.
        held: constants that replace the outputs of seams, by site.
        known: the outputs of seams, which are then not computed again, by site.
        transposed: transposed dense kernels by name, for the `known` seams.
    """
    bound = cell.clone(parent=None, **weights.numeric)
    variables = {"params": weights.params, "kernels": weights.kernels}
    if taps:
        variables["taps"] = taps
    if held:
        variables["held"] = held
    if known:
        variables |= {"known": known, "transposed": transposed or {}}
    # equations act on the last axis: a bias (n,) is added to any leading shape
    with jax.numpy_rank_promotion("allow"):
        done: Any = bound.apply(variables, *args, method=method, mutable=["seams"])
    out, recorded = done
    return out, dict(recorded.get("seams", {}))


def make_weights(cell: Cell, params: Any) -> tuple[Cell, Weights]:
    """The static cell and its weights, including the derived kernels."""
    static, numeric = split_cell(cell)
    bound = static.clone(parent=None, **numeric)
    kernels: Any = bound.apply({"params": params}, method="kernels")
    return static, Weights(params, dict(kernels), numeric)


def with_kernels(weights: Weights, seams: Seams) -> Weights:
    """The weights with every kernel of `seams` listed under `kernels`."""
    names = {seam.kernel for seam in seams.values()}
    kernels = {
        name: weights.kernels[name] if name in weights.kernels else weights.params[name]
        for name in sorted(names)
    }
    return Weights(weights.params, kernels, weights.numeric)


def abstract(tree: Any) -> Any:
    """Shapes and dtypes of a pytree."""
    return jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(jnp.shape(x), jnp.result_type(x)), tree
    )


def by_shapes(find: Find) -> Find:
    """Remember what `find(cell, …)` finds in a cell for arguments of these shapes.

    A step is traced for this, and one program asks several times. A cell of a user's,
    whose step may depend on anything, is traced each time.
    """

    @lru_cache(maxsize=256)
    def found(code: Any, cell: Cell, treedef: Any, shapes: tuple[Any, ...]) -> Any:
        return find(cell, *treedef.unflatten(shapes))

    @wraps(find)
    def asked(cell: Any, *arguments: Any) -> Any:
        if not _is_own(cell):
            return find(cell, *abstract(arguments))
        shapes, treedef = jax.tree.flatten(abstract(arguments))
        kind = type(cell)
        code = kind.setup, kind.kernels, kind.step  # somebody may have replaced one
        return found(code, cell, treedef, tuple(shapes))

    return cast(Find, asked)


def _is_own(cell: Cell) -> bool:
    """Whether a cell is made of this package's code alone."""
    kinds = type(cell).__mro__[: type(cell).__mro__.index(Cell)]
    names = [name for name in cell.__dataclass_fields__ if name != "parent"]
    return all(kind.__module__.startswith(CELLS) for kind in kinds) and not any(
        isinstance(getattr(cell, name, None), nn.Module) for name in names
    )


@by_shapes
def step_seams(cell: Cell, weights: Weights, state: State, drive: Any) -> Seams:
    """The seams of one step as shapes, found without computing anything."""
    _, seams = jax.eval_shape(
        lambda w, s, d: call(cell, w, "step", s, d), weights, state, drive
    )
    return seams


def variables_read(jaxpr: Jaxpr) -> list[Var]:
    """The variables that equations and results read, one entry for each use."""
    read = [var for eqn in jaxpr.eqns for var in eqn.invars] + list(jaxpr.outvars)
    return [var for var in read if not isinstance(var, Literal)]


def transposed_kernels(weights: Weights, seams: Seams) -> dict[str, Array]:
    """The transposed kernels of the dense seams, for the backward pass."""
    dense = {seam.kernel for seam in seams.values() if seam.form == "dense"}
    return {name: weights.kernels[name].T for name in sorted(dense)}


@struct.dataclass
class Split:
    """Weights of a step, split by how their gradient is computed.

    Attributes:
        pointwise: leaves that the step reads outside the seams; their gradient is
            accumulated in the loop.
        rest: all leaves of ``(params, numeric)``, with None for the pointwise ones.
    """

    pointwise: list[Any]
    rest: list[Any]
    treedef: Any = struct.field(pytree_node=False)

    def join(self, pointwise: list[Any], kernels: Mapping[str, Any]) -> Weights:
        """Weights with the given pointwise leaves and kernels."""
        filled = iter(pointwise)
        leaves = [next(filled) if x is None else x for x in self.rest]
        params, numeric = jax.tree.unflatten(self.treedef, leaves)
        return Weights(params, kernels, numeric)

    def gradient(self, pointwise: list[Any]) -> tuple[Any, Any]:
        """Gradients of (params, numeric): the given ones, zeros elsewhere."""
        filled = iter(pointwise)
        leaves = [next(filled) if x is None else jnp.zeros_like(x) for x in self.rest]
        return jax.tree.unflatten(self.treedef, leaves)


def split_weights(cell: Cell, weights: Weights, state: State, drive: Any) -> Split:
    """Split the weights; `weights` lists the kernels of all seams."""
    leaves, treedef = jax.tree.flatten((weights.params, weights.numeric))
    used = _leaves_read(cell, weights, state, drive)
    return Split(
        pointwise=[x for x, u in zip(leaves, used, strict=True) if u],
        rest=[None if u else x for x, u in zip(leaves, used, strict=True)],
        treedef=treedef,
    )


@by_shapes
def _leaves_read(
    cell: Cell, weights: Weights, state: State, drive: Any
) -> tuple[bool, ...]:
    """Which leaves of (params, numeric) a step reads outside its seams."""
    leaves, treedef = jax.tree.flatten((weights.params, weights.numeric))

    def run(leaves: list[Any], kernels: Any, state: State, drive: Any) -> State:
        params, numeric = jax.tree.unflatten(treedef, leaves)
        return call(cell, Weights(params, kernels, numeric), "step", state, drive)[0]

    jaxpr = jax.make_jaxpr(run)(leaves, weights.kernels, state, drive).jaxpr
    read = set(variables_read(jaxpr))
    return tuple(var in read for var in jaxpr.invars[: len(leaves)])
