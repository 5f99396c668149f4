"""Do the methods of a cell return what a recurrence can use? With shapes only."""

import dataclasses
import operator
from typing import Any

import jax
import jax.numpy as jnp

from rnnjax.cells.base import Cell
from rnnjax.errors import one_line
from rnnjax.recurrence.diagnosis import CellError, Diagnosis
from rnnjax.recurrence.fields import check_initial, numeric_fields
from rnnjax.user_code import class_place, place_in


BATCH = 7
"""Examples in a trace: a size that no axis of a state is likely to have."""


@dataclasses.dataclass(frozen=True)
class Examined:
    """Shapes of what the methods of a cell return, for a batch of `BATCH`.

    `reads` is the place of the state array that `readout` returns as it is, or None.
    """

    params: Any
    state: Any
    drive: Any
    output: Any
    reads: int | None


def examine(cell: Cell, batch: int = BATCH) -> Examined:
    """Trace the methods of a cell, without computing numbers.

    Args:
        cell: with its input size set.
        batch: number of examples.

    Raises:
        CellError: a method is missing, or returns what the recurrence cannot use.
        Exception: whatever a method raises; see `explain`.
    """
    kind = type(cell)
    try:
        hash(cell)
    except TypeError as error:
        cure = "a cell needs fields that can be compared: a tuple in place of a list"
        raise CellError(Diagnosis(class_place(kind), one_line(error), cure)) from error
    x = jax.ShapeDtypeStruct((batch, cell.inputs), cell.param_dtype)
    # setup comes first: it refuses fields that are out of range
    with jax.numpy_rank_promotion("allow"):
        jax.eval_shape(lambda x: cell.init(jax.random.key(0), x, method="readin"), x)
    state = jax.eval_shape(lambda: cell.initial_state((batch,)))
    _check_state(cell, state, batch)
    seen: dict[str, Any] = {}

    def methods(bound: Any, state: Any, x: Any) -> None:
        with jax.numpy_rank_promotion("allow"):
            drive = bound.readin(x)
            seen["drive"] = _shapes(drive)
            _check_drive(kind, drive, batch)
            _check_has_step(kind)
            given = jax.tree.leaves((state, drive))
            new = bound.step(state, drive)
            _check_unchanged(kind, given, jax.tree.leaves((state, drive)))
            _check_new(kind, new, state, batch)
            seen["output"] = _shapes(output := bound.readout(new, drive))
            _check_output(bound, kind, output, batch)
            same = [output is leaf for leaf in jax.tree.leaves(new)]
            seen["reads"] = same.index(True) if True in same else None

    def run(numbers: dict[str, Any], state: Any, x: Any) -> Any:
        traced = cell.clone(parent=None, **numbers)  # as in a pack of runs
        return traced.init(jax.random.key(0), state, x, method=methods)

    numbers = {
        name: jnp.asarray(value, cell.param_dtype)
        for name, value in numeric_fields(cell).items()
    }
    variables = jax.eval_shape(run, numbers, state, x)
    if class_place(kind):  # a user's class
        check_initial(cell)
    return Examined(variables.get("params", {}), state, **seen)


def _fault(kind: type, method: str, cause: str, cure: str) -> CellError:
    place, inside = place_in(kind, None, method)
    return CellError(
        Diagnosis(f"{place} in {inside}" if inside else place, cause, cure)
    )


def _check_has_step(kind: type[Cell]) -> None:
    if kind.step is Cell.step:
        cause = f"{kind.__name__} has no method step"
        cure = "define step(self, state, drive), which returns the new state"
        raise CellError(Diagnosis(class_place(kind), cause, cure))


def _check_state(cell: Cell, state: Any, batch: int) -> None:
    kind, leaves = type(cell), jax.tree.leaves(state)
    cure = "return jnp.zeros((*batch, self.features), self.param_dtype), or several"
    if not leaves:
        raise _fault(kind, "initial_state", f"returned {described(state)}", cure)
    for leaf in leaves:
        if leaf.ndim < 2 or leaf.shape[0] != batch:
            said = f"returned {described(state, batch)} for a batch of B"
            raise _fault(kind, "initial_state", said, cure)
        if not jnp.issubdtype(leaf.dtype, jnp.inexact):
            said = f"returned a state of {leaf.dtype}, which has no gradient"
            raise _fault(kind, "initial_state", said, cure)
        if leaf.dtype not in (own := _of_precision(cell.param_dtype)):
            said = f"returned a state of {leaf.dtype} for parameters of {own[0]}"
            raise _fault(kind, "initial_state", said, cure)


def _of_precision(dtype: Any) -> tuple[Any, Any]:
    """The dtype of parameters, and that of complex numbers which belongs to it."""
    return jnp.dtype(dtype), jnp.result_type(dtype, jnp.complex64)


def _check_drive(kind: type, drive: Any, batch: int) -> None:
    cure = "return what the step needs of the input, arrays (…, n)"
    if not jax.tree.leaves(drive):
        raise _fault(kind, "readin", f"returned {described(drive)}", cure)
    for leaf in jax.tree.leaves(drive):
        if jnp.ndim(leaf) < 2 or jnp.shape(leaf)[0] != batch:
            said = f"returned {described(drive, batch)} for inputs (B, m)"
            raise _fault(kind, "readin", said, cure)


def _check_unchanged(kind: type, before: list[Any], after: list[Any]) -> None:
    """The arguments of a step are not changed in place."""
    if len(before) == len(after) and all(map(operator.is_, before, after)):
        return
    cause = "a step changed the state or drive that it was given"
    cure = "return a new state, and leave the arguments as they are"
    raise _fault(kind, "step", cause, cure)


def _check_new(kind: type, new: Any, state: Any, batch: int) -> None:
    cure = "a step returns the new state"
    if new is None:
        raise _fault(kind, "step", "returned None", cure)
    was, now = described(state, batch), described(new, batch)
    if jax.tree.structure(new) != jax.tree.structure(state):
        if isinstance(new, tuple) and jax.tree.structure(new[:1]) == jax.tree.structure(
            (state,)
        ):
            cure += " alone; what the next layer reads is returned by readout"
        else:
            cure += ", in the structure of initial_state"
        raise _fault(kind, "step", f"returned {now}, but the state is {was}", cure)
    for old, leaf in zip(*map(jax.tree.leaves, (state, new)), strict=True):
        if jnp.shape(leaf) != old.shape:
            cure += " in the shape of initial_state"
            raise _fault(kind, "step", f"returned {now}, but the state is {was}", cure)
        found = jnp.result_type(leaf)
        if found != old.dtype:
            cure = "write numbers as Python floats, and arrays with self.param_dtype"
            said = f"returned a state of {found}, but the state was {old.dtype}"
            raise _fault(kind, "step", said, cure)


def _check_output(bound: Any, kind: type, output: Any, batch: int) -> None:
    shape = getattr(output, "shape", None)
    if shape is None:
        cure = "readout returns one array"
        raise _fault(kind, "readout", f"returned {described(output, batch)}", cure)
    if shape != (batch, bound.output_size):
        said = (
            f"returned {described(output, batch)}, but output_size is "
            f"{bound.output_size}"
        )
        cure = "define the property output_size if it is not self.features"
        raise _fault(kind, "readout", said, cure)
    if jnp.iscomplexobj(output):
        cure = "return real numbers, such as [Re h, Im h] of twice the size"
        raise _fault(kind, "readout", f"returned {output.dtype}", cure)


def described(tree: Any, batch: int = BATCH) -> str:
    """A pytree in words, with B for the batch.

    >>> described((jax.ShapeDtypeStruct((7, 4), "float32"), None))
    '(float32 (B, 4), None)'
    """
    if (shape := getattr(tree, "shape", None)) is not None:
        axes = ["B" if i == 0 and a == batch else str(a) for i, a in enumerate(shape)]
        return f"{tree.dtype} ({', '.join(axes)}{',' * (len(axes) == 1)})"
    if isinstance(tree, tuple | list):
        names = getattr(tree, "_fields", [""] * len(tree))
        pairs = zip(names, tree, strict=True)
        parts = [
            f"{k}: {described(v, batch)}" if k else described(v, batch)
            for k, v in pairs
        ]
        name = type(tree).__name__ if hasattr(tree, "_fields") else ""
        return f"{name}({', '.join(parts)})"
    if isinstance(tree, dict):
        return f"a dict of {', '.join(map(str, tree))}"
    return repr(tree) if tree is None else type(tree).__name__


def _shapes(tree: Any) -> Any:
    return jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(jnp.shape(x), jnp.result_type(x)), tree
    )
