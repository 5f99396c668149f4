"""The forward and backward pass of one direction of one layer, called a walk."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from flax import struct
from jax import lax
from jaxtyping import Array, Bool

from rnnjax.cells.base import Cell
from rnnjax.cells.products import Form
from rnnjax.recurrence import scaled
from rnnjax.recurrence.functional import Seams, Weights, abstract, call, step_seams
from rnnjax.recurrence.layer import Recurrent, spread
from rnnjax.recurrence.masking import entering, finish, in_order, read_in
from rnnjax.recurrence.reverse import reverse_scan
from rnnjax.recurrence.scaled import Scaled
from rnnjax.recurrence.scan import Taps, plain_scan
from rnnjax.recurrence.step import Drive, first
from rnnjax.types import Lengths, State, Trajectory


@struct.dataclass
class Use:
    """One use of a kernel, at every step: a product `value` @ kernel.

    Attributes:
        value: what the kernel multiplies, ``(T, B, m)``; tokens ``(T, B)`` for `rows`.
        delta: cotangent δ_t of the product, mantissas ``(T, B, n)``, exponents
            ``(T, B)``.
        kernel: name of the kernel within its layer.
        form: form of the product; `rows` looks up rows of an embedding.
        recurrent: whether the product lies inside the time loop.
    """

    value: Array
    delta: Scaled
    kernel: str = struct.field(pytree_node=False)
    form: Form | Literal["rows"] = struct.field(pytree_node=False)
    recurrent: bool = struct.field(pytree_node=False)


@struct.dataclass
class Walked:
    """One direction of one layer after its forward pass; arrays in walk order.

    Walk order is the order in which the steps are taken: that of the input, or its
    reverse for the backward direction. This is all that the quantities of the dynamics
    need: ``call(cell, weights, "step", state, drive_t)`` is one step.

    Attributes:
        initial: the state before the first step, ``(B, n)`` per state array.
        inputs: inputs of the layer, ``(T, B, m)``; a constant on padding (`entering`).
        drive: what enters the loop, with `valid` (False on padding).
        states: the state after each step, ``(T, B, n)`` per state array.
        weights: parameters and effective kernels.
        cell: static cell (`split_cell`).
        name: `layer0`, or `layer0.backward` for the backward direction.
    """

    initial: State
    inputs: Array
    drive: Drive
    states: Trajectory
    weights: Weights
    cell: Cell = struct.field(pytree_node=False)
    name: str = struct.field(pytree_node=False)
    backwards: bool = struct.field(pytree_node=False)


@struct.dataclass
class Walk:
    """One direction of one layer after its backward pass; arrays in input order.

    Attributes:
        name: `layer0`, or `layer0.backward` for the backward direction.
        states: the state after each step, ``(T, B, n)`` per state array.
        adjoint: ∂L/∂h_t per state array, one exponent ``(T, B)`` for all of them.
        outputs: cotangent of the layer's output, ``(T, B, ·)``, 0 on padding.
        uses: every product with a kernel, in the readin, the step and the readout.
        kernels: effective kernels by name.
        forward: the forward pass of the same walk, in walk order.
    """

    states: Trajectory
    adjoint: Scaled
    outputs: Scaled
    uses: tuple[Use, ...]
    kernels: Mapping[str, Array]
    forward: Walked
    name: str = struct.field(pytree_node=False)


@runtime_checkable
class Adjoined(Protocol):
    """What has adjoints: a `Walk`, or a loop of any program (`probes.programs`).

    Attributes:
        states: the state after each step, ``(T, B, …)`` per state array.
        adjoint: ∂L/∂h_t per state array, one exponent ``(T, B)`` for all of them.
    """

    @property
    def states(self) -> Any: ...

    @property
    def adjoint(self) -> Scaled: ...


@dataclasses.dataclass(frozen=True)
class Back:
    """The result of the backward pass of one walk.

    Attributes:
        walk: everything that the pass recorded.
        inputs: cotangent of the layer's inputs, ``(T, B, m)``.
        initial: cotangent of the state before the first step, exponent ``(B,)``.
    """

    walk: Walk
    inputs: Scaled
    initial: Scaled


def lifted(
    direct: Sequence[Any], losses: Array, weights: Array, valid: Bool[Array, "T B"]
) -> list[Scaled]:
    """Cotangents that come directly from the loss, with exponents per step and example.

    An example whose loss is NaN has no gradient: its cotangents are NaN at all steps,
    even where a ReLU after the recurrences would turn them into zeros.

    Args:
        direct: arrays ``(T, B, ·)``, one pytree per site.
        losses, weights: of the answers, ``(B,)`` or ``(T, B)``; a loss of weight 0 is
            ignored.
        valid: False on padding.
    """
    lost = jnp.isnan(losses) & (weights != 0)
    lost = valid & (jnp.any(lost, axis=0) if lost.ndim == 2 else lost)[None]
    return [scaled.lift(scaled.undefined(leaf, lost), 2) for leaf in direct]


def walk_forward(
    cell: Cell,
    weights: Weights,
    name: str,
    x: Array,
    initial: State,
    lengths: Lengths | None = None,
    resets: Bool[Array, "T B"] | None = None,
    *,
    backwards: bool = False,
) -> tuple[Walked, Array]:
    """Run a recurrence over ``(T, B, m)``; also returns its outputs ``(T, B, ·)``."""
    raw = entering(x, lengths, resets, backwards)
    drive = read_in(cell, weights, raw)
    states = plain_scan(cell, weights, initial, drive, Taps())
    outputs, _ = finish(cell, weights, drive, states, backwards)
    walked = Walked(initial, raw.values, drive, states, weights, cell, name, backwards)
    return walked, outputs


def first_state(recurrent: Recurrent, batch: int) -> State:
    """The state of a bound layer before its first step, ``(B, n)``.

    `Recurrent.first_state` may create the parameter, which a bound module must not do.
    """
    state = recurrent.cell.initial_state((batch,))
    if not recurrent.learn_initial_state:
        return state
    return jax.tree.map(spread, recurrent.variables["params"]["initial_state"], state)


def walk_back(walked: Walked, cotangent: Scaled) -> Back:
    """Backward pass from the cotangents of the outputs and of the trajectory.

    Args:
        walked: the forward pass.
        cotangent: cotangents of (outputs, states), each ``(T, B, ·)`` in the order of
            the input, with one exponent ``(T, B)``.
    """
    cell, weights, drive = walked.cell, walked.weights, walked.drive
    cotangent = in_order(cotangent, walked.backwards)
    seen, d_states = cotangent.mantissa
    if drive.valid is not None:
        seen = jnp.where(drive.valid[..., None], seen, jnp.zeros_like(seen))
    pull, seams = _pull(cell, weights, "readout", walked.states, drive.values)
    # The cotangent of a state that the outputs do not depend on is a constant zero, and
    # XLA would evaluate all that follows from it at compile time.
    (shown, d_values), deltas = lax.optimization_barrier(pull(seen))
    uses = _uses(seams, deltas, cotangent.exponent)
    back = reverse_scan(
        cell,
        weights,
        walked.initial,
        drive,
        walked.states,
        jax.tree.map(jnp.add, shown, d_states),
        exponents=cotangent.exponent,
    )
    k = back.exponent
    assert k is not None and back.initial_exponent is not None
    recurrent = step_seams(cell, weights, walked.initial, first(drive.values))
    inside = {
        site: dataclasses.replace(x, value=back.values[site])
        for site, x in recurrent.items()
    }
    uses = _uses(inside, back.deltas, k, recurrent=True) + uses
    entered = scaled.add(Scaled(back.drive, k), Scaled(d_values, cotangent.exponent))
    pull, seams = _pull(cell, weights, "readin", walked.inputs)
    (d_inputs,), deltas = pull(entered.mantissa)
    uses = _uses(seams, deltas, entered.exponent) + uses

    kernels = {
        name: weights.kernels[name] if name in weights.kernels else weights.params[name]
        for name in sorted({use.kernel for use in uses})
    }
    states, adjoint, outputs, uses, d_inputs = in_order(
        (
            walked.states,
            Scaled(back.adjoint, k),
            Scaled(seen, cotangent.exponent),
            uses,
            Scaled(d_inputs, entered.exponent),
        ),
        walked.backwards,
    )
    walk = Walk(states, adjoint, outputs, uses, kernels, walked, walked.name)
    return Back(walk, d_inputs, Scaled(back.initial, back.initial_exponent))


def _pull(cell: Cell, weights: Weights, method: str, *args: Any) -> tuple[Any, Seams]:
    """The VJP of a method, with respect to its arguments and its seams' outputs."""

    def run(args: Any, taps: Any) -> Any:
        return call(cell, weights, method, *args, taps=taps)

    known = jax.eval_shape(lambda args: run(args, None)[1], abstract(args))
    taps = {s: jnp.zeros(x.output.shape, x.output.dtype) for s, x in known.items()}
    _, pull, seams = jax.vjp(run, args, taps, has_aux=True)
    return pull, seams


def _uses(
    seams: Seams, deltas: Mapping[str, Array], exponent: Array, recurrent: bool = False
) -> tuple[Use, ...]:
    return tuple(
        Use(x.value, Scaled(deltas[site], exponent), x.kernel, x.form, recurrent)
        for site, x in seams.items()
    )
