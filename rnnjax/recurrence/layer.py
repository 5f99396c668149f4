"""A recurrent layer: a cell run over a sequence, as a `flax.linen` module."""

import dataclasses
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Inexact

from rnnjax.cells.base import Cell
from rnnjax.errors import UserError
from rnnjax.recurrence.backprop_rules import (
    SHAM,
    Backprop,
    check_backprop,
    shuffled_order,
)
from rnnjax.recurrence.engines import ENGINES, Settings
from rnnjax.recurrence.functional import Weights, make_weights
from rnnjax.recurrence.masking import (
    at_end,
    check_masks,
    end_place,
    entering,
    finish,
    in_order,
    make_drive,
    read_in,
    read_out,
)
from rnnjax.recurrence.newton import Newton
from rnnjax.recurrence.remat import Remat, check_remat, chunked_scan
from rnnjax.recurrence.scan import Taps, plain_scan
from rnnjax.recurrence.step import Drive
from rnnjax.types import Lengths, Sequence, State, Trajectory


class Recurrent(nn.Module):
    """Runs a cell over the leading axis of its input.

    Attributes:
        cell: the cell, with its input size set.
        backwards: run from the last step to the first.
        engine: `scan` (gradient by the explicit reverse scan), `plain` (autodiff of
            `lax.scan`; also for forward mode), `associative` (all steps of a linear
            recurrence at once) or `newton` (all steps of any recurrence at once), see
            `rnnjax.recurrence.engines`.
        learn_initial_state: whether the initial state is a parameter. If so,
            this parameter starts at the cell's own initial state (zeros).
        backprop: how the adjoint is propagated back (`backprop_rules`): `exact`; `cut`
            after `lag` steps; `renormalise` to a constant norm; `sham`, the control for
            that, whose gradient needs random numbers ``rngs={"sham": key}``. Forward
            values do not depend on it.
        lag: K of `cut`, a number or a traced scalar; None otherwise.
        newton: tolerance and maximum number of iterations of the engine `newton`.
        remat: number of steps in a chunk, or `sqrt`: the backward pass recomputes each
            chunk and needs O(√T) memory (`rnnjax.recurrence.remat`). With resets,
            chunks are run by the plain engine. None: nothing is recomputed.
    """

    cell: Cell
    backwards: bool = False
    engine: str = "scan"
    learn_initial_state: bool = False
    backprop: Backprop = "exact"
    lag: Any = None
    newton: Newton = Newton()
    remat: Remat | None = None

    @nn.compact
    def __call__(
        self,
        x: Sequence,
        lengths: Lengths | None = None,
        resets: Bool[Array, "T B"] | None = None,
        initial_state: State | None = None,
        last: bool = False,
    ) -> tuple[Array, Trajectory]:
        """Outputs and states of every step, or of the last one of the walk.

        Args:
            x: inputs ``(T, B, m)``.
            lengths: valid steps of each example, from 0 to T. After them the state is
                held, the output is zero, and inputs are never read. Traced arrays
                cannot be checked: more than T counts as T, and less than 0 as 0. None:
                all T.
            resets: True at the first step of each document of a packed sequence. The
                state is reset there; in the backward direction it is reset at the last
                step of each document. Either way, documents are processed separately.
            initial_state: state before the first step ``(B, n)``; None: the default of
                the cell.
            last: return only the end of the walk of each example: its last valid step,
                or step 0 in the backward direction. With `remat`, arrays of all outputs
                or states are then never formed.

        Returns:
            outputs ``(T, B, ·)`` and the trajectory ``(T, B, n)`` per state array; with
            `last` ``(B, ·)`` and ``(B, n)``.

        Raises:
            UserError: `backprop`, `lag`, `engine`, `remat` and `cell` are not
                compatible, or `lengths` or `resets` do not match the input.
        """
        check_masks(x, lengths, resets)
        check_backprop(self.backprop, self.lag, self.engine, self.remat)
        check_remat(self.remat)
        initial = initial_state
        if initial is None:
            initial = self.first_state(x.shape[1])
        if self.is_initializing():
            self.cell(initial, x[0])  # a submodule creates its parameters when called
        static, weights = self.weights()
        taps = Taps()
        if self.has_variable("taps", "states"):
            taps = Taps(
                self.get_variable("taps", "states"), self.get_variable("taps", "seams")
            )
        engine, settings = ENGINES[self.engine], Settings(self.backprop, self.newton)

        def run(state: State, drive: Drive, taps: Taps) -> Trajectory:
            if self.remat is not None and resets is not None:
                # a chunk starts from its own state, but resets to the initial state
                return plain_scan(static, weights, state, drive, taps, initial)
            return engine(settings, static, weights, state, drive, taps)

        masks = lengths, resets, self.backwards, self.lag
        if self.remat is None:
            drive = make_drive(static, weights, x, *masks)
            if self.backprop == SHAM:
                drive = self._with_order(drive)
            states = run(initial, drive, taps)
            found = finish(static, weights, drive, states, self.backwards)
            return at_end(found, lengths, self.backwards) if last else found
        if self.backprop == "renormalise" and resets is not None:
            raise UserError("backprop=renormalise with remat does not support resets")
        raw = entering(x, *masks)
        at = end_place(x, lengths, self.backwards) if last else None
        outputs, states = chunked_scan(
            static, weights, initial, raw, taps, run, self.remat, at
        )
        if not last:
            return in_order((outputs, states), self.backwards)
        some = None if lengths is None else lengths > 0
        read = in_order(raw.values, self.backwards)
        end = Drive(at_end(read, lengths, self.backwards), some)
        end = read_in(static, weights, end)
        return read_out(static, weights, end, states), states

    def _with_order(self, drive: Drive) -> Drive:
        """The drive with a random permutation of its steps, if a key is there."""
        if not self.has_rng(SHAM):
            return drive
        steps = jax.tree.leaves(drive.values)[0].shape[0]
        order = shuffled_order(self.make_rng(SHAM), steps, drive.valid)
        return dataclasses.replace(drive, order=order)

    def weights(self) -> tuple[Cell, Weights]:
        """The static cell and its weights (parameters are created on first use)."""
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
    """`x`, or its real and imaginary parts ``(2, n)``, since parameters are real."""
    return jnp.stack([x.real, x.imag]) if jnp.iscomplexobj(x) else x


def spread(parts: Float[Array, "..."], like: Inexact[Array, "B n"]) -> Array:
    """The inverse of `real_parts`, repeated for every example of `like`."""
    one = lax.complex(*parts) if jnp.iscomplexobj(like) else parts
    return jnp.broadcast_to(one[None], like.shape)
