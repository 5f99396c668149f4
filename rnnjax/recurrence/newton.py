"""Nonlinear recurrences, solved for all steps at once by Newton's method (DEER).

Lim, Zhu, Selfridge & Kasim (2024), "Parallelizing non-linear sequential models over the
sequence length", ICLR. The equations h_t = f_t(h_{t−1}) of all steps are linearised
around a guess of the whole trajectory, J_t = ∂f_t/∂h_{t−1}. The correction
e_t = J_t e_{t−1} + f_t(h_{t−1}) − h_t is computed by an associative scan of matrices,
and this is iterated until the correction is small. After k iterations at least the
first k states are exact, so T iterations always suffice. How many are needed depends on
the gradient flow: a few if J_t … J_1 decays, about T if the largest Lyapunov exponent
is near or above zero (Gonzalez et al. 2024, "Towards scalable and stable
parallelization of nonlinear RNNs", NeurIPS).

The cost is memory for T · B · N² numbers, with N the size of the joint state, and N³
operations per step. The method is meant for a small state, a long sequence and a
machine with cores to spare, not for a CPU.

Using only the diagonal of J_t would save both, but needs 2 to 25 times as many
iterations (Elman, GRU and LSTM, n = 16, T = 200), and the adjoint needs the full J_t
anyway. Damping, (1 − k) J_t with k = 0.1, needs more iterations where a few suffice,
and at best a third or half as many where so many are needed that the loop is faster.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from rnnjax.cells.base import Cell
from rnnjax.recurrence.flat_state import join, split
from rnnjax.recurrence.functional import Weights
from rnnjax.recurrence.linear_scan import linear_adjoint, linear_scan
from rnnjax.recurrence.parallel import every_step
from rnnjax.recurrence.reverse import reverse_scan
from rnnjax.recurrence.scan import Taps, plain_scan
from rnnjax.recurrence.step import Drive, before
from rnnjax.types import State, Trajectory


@struct.dataclass
class NewtonReport:
    """Diagnostics of the iteration; scalars.

    Sizes are those of the largest entry, relative to the largest state entry of the
    same example.

    Attributes:
        iterations: number of corrections made.
        correction: size of the last correction.
        residual: size of h_t − f_t(h_{t−1}) at the end, the maximum over all steps.
        overflows: number of iterations in which the correction was not finite
            somewhere; the states concerned were set to f_t(h_{t−1}) instead.
        converged: whether correction and residual are within the tolerance.
    """

    iterations: Int[Array, ""]
    correction: Float[Array, ""]
    residual: Float[Array, ""]
    overflows: Int[Array, ""]
    converged: Bool[Array, ""]


@dataclasses.dataclass(frozen=True)
class Newton:
    """The method of `parallel_scan` for any step.

    Attributes:
        tolerance: tolerance of the last correction and of the residual; None: ε^⅔ of
            the dtype, at which quadratic convergence leaves only rounding errors.
        iterations: maximum number of corrections. If the iteration has not converged by
            then, the states come from the loop and the adjoints from the reverse scan.
    """

    tolerance: float | None = None
    iterations: int = 50

    def solve(
        self, cell: Cell, weights: Weights, initial: State, drive: Drive
    ) -> tuple[Trajectory, NewtonReport]:
        """The states, and the report on the iteration.

        The states come from the iteration or, if it did not converge, from the loop.
        """
        found, report = self.iterate(cell, weights, initial, drive)
        states = lax.cond(
            report.converged,
            lambda: found,
            lambda: plain_scan(cell, weights, initial, drive, Taps()),
        )
        return states, report

    def iterate(
        self, cell: Cell, weights: Weights, initial: State, drive: Drive
    ) -> tuple[Trajectory, NewtonReport]:
        """The states at the end of the iteration, whether converged or not."""
        drive = dataclasses.replace(drive, cut=None)  # only affects derivatives
        steps = jax.tree.leaves(drive.values)[0].shape[0]
        start = join(initial)
        guess = jnp.broadcast_to(start[None], (steps, *start.shape))
        limit = self.tolerance
        if limit is None:
            limit = float(jnp.finfo(start.dtype).eps) ** (2 / 3)

        def going(carry: Any) -> Array:
            _, iterations, correction, _ = carry
            return (iterations < self.iterations) & ~(correction <= limit)

        def correct(carry: Any) -> Any:
            states, iterations, _, overflows = carry
            new, J = linearised(cell, weights, initial, drive, states)
            residual = new - states
            e = linear_scan(J, residual)
            finite = jnp.isfinite(e)
            e = jnp.where(finite, e, residual)
            e = jnp.where(jnp.isfinite(e), e, jnp.zeros_like(e))
            failed = overflows + ~jnp.all(finite)
            return states + e, iterations + 1, relative(e, new), failed

        zero = jnp.zeros((), jnp.int32)
        far = jnp.full((), jnp.inf, start.dtype)
        states, iterations, correction, overflows = lax.while_loop(
            going, correct, (guess, zero, far, zero)
        )
        new = steps_of(cell, weights, initial, drive, before(start, states))
        residual = relative(new - states, new)
        converged = (correction <= limit) & (residual <= limit)
        report = NewtonReport(iterations, correction, residual, overflows, converged)
        return split(states, initial), report

    def adjoint(
        self,
        cell: Cell,
        weights: Weights,
        initial: State,
        drive: Drive,
        solved: tuple[Trajectory, NewtonReport],
        cotangent: Trajectory,
    ) -> Trajectory:
        """The total adjoints, by one associative scan or by the reverse scan."""
        states, report = solved

        def at_once() -> Trajectory:
            _, J = linearised(cell, weights, initial, drive, join(states))
            # JAX's cotangent of a complex h is ∂L/∂Re h − i ∂L/∂Im h
            direct = join(jax.tree.map(jnp.conj, cotangent))
            found = split(linear_adjoint(J, direct), initial)
            return jax.tree.map(jnp.conj, found)

        def step_by_step() -> Trajectory:
            return reverse_scan(
                cell, weights, initial, drive, states, cotangent, adjoints=True
            ).adjoint

        return lax.cond(report.converged, at_once, step_by_step)


def steps_of(
    cell: Cell,
    weights: Weights,
    initial: State,
    drive: Drive,
    previous: Float[Array, "T B N"],
) -> Float[Array, "T B N"]:
    """f_t applied to the joint state before each step."""
    now = split(previous, initial)
    return join(every_step(cell, weights, initial, now, drive))


def linearised(
    cell: Cell,
    weights: Weights,
    initial: State,
    drive: Drive,
    states: Float[Array, "T B N"],
) -> tuple[Float[Array, "T B N"], Float[Array, "T B N N"]]:
    """f_t(h_{t−1}) along a trajectory, and J_t there."""
    previous = before(join(initial), states)
    basis = jnp.eye(previous.shape[-1], dtype=previous.dtype)
    new, push = jax.linearize(
        lambda h: steps_of(cell, weights, initial, drive, h), previous
    )

    def column(e: Float[Array, "N"]) -> Float[Array, "T B N"]:
        return push(jnp.broadcast_to(e, previous.shape))

    return new, jax.vmap(column, out_axes=-1)(basis)


def relative(
    difference: Float[Array, "T B N"], states: Float[Array, "T B N"]
) -> Float[Array, ""]:
    """The largest entry, relative to the largest state of its example; keeps NaN."""
    size = jnp.max(jnp.abs(states), axis=(0, 2))
    largest = jnp.max(jnp.abs(difference), axis=(0, 2))
    return jnp.max(largest / jnp.where(size > 0, size, 1.0))
