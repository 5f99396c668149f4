"""Recurrences that are linear in their state, by an associative scan over time.

For a step h_t = a_t ⊙ h_{t−1} + b_t, in which a_t and b_t depend only on the input (a
linear recurrent unit, a minimal GRU), all steps are computed by one associative scan.
The author of a cell only writes the step: whether it has this form is determined from
its operations, a_t is its derivative, and b_t its value at h = 0.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import Literal

from rnnjax.cells.base import Cell
from rnnjax.errors import UserError
from rnnjax.recurrence.functional import Weights, abstract, call
from rnnjax.recurrence.linear_scan import linear_adjoint, linear_scan
from rnnjax.recurrence.parallel import every_step
from rnnjax.recurrence.step import Drive
from rnnjax.types import State, Trajectory


@dataclasses.dataclass(frozen=True)
class Associative:
    """The method of `parallel_scan` for a step that is linear in each unit."""

    def solve(
        self, cell: Cell, weights: Weights, initial: State, drive: Drive
    ) -> tuple[Trajectory, None]:
        """The states; exact up to rounding, like those of the loop."""
        whole = dataclasses.replace(drive, cut=None)  # a cut only affects derivatives
        a, b = coefficients(cell, weights, initial, whole)

        def one(a: Any, b: Any, h0: Any) -> Any:
            return linear_scan(a, b.at[0].add(a[0] * h0))

        return jax.tree.map(one, a, b, initial), None

    def adjoint(
        self,
        cell: Cell,
        weights: Weights,
        initial: State,
        drive: Drive,
        solved: tuple[Trajectory, None],
        cotangent: Trajectory,
    ) -> Trajectory:
        """The total adjoints, by one associative scan backwards in time."""
        a, _ = coefficients(cell, weights, initial, drive)
        return jax.tree.map(linear_adjoint, a, cotangent)


def coefficients(
    cell: Cell, weights: Weights, initial: State, drive: Drive
) -> tuple[Trajectory, Trajectory]:
    """a_t and b_t of a linear step, ``(T, B, n)`` per state array.

    On padding a = 1 and b = 0; at a reset a = 0, and b is the step from the initial
    state; a = 0 at a cut, where the previous state is a constant.
    """
    steps = jax.tree.leaves(drive.values)[0].shape[0]
    full = lambda x, value: jnp.full((steps, *x.shape), value, x.dtype)
    zeros = jax.tree.map(lambda x: full(x, 0), initial)
    ones = jax.tree.map(lambda x: full(x, 1), initial)

    def run(previous: Trajectory) -> Trajectory:
        return every_step(cell, weights, initial, previous, drive)

    b, a = jax.jvp(run, (zeros,), (ones,))
    return a, b


def check_linear(cell: Cell, weights: Weights, state: State, drive: Any) -> None:
    """Raise a `UserError` unless the step of a cell `is_linear`."""
    if not is_linear(cell, weights, state, drive):
        name = type(cell).__name__
        raise UserError(
            f"engine=associative needs a step that is linear in each unit of the state "
            f"separately, which that of {name} is not; use engine=scan"
        )


def is_linear(cell: Cell, weights: Weights, state: State, drive: Any) -> bool:
    """Whether a step is h ↦ a ⊙ h + b for each array of the state.

    This is a proof, not a test of values: the step is traced with shapes only, and its
    operations are followed from the state on. Sums, differences, products and quotients
    with values that do not depend on the state preserve the form; any other operation
    does not count as linear, even if it happens to be.

    Args:
        cell, weights: the static cell and its weights.
        state: ``(B, n)`` per array, or shapes.
        drive: the drive of one step, ``(B, ·)``, or shapes.
    """

    def step(state: State, weights: Weights, drive: Any) -> list[Any]:
        return jax.tree.leaves(call(cell, weights, "step", state, drive)[0])

    traced = jax.make_jaxpr(step)(*abstract((state, weights, drive)))
    arrays = jax.tree.leaves(state)
    rest = len(traced.jaxpr.invars) - len(arrays)
    entering = [*range(len(arrays)), *[CONSTANT] * rest]
    leaving = _follow(traced.jaxpr, entering)
    return all(
        form in (CONSTANT, number) and out.shape == array.shape
        for number, (form, out, array) in enumerate(
            zip(leaving, traced.out_avals, arrays, strict=True)
        )
    )


CONSTANT, OTHER = -1, -2
"""The form of a value is k ≥ 0 if it is a ⊙ (state array k) + b, `CONSTANT` if it does
not depend on the state, and `OTHER` if it depends on it in another way."""

LINEAR = {"add", "add_any", "sub", "neg", "copy", "convert_element_type"}
INNER = ("jaxpr", "call_jaxpr", "fun_jaxpr")


def _follow(jaxpr: Any, entering: list[int]) -> list[int]:
    """The forms of a program's results, given those of its arguments."""
    forms = dict(zip(jaxpr.invars, entering, strict=True))

    def form(atom: Any) -> int:
        return CONSTANT if isinstance(atom, Literal) else forms.get(atom, CONSTANT)

    for equation in jaxpr.eqns:
        given = [form(atom) for atom in equation.invars]
        forms |= zip(equation.outvars, _forms(equation, given), strict=True)
    return [form(atom) for atom in jaxpr.outvars]


def _forms(equation: Any, given: list[int]) -> list[int]:
    """The forms of the results of one operation."""
    count, name = len(equation.outvars), equation.primitive.name
    moving = {form for form in given if form != CONSTANT}
    if not moving:
        return [CONSTANT] * count
    inner = next((equation.params[k] for k in INNER if k in equation.params), None)
    if inner is not None and name not in ("scan", "while"):
        inner = getattr(inner, "jaxpr", inner)
        if len(inner.invars) == len(given):
            return _follow(inner, given)
        return [OTHER] * count
    alone = sum(form != CONSTANT for form in given) == 1
    linear = (
        name in LINEAR
        or (name == "mul" and alone)
        or (name == "div" and given[1] == CONSTANT)
        or (name == "select_n" and given[0] == CONSTANT)
    )
    return [moving.pop() if linear and len(moving) == 1 else OTHER] * count
