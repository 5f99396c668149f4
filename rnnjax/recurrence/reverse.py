"""The reverse scan: the loop with which training and probes go back through time.

Each step is differentiated by a vector-Jacobian product at the stored states, using the
stored results of its matrix products if the caller has them. The cotangents δ of the
seams are stacked, but not the gradients of the kernels, which are computed by one
matrix product each after the loop; no array of shape (T, n, n) is ever formed. With
`exponents` the adjoint is carried as mantissa × 2^k and cannot underflow.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jax import lax
from jaxtyping import Array

from rnnjax.cells.base import Cell
from rnnjax.cells.products import kernel_gradient
from rnnjax.recurrence import scaled
from rnnjax.recurrence.backprop_rules import renormalise
from rnnjax.recurrence.functional import (
    Seams,
    Weights,
    split_weights,
    step_seams,
    transposed_kernels,
    with_kernels,
)
from rnnjax.recurrence.piped import piped_scan
from rnnjax.recurrence.scaled import Scaled
from rnnjax.recurrence.step import Drive, before, first, masked_step
from rnnjax.recurrence.sums import Known, without_summed
from rnnjax.types import State, Trajectory


@struct.dataclass
class Backward:
    """Result of the reverse scan.

    Attributes:
        adjoint: ∂L/∂h_t for the state after each step t, ``(T, B, n)`` per state array,
            or None.
        drive: cotangents of the drive, ``(T, B, ·)``.
        deltas: cotangent δ_t of every seam's output, ``(T, B, ·)``, by site.
        values: the input v_t of every seam, ``(T, B, ·)``, by site.
        initial: cotangent of the initial state ``(B, n)``.
        pointwise: gradients of the parameters that are read outside the seams (None
            with exponents, since examples then have different scales).
        exponent: ``(T, B)`` exponents of `adjoint`, `drive` and `deltas`, or None.
        initial_exponent: ``(B,)`` exponents of `initial`, or None.
        log2_factors: ``(T, B)``, the logarithm of what renormalising has multiplied the
            adjoint of each step by; None if it is exact.
    """

    adjoint: Trajectory
    drive: Any
    deltas: Mapping[str, Array]
    values: Mapping[str, Array]
    initial: Any
    pointwise: Any
    exponent: Array | None = None
    initial_exponent: Array | None = None
    log2_factors: Array | None = None


class Once:
    """Removes duplicates from the output of a loop, so each array is stacked only once.

    Where the drive is added to a product, the cotangents of the two are the same array;
    and what a kernel multiplies is often just the state before the step.
    """

    def __call__(self, out: Any, entered: Any) -> list[Array]:
        """The distinct arrays of `out` that do not already occur in `entered`."""
        leaves, self.treedef = jax.tree.flatten(out)
        known = {id(x): ("entered", i) for i, x in enumerate(jax.tree.leaves(entered))}
        kept: list[Array] = []
        for x in leaves:
            if id(x) not in known:
                known[id(x)] = ("kept", len(kept))
                kept.append(x)
        self.places = [known[id(x)] for x in leaves]
        return kept

    def restored(self, kept: list[Array], entered: Any) -> Any:
        """The complete output, from the stacked arrays and those in `entered`."""
        sources = {"kept": kept, "entered": jax.tree.leaves(entered)}
        return self.treedef.unflatten([sources[kind][i] for kind, i in self.places])


def reverse_scan(
    cell: Cell,
    weights: Weights,
    initial: State,
    drive: Drive,
    states: Trajectory,
    cotangent: Trajectory,
    *,
    exponents: Array | None = None,
    adjoints: bool = False,
    renormalised: bool = False,
    weights_of_steps: Array | None = None,
    known: Known | None = None,
) -> Backward:
    """Back-propagate through time from the cotangents of the states.

    Args:
        cell: static cell (`split_cell`).
        weights: its weights.
        initial: state before the first step ``(B, n)``.
        drive: the inputs of the steps, ``(T, B, ·)``.
        states: trajectory of the forward scan.
        cotangent: ∂L/∂h_t along the direct path only, ``(T, B, n)``.
        exponents: ``(T, B)`` exponents of `cotangent`. If given, all results are
            mantissas with the exponents `Backward.exponent`.
        adjoints: also stack ∂L/∂h_t (always done with exponents).
        renormalised: apply the rule `renormalise` of `backprop_rules`; not with
            exponents.
        weights_of_steps: ``(T, B)``; with `renormalised`, what the adjoint of each step
            is then multiplied by in the results of that step.
        known: outputs of seams, which are then not recomputed.

    Returns:
        The stacked cotangents; kernels' gradients come from `kernel_gradients`.
    """
    seams = step_seams(cell, weights, initial, first(drive.values))
    weights = with_kernels(weights, seams)
    split = split_weights(cell, weights, initial, first(drive.values))
    carry_exponents = exponents is not None
    adjoints = adjoints or carry_exponents

    def back(fixed: Any, carry: Any, now: Any, spent: Any) -> tuple[Any, Any]:
        split, kernels, transposed, initial = fixed
        later, at_start, gradient, factor = carry
        direct, previous, masks, weight = now
        known_t, values = spent
        outputs = None if known_t is None else known_t.outputs
        values = without_summed(values, known_t)
        drive_t = dataclasses.replace(masks, values=values)
        if carry_exponents:
            total = scaled.normalise(scaled.add(later, direct))
            adjoint, k = total.mantissa, total.exponent
        else:
            adjoint, k = jax.tree.map(jnp.add, later, direct), None

        def local(pointwise: Any, start: State, state: State, values: Any, taps: Any):
            joined = split.join(pointwise, kernels)
            entering = dataclasses.replace(drive_t, values=values)
            return masked_step(
                cell, joined, start, state, entering, taps, outputs, transposed
            )

        zeros = {s: jnp.zeros(x.output.shape, x.output.dtype) for s, x in seams.items()}
        primals = split.pointwise, initial, previous, drive_t.values, zeros
        new, vjp, used = jax.vjp(local, *primals, has_aux=True)
        seen = adjoint if weight is None else times(adjoint, weight)
        d_point, d_start, d_state, d_values, deltas = vjp(seen)
        if carry_exponents:
            back, met = (d_start, d_state), (d_values, deltas)
            back, met = scaled.around(adjoint, new, drive_t.valid, back, met)
            (d_start, d_state), (d_values, deltas) = back, met
        reached = factor
        if renormalised:
            if weight is not None:
                d_state = times(d_state, 1 / weight)
            (d_state, grown), (d_start, _) = (
                renormalise(d, to) for d, to in ((d_state, adjoint), (d_start, seen))
            )
            factor = factor + grown
        # The rounding of complex products depends on how XLA fuses them. The barrier
        # keeps it the same whether or not a probe reads δ.
        deltas = {
            site: lax.optimization_barrier(d) if jnp.iscomplexobj(d) else d
            for site, d in deltas.items()
        }
        met = {site: seam.value for site, seam in used.items()}
        shown = seen if adjoints else None, k, reached if renormalised else None
        out = once((*shown, d_values, deltas, met), previous)
        if k is not None:
            d_state = scaled.normalise(Scaled(d_state, k))
            if drive.reset is not None:
                at_start = scaled.add(at_start, scaled.normalise(Scaled(d_start, k)))
            return (d_state, at_start, gradient, factor), out
        if drive.reset is not None:
            at_start = jax.tree.map(jnp.add, at_start, d_start)
        gradient = jax.tree.map(jnp.add, gradient, d_point)
        return (d_state, at_start, gradient, factor), out

    batch = jax.tree.leaves(initial)[0].shape[0]
    nothing: Any = jax.tree.map(jnp.zeros_like, initial)
    direct: Any = cotangent
    if carry_exponents:
        nothing = Scaled(nothing, jnp.full((batch,), scaled.NO_EXPONENT, jnp.int32))
        direct = scaled.normalise(Scaled(cotangent, exponents))
    previous, once = before(initial, states), Once()
    zero_gradient = jax.tree.map(jnp.zeros_like, split.pointwise)
    masks = dataclasses.replace(drive, values=None, order=None)
    none_yet = jnp.zeros((batch,)) if renormalised else None
    (at_front, at_start, gradient, _), stacked = piped_scan(
        back,
        True,
        (split, weights.kernels, transposed_kernels(weights, seams), initial),
        (nothing, nothing, zero_gradient, none_yet),
        (direct, previous, masks, weights_of_steps),
        (known, drive.values),
    )
    adjoint, k, factors, d_values, deltas, values = once.restored(stacked, previous)
    if carry_exponents:
        front = scaled.add(at_front, at_start)
        return Backward(
            adjoint, d_values, deltas, values, front.mantissa, None, k, front.exponent
        )
    initial_cotangent = jax.tree.map(jnp.add, at_front, at_start)
    pointwise = split.gradient(gradient)
    return Backward(
        adjoint,
        d_values,
        deltas,
        values,
        initial_cotangent,
        pointwise,
        log2_factors=factors,
    )


def times(tree: Any, weight: Array) -> Any:
    """Every array ``(B, …)`` times a weight ``(B,)``."""

    def one(x: Array) -> Array:
        along = jnp.reshape(weight, weight.shape + (1,) * (x.ndim - 1))
        return (x * along).astype(x.dtype)

    return jax.tree.map(one, tree)


def kernel_gradients(
    weights: Weights, seams: Seams, back: Backward
) -> dict[str, Array]:
    """Gradients of the kernels named in `seams`, summed over their uses."""
    total: dict[str, Array] = {}
    for site, seam in seams.items():
        kernel = weights.kernels[seam.kernel]
        part = kernel_gradient(back.values[site], back.deltas[site], kernel, seam.form)
        total[seam.kernel] = total[seam.kernel] + part if seam.kernel in total else part
    return total
