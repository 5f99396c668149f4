"""Fields of a cell: numbers that are inputs of a program, and those of the start.

Runs that differ in floats, or in fields that are used only at initialisation
(`Cell.initial`), share one compiled program. A field that is listed there and acts in a
step would silently keep its default value, so this is checked before anything runs.
"""

import dataclasses
import re
from typing import Any

import jax
import numpy as np

from rnnjax.cells.base import Cell
from rnnjax.recurrence.diagnosis import CellError, Diagnosis
from rnnjax.recurrence.jaxprs import equations
from rnnjax.user_code import class_place, place_of


_ADDRESS = re.compile(r"\bat 0x[0-9a-f]+")


def numeric_fields(cell: Cell) -> dict[str, float]:
    """Float fields used during a run, which become inputs of the compiled program."""
    return {
        name: value
        for name in cell.__dataclass_fields__
        if name not in (*Cell.structural, *cell.initial)
        and isinstance(value := getattr(cell, name), float)
    }


def static_cell(cell: Cell) -> Cell:
    """The cell with defaults for all fields that do not affect the compiled code."""
    names = [*cell.initial, *numeric_fields(cell)]
    defaults = {name: cell.__dataclass_fields__[name].default for name in names}
    return cell.clone(parent=None, **defaults)


def check_initial(cell: Cell) -> None:
    """Refuse a field of `initial` that changes the step when it is not the default.

    Raises:
        CellError: it does.
    """
    for name in cell.initial:
        default = cell.__dataclass_fields__[name].default
        unset = default is dataclasses.MISSING
        if not unset and getattr(cell, name) != default:
            other = cell.clone(parent=None, **{name: default})
            if (place := first_change(cell, other)) is not None:
                raise CellError(acts_in_step(type(cell), name, place))


def acts_in_step(kind: type[Cell], name: str, place: str) -> Diagnosis:
    """What is wrong with a field of `initial` that acts at a place of the step."""
    return Diagnosis(
        place or class_place(kind),
        f"'{name}' acts here, but `initial` lists it among the fields of the start",
        f"take {name} out of `initial`",
    )


def first_change(cell: Cell, other: Cell) -> str | None:
    """Where the steps of two cells of one class differ, their parameters being equal.

    Returns:
        ``file:line in method``, "" if they differ elsewhere; None: they do not differ.
    """
    one, two = (_program(of) for of in (cell, other))
    if program_text(one) == program_text(two):
        return None
    for a, b in zip(equations(one), equations(two), strict=False):
        if str(a) != str(b):
            return place_of(type(cell), a)
    return ""


def program_text(program: Any) -> tuple[str, list[bytes]]:
    """A traced program and its constants, comparable from trace to trace."""
    constants = [np.asarray(c).tobytes() for c in program.consts]
    return _ADDRESS.sub("", str(program)), constants


def _program(cell: Cell) -> Any:
    """The traced kernels, readin, step and readout, for three examples."""
    state = jax.eval_shape(lambda: cell.initial_state((3,)))
    x = jax.ShapeDtypeStruct((3, cell.inputs), cell.param_dtype)
    key = jax.ShapeDtypeStruct((), jax.eval_shape(jax.random.key, 0).dtype)
    made = jax.eval_shape(lambda k, s, x: cell.init(k, s, x), key, state, x)

    def forward(bound: Any, state: Any, x: Any) -> Any:
        drive = bound.readin(x)
        new = bound.step(state, drive)
        return new, bound.readout(new, drive)

    run = lambda variables, s, x: cell.apply(variables, s, x, method=forward)
    with jax.numpy_rank_promotion("allow"):
        return jax.make_jaxpr(run)(made, state, x)
