"""Non-linear recurrences solved for all steps at once by Newton's method (DEER).

Lim, Zhu, Selfridge & Kasim (2024), "Parallelizing non-linear sequential models over the
sequence length", ICLR. The equations h_t = f_t(h_{t−1}) of all steps are linearised
around a guess of the whole trajectory, J_t = ∂f_t/∂h_{t−1}; the correction
e_t = J_t e_{t−1} + f_t(h_{t−1}) − h_t is one associative scan of matrices, and so on
until it is small. k iterations make at least the first k states exact, so that T always
suffice. How many are needed is a matter of the gradient flow: a few where J_t … J_1
decays, about T where the largest Lyapunov exponent is near or above zero (Gonzalez et
al. 2024, "Towards scalable and stable parallelization of nonlinear RNNs", NeurIPS).

The price is T · B · N² numbers, N those of the joint state, and N³ work a step: for a
small state, a long sequence and a machine with cores to spare. Not for a CPU.

The diagonal of J_t in its place saves both but takes 2 to 25 times the iterations
(Elman, GRU and LSTM, n = 16, T = 200), and the adjoint needs the whole J_t all the
same. Damping, (1 − k) J_t with k = 0.1, takes more where a few suffice, and at best a
third or half where so many are needed that the loop is the better way.
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
    """How an iteration went, scalars.

    Sizes are the largest entry, relative to the largest of the states of the same
    example.

    Attributes:
        iterations: how many corrections were made.
        correction: size of the last one.
        residual: of h_t − f_t(h_{t−1}) at the end, the largest over all steps.
        overflows: iterations whose correction was not finite somewhere; the states
            concerned took f_t(h_{t−1}) instead.
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
        tolerance: of the last correction and of the residual; None: ε^⅔ of the dtype,
            after which quadratic convergence has left rounding alone.
        iterations: most corrections; without convergence by then the states come from
            the loop, and the adjoints from the reverse scan.
    """

    tolerance: float | None = None
    iterations: int = 50

    def solve(
        self, cell: Cell, weights: Weights, initial: State, drive: Drive
    ) -> tuple[Trajectory, NewtonReport]:
        """The states, by the iteration or (not converged) by the loop; the report is of
        the iteration."""
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
        """The states that the iteration ends with, converged or not."""
        drive = dataclasses.replace(drive, cut=None)  # holds for derivatives alone
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
            # a complex cotangent of JAX is ∂L/∂Re h − i ∂L/∂Im h
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
    """f_t of the joint state before each step."""
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
    """The largest entry relative to the largest state of its example; NaN stays NaN."""
    size = jnp.max(jnp.abs(states), axis=(0, 2))
    largest = jnp.max(jnp.abs(difference), axis=(0, 2))
    return jnp.max(largest / jnp.where(size > 0, size, 1.0))
