"""A recurrent layer: a cell run over a sequence, as a `flax.linen` module."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Inexact

from rnnjax.cells.base import Cell
from rnnjax.recurrence.backprop import Backprop, check_backprop, cut_before
from rnnjax.recurrence.engine import Drive, Taps
from rnnjax.recurrence.engines import Engine, trajectory
from rnnjax.recurrence.newton import Newton
from rnnjax.recurrence.pure import Weights, call, make_weights
from rnnjax.types import Lengths, Sequence, State, Trajectory


class Recurrent(nn.Module):
    """Runs a cell over the leading axis of its input.

    Attributes:
        cell: the cell, with its input size set.
        backwards: walk from the last step to the first.
        engine: `reverse` (gradient by the explicit reverse scan), `plain` (autodiff of
            `lax.scan`; also for forward mode), `associative` (all steps of a linear
            recurrence at once) or `newton` (of any), see `rnnjax.recurrence.engines`.
        learn_initial_state: the initial state is a parameter, zeros at the start.
        backprop: how the adjoint goes back (`rnnjax.recurrence.backprop`): `exact`;
            `cut` after `lag` steps; `renormalise` to one norm. Forward values never
            depend on it.
        lag: K of `cut`, a number or a traced scalar; None otherwise.
        newton: tolerance and largest number of iterations of that engine.
    """

    cell: Cell
    backwards: bool = False
    engine: Engine = "reverse"
    learn_initial_state: bool = False
    backprop: Backprop = "exact"
    lag: Any = None
    newton: Newton = Newton()

    @nn.compact
    def __call__(
        self,
        x: Sequence,
        lengths: Lengths | None = None,
        resets: Bool[Array, "T B"] | None = None,
        initial_state: State | None = None,
    ) -> tuple[Array, Trajectory]:
        """Outputs and states of every step.

        Args:
            x: inputs ``(T, B, m)``.
            lengths: valid steps of each example (0 allowed); the state is held and the
                output is zero after them. None: all T.
            resets: where True the state restarts before the step (packed sequences).
            initial_state: state before the first step ``(B, n)``; None: the cell's own.

        Returns:
            outputs ``(T, B, ·)`` and the trajectory ``(T, B, n)`` per state array.

        Raises:
            UserError: `backprop`, `lag`, `engine` and `cell` do not fit each other.
        """
        check_backprop(self.backprop, self.lag, self.engine)
        initial = initial_state
        if initial is None:
            initial = self.first_state(x.shape[1])
        if self.is_initializing():
            self.cell(initial, x[0])  # a submodule makes its parameters when called
        static, weights = self.weights()
        drive = make_drive(
            static, weights, x, lengths, resets, self.backwards, self.lag
        )
        taps = Taps()
        if self.has_variable("taps", "states"):
            taps = Taps(
                self.get_variable("taps", "states"), self.get_variable("taps", "seams")
            )
        renormalised = self.backprop == "renormalise"
        states = trajectory(
            self.engine,
            static,
            weights,
            initial,
            drive,
            taps,
            renormalised,
            self.newton,
        )
        return finish(static, weights, drive, states, self.backwards)

    def weights(self) -> tuple[Cell, Weights]:
        """The static cell and its weights (parameters are made on first use)."""
        self.cell.kernels()
        return make_weights(self.cell, self.cell.variables.get("params", {}))

    def first_state(self, batch: int) -> State:
        """The state before the first step ``(B, n)``."""
        state = self.cell.initial_state((batch,))
        if not self.learn_initial_state:
            return state
        start = jax.tree.map(lambda x: real_parts(x[0]), state)
        learned = self.param("initial_state", lambda _: start)
        return jax.tree.map(spread, learned, state)


def real_parts(x: Inexact[Array, "n"]) -> Float[Array, "..."]:
    """`x`, or its real and imaginary parts ``(2, n)``: all parameters are real."""
    return jnp.stack([x.real, x.imag]) if jnp.iscomplexobj(x) else x


def spread(parts: Float[Array, "..."], like: Inexact[Array, "B n"]) -> Array:
    """The array behind `real_parts`, for every example of `like`."""
    one = lax.complex(*parts) if jnp.iscomplexobj(like) else parts
    return jnp.broadcast_to(one[None], like.shape)


def make_drive(
    cell: Cell,
    weights: Weights,
    x: Array,
    lengths: Array | None = None,
    resets: Array | None = None,
    backwards: bool = False,
    lag: Any = None,
) -> Drive:
    """Everything that enters the loop, in the order of the walk."""
    valid, cut = None, None
    if lengths is not None:
        valid = jnp.arange(x.shape[0])[:, None] < lengths[None, :]
    if lag is not None:
        ends = jnp.full((x.shape[1],), x.shape[0]) if lengths is None else lengths
        cut = cut_before(x.shape[0], ends - 1, lag, backwards)
    if backwards:
        x, valid, resets, cut = jax.tree.map(
            lambda a: jnp.flip(a, 0), (x, valid, resets, cut)
        )
    values, _ = call(cell, weights, "readin", x)
    return Drive(values, valid, resets, cut)


def finish(
    cell: Cell, weights: Weights, drive: Drive, states: Trajectory, backwards: bool
) -> tuple[Array, Trajectory]:
    """Outputs of every step, zero on padding, in the order of the input."""
    outputs, _ = call(cell, weights, "readout", states, drive.values)
    if drive.valid is not None:
        outputs = jnp.where(drive.valid[..., None], outputs, jnp.zeros_like(outputs))
    if backwards:
        outputs, states = jax.tree.map(lambda a: jnp.flip(a, 0), (outputs, states))
    return outputs, states
