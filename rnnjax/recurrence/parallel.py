"""A recurrence solved for all steps at once, and its gradient.

The trajectory is the joint solution of h_t = f_t(h_{t−1}) for all t. Whichever method
finds it (`associative`, `newton`), its derivative is that of the equations themselves:
the adjoint solves the transposed linear recurrence λ_t = g_t + J_{t+1}ᵀ λ_{t+1}, and
each step then turns its λ_t into gradients, all steps in parallel. The gradient of a
kernel is a single product over the data of all steps, as in the reverse scan.
"""

from functools import partial
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp

from rnnjax.cells.base import Cell
from rnnjax.recurrence.functional import Weights
from rnnjax.recurrence.scan import Taps
from rnnjax.recurrence.step import Drive, before, masked_step
from rnnjax.types import State, Trajectory


@runtime_checkable
class Method(Protocol):
    """How the equations of all steps are solved; hashable, static under `jit`."""

    def solve(
        self, cell: Cell, weights: Weights, initial: State, drive: Drive
    ) -> tuple[Trajectory, Any]:
        """The states after every step, and diagnostics of the solution."""
        ...

    def adjoint(
        self,
        cell: Cell,
        weights: Weights,
        initial: State,
        drive: Drive,
        solved: tuple[Trajectory, Any],
        cotangent: Trajectory,
    ) -> Trajectory:
        """The total ∂L/∂h_t after each step, from the direct one (`cotangent`)."""
        ...


def every_step(
    cell: Cell,
    weights: Weights,
    initial: State,
    previous: Trajectory,
    drive: Drive,
    seams: Any = None,
) -> Trajectory:
    """The state after each step from a given state before it, ``(T, B, n)``.

    The steps are independent of each other.
    """

    def one(state: State, drive_t: Drive, taps: Any) -> State:
        return masked_step(cell, weights, initial, state, drive_t, taps)[0]

    return jax.vmap(one)(previous, drive, seams)


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def parallel_scan(
    cell: Cell,
    method: Method,
    weights: Weights,
    initial: State,
    drive: Drive,
    taps: Taps,
) -> tuple[Trajectory, Any]:
    """States after every step by `method`, and its diagnostics.

    First and second derivatives are those of `plain_scan`, as accurate as the states;
    taps must be zeros. The diagnostics are not differentiated.
    """
    return method.solve(cell, weights, initial, drive)


def _forward(
    cell: Cell,
    method: Method,
    weights: Weights,
    initial: State,
    drive: Drive,
    taps: Taps,
) -> tuple[Any, Any]:
    # calls itself, so that second derivatives include the dependence of the states
    solved = parallel_scan(cell, method, weights, initial, drive, taps)
    return solved, (weights, initial, drive, taps, solved)


def _backward(
    cell: Cell, method: Method, residuals: Any, cotangent: Any
) -> tuple[Any, ...]:
    weights, initial, drive, taps, solved = residuals
    adjoint = method.adjoint(cell, weights, initial, drive, solved, cotangent[0])
    previous = before(initial, solved[0])

    def steps(weights: Any, initial: Any, values: Any, seams: Any) -> Trajectory:
        entering = drive.replace(values=values)
        return every_step(cell, weights, initial, previous, entering, seams)

    def first_step(state: State) -> State:
        now = jax.tree.map(lambda x: x[0], drive)
        return masked_step(cell, weights, initial, state, now)[0]

    _, pull = jax.vjp(steps, weights, initial, drive.values, taps.seams)
    d_weights, d_initial, d_values, d_seams = pull(adjoint)
    _, pull_first = jax.vjp(first_step, initial)
    (at_front,) = pull_first(jax.tree.map(lambda x: x[0], adjoint))
    d_initial = jax.tree.map(jnp.add, d_initial, at_front)
    d_taps = Taps(None if taps.states is None else adjoint, d_seams)
    return d_weights, d_initial, Drive(d_values), d_taps


parallel_scan.defvjp(_forward, _backward)
