"""Every field of every cell changes its parameters or its outputs."""

import dataclasses
from typing import Any

import jax
import numpy as np
import pytest

from rnnjax.cells import CELLS
from rnnjax.cells.base import Cell
from rnnjax.recurrence.layer import Recurrent


GENERAL = {"inputs", "features", "param_dtype", "parent", "name"}
SAME = {("urnn", "factored")}
"""Fields that choose how the same numbers are computed."""

OTHER: dict[str, Any] = {
    "activation": "softplus",
    "gate": "hard_sigmoid",
    "recurrent_init": "lecun_normal",
    "input_init": "lecun_normal",
    "peephole_init": "zeros",
    "skew_init": "henaff",
    "chrono": 7.0,
    "context": 3,
    "r_max": 0.5,
    "max_phase": 1.0,
    "u_max": 0.5,
    "alpha": 0.5,
}
"""Another value by the name of a field; see also `other`."""


def other(name: str, value: Any) -> Any:
    """A value of the field that differs from this one."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1
    if name in OTHER and OTHER[name] != value:
        return OTHER[name]
    if isinstance(value, float):
        return value + 0.25
    return "glorot_uniform"


def made(cell: Cell) -> list[np.ndarray]:
    """Initial parameters and outputs."""
    x = jax.random.normal(jax.random.key(1), (4, 2, 4))
    layer = Recurrent(cell)
    variables = layer.init(jax.random.key(0), x)
    return [
        np.asarray(a) for a in jax.tree.leaves((variables, layer.apply(variables, x)))
    ]


def changed(name: str, field: str) -> bool:
    """Whether another value of a field changes parameters or outputs."""
    base = CELLS[name](inputs=4, features=6)
    cell = base.clone(**{field: other(field, getattr(base, field))})
    one, two = made(base), made(cell)
    if [a.shape for a in one] != [b.shape for b in two]:
        return True
    return any(not np.array_equal(a, b) for a, b in zip(one, two, strict=True))


@pytest.mark.parametrize(
    ("name", "field"),
    [
        pytest.param(
            name,
            field.name,
            marks=[] if field.name.endswith("seed") else pytest.mark.slow,
        )
        for name in CELLS
        for field in dataclasses.fields(CELLS[name])
        if field.name not in GENERAL and (name, field.name) not in SAME
    ],
)
def test_a_field_has_an_effect(name: str, field: str) -> None:
    assert changed(name, field)
