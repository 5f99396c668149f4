"""What each time step contributes to the gradient of parameters other than kernels.

These are biases, time constants, a learned leak, and the free parameters of a derived
kernel (the A of exp(A − Aᵀ)): everything that a cell reads outside its seams, or turns
into a kernel before the loop. G_t is the vector-Jacobian product of step t only,
including its input projection and readout, with all states held fixed; the G_t sum to
the gradient.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct, traverse_util
from jax import lax
from jaxtyping import Array, Float, Int

from rnnjax.probes.adjoints.norms import lags_forward
from rnnjax.probes.backward.walk import Walk, in_order
from rnnjax.probes.contributions.first_update import SIGN, FirstUpdate
from rnnjax.probes.contributions.spread import at_lags
from rnnjax.probes.contributions.to_kernels import Contribution, norm_share
from rnnjax.recurrence import scaled
from rnnjax.recurrence.functional import Weights, call
from rnnjax.recurrence.scaled import Scaled
from rnnjax.recurrence.step import Drive, before, masked_step


Leaves = dict[str, Array]


@struct.dataclass
class FreeContribution(Contribution):
    """The contributions of all time steps to one parameter that is not a kernel.

    Attributes:
        first_update_share: as `to_kernels.first_update_share` of a kernel.
    """

    first_update_share: Float[Array, "T"]


def contributions(walk: Walk, rule: FirstUpdate = SIGN) -> dict[str, FreeContribution]:
    """Norms and shares of every step for every such parameter, keyed by `layer0/name`.

    Costs two passes of per-step vector-Jacobian products, which recompute derived
    kernels in each step. Temporary memory is of the size of the parameters, since G_t
    is never stacked.
    """
    free, fixed = _parted(walk)
    if not free:
        return {}
    steps, initial = _along(walk), walk.forward.initial
    total, log10 = _summed(walk, free, fixed, steps)

    def align(now: Along) -> tuple[Leaves, Leaves]:
        own = _step_gradient(walk, free, fixed, initial, now)
        plain = {k: _dot(g, total[k]) for k, g in own.items()}
        return plain, {k: _dot(g, along[k]) for k, g in own.items()}

    along = {k: rule.direction(x) for k, x in total.items()}
    dots, sided = lax.map(align, steps)
    return {
        f"{walk.name}/{name}": FreeContribution(
            log10_norm=log10[name],
            norm_share=norm_share(log10[name]),
            signed_share=dots[name] / _whole(total[name], dots[name]),
            log10_gradient=scaled.log10_norm(total[name]),
            first_update_share=sided[name] / _whole(along[name], sided[name]),
        )
        for name in free
    }


def gradients(walk: Walk) -> dict[str, Scaled]:
    """The gradient of every such parameter, keyed by its path within the cell."""
    free, fixed = _parted(walk)
    return _summed(walk, free, fixed, _along(walk))[0] if free else {}


def signal_to_noise(
    walk: Walk, last: Int[Array, "B"], turned: bool = False
) -> dict[str, Array]:
    """`spread.signal_to_noise` of every such parameter by lag, keyed by `layer0/name`.

    Lag l is step s − l of an example, with s its last loss step; if `turned` it is step
    l (`adjoints.norms.lags_forward`). Costs a vector-Jacobian product for each example
    and lag, and temporary memory of B times the size of the parameters.
    """
    rows, lags = at_each_lag(walk, last, turned)

    def one(now: Any) -> Leaves:
        return {name: _noise(each) for name, each in rows(now).items()}

    return lax.map(one, lags)


def at_each_lag(
    walk: Walk, last: Int[Array, "B"], turned: bool = False
) -> tuple[Callable[[Any], dict[str, Scaled]], Any]:
    """A function that gives G_{t,b} of every such parameter at one lag.

    Returns:
        the function, from an entry of the second result to rows ``(B, parameters)``
        with an exponent for each example, by `layer0/name`, exactly zero where an
        example has no step at the lag; and a pytree with a leading axis of lags.
    """
    free, fixed = _parted(walk)
    along, last = lags_forward(_along(walk), last, turned)
    steps = jax.tree.map(lambda x: at_lags(x, last)[0], along)
    lag = jnp.arange(walk.adjoint.exponent.shape[0])[:, None]

    def rows(now: tuple[Along, Array]) -> dict[str, Scaled]:
        along, real = now

        def alone(initial: Any, own: Along) -> dict[str, Scaled]:
            initial, own = jax.tree.map(lambda x: x[None], (initial, own))
            return _step_gradient(walk, free, fixed, initial, own)

        def row(each: Scaled) -> Scaled:
            flat = jnp.reshape(each.mantissa, (real.size, -1))
            exponent = jnp.where(real, each.exponent, scaled.NO_EXPONENT)
            return Scaled(jnp.where(real[:, None], flat, 0.0), exponent)

        if not free:
            return {}
        found = jax.vmap(alone)(walk.forward.initial, along)
        return {f"{walk.name}/{name}": row(each) for name, each in found.items()}

    return rows, (steps, last[None] >= lag)


def _noise(each: Scaled) -> Float[Array, ""]:
    """‖mean‖² / tr Cov of gradients ``(B, parameters)``."""
    rows = scaled.shift(each.mantissa, each.exponent - jnp.max(each.exponent))
    mean = jnp.mean(rows, axis=0)
    noise = jnp.sum(jnp.square(rows - mean[None])) / (len(rows) - 1)
    return jnp.where(noise > 0, jnp.sum(jnp.square(mean)) / noise, jnp.nan)


def parameter_of(walk: Walk, kernel: str) -> str | None:
    """The path of the parameter that is used as this kernel; None if it is derived."""
    derived = kernel in walk.forward.weights.kernels
    return walk.forward.cell.parameter_of(kernel) if derived else kernel


def free_parameters(walk: Walk) -> list[str]:
    """The paths of all such parameters within the cell."""
    return list(_parted(walk)[0])


def _parted(walk: Walk) -> tuple[Leaves, Leaves]:
    """The cell's parameters by path: those that are no seam's kernel, and the rest."""
    weights = walk.forward.weights
    flattened: Any = traverse_util.flatten_dict(weights.params, sep="/")
    flat: Leaves = dict(flattened)
    direct = {parameter_of(walk, name) for name in walk.kernels}
    free = {path: value for path, value in flat.items() if path not in direct}
    return free, {path: value for path, value in flat.items() if path in direct}


@struct.dataclass
class Along:
    """All arrays along the steps of a walk, ``(T, B, ·)`` in the order of the input."""

    inputs: Array
    previous: Any
    states: Any
    adjoint: Scaled
    outputs: Scaled
    drive: Drive


def _along(walk: Walk) -> Along:
    done = walk.forward
    previous = before(done.initial, done.states)
    forward = done.inputs, previous, done.states, done.drive
    inputs, previous, states, drive = in_order(forward, done.backwards)
    return Along(inputs, previous, states, walk.adjoint, walk.outputs, drive)


def _step_gradient(
    walk: Walk, free: Leaves, fixed: Leaves, initial: Any, now: Along
) -> dict[str, Scaled]:
    """G_t, summed over the examples ``(B, ·)`` of one step."""
    cell, numeric = walk.forward.cell, walk.forward.weights.numeric
    exponents = jnp.stack([now.adjoint.exponent, now.outputs.exponent])
    top = jnp.max(exponents)
    inside, seen = (
        scaled.shift(x.mantissa, x.exponent - top) for x in (now.adjoint, now.outputs)
    )

    def local(free: Leaves):
        params = traverse_util.unflatten_dict({**free, **fixed}, sep="/")
        kernels = call(cell, Weights(params, {}, numeric), "kernels")
        weights = Weights(params, dict(kernels[0]), numeric)
        values, _ = call(cell, weights, "readin", now.inputs)
        entering = dataclasses.replace(now.drive, values=values)
        new, _ = masked_step(cell, weights, initial, now.previous, entering)
        return new, call(cell, weights, "readout", now.states, values)[0]

    _, pull = jax.vjp(local, free)
    (gradient,) = pull((inside, seen))
    lost = scaled.holds_nan((inside, seen), 1)
    lost = lost if now.drive.valid is None else lost & now.drive.valid
    gradient = scaled.undefined(gradient, jnp.any(lost))
    return {k: scaled.normalise(Scaled(g, top)) for k, g in gradient.items()}


def _summed(
    walk: Walk, free: Leaves, fixed: Leaves, steps: Along
) -> tuple[dict[str, Scaled], Leaves]:
    """Σ_t G_t of each parameter, and log10 ‖G_t‖."""
    initial = walk.forward.initial

    def add(total: dict[str, Scaled], now: Along) -> tuple[dict[str, Scaled], Leaves]:
        own = _step_gradient(walk, free, fixed, initial, now)
        grown = {k: scaled.normalise(scaled.add(total[k], own[k])) for k in own}
        return grown, {name: scaled.log10_norm(g) for name, g in own.items()}

    nothing = {
        k: Scaled(jnp.zeros_like(x), jnp.asarray(scaled.NO_EXPONENT, jnp.int32))
        for k, x in free.items()
    }
    return lax.scan(add, nothing, steps)


def _dot(part: Scaled, total: Scaled) -> Float[Array, ""]:
    """⟨G_t, G⟩ in units of 4^(exponent of G)."""
    dot = jnp.sum(part.mantissa * total.mantissa)
    return dot * scaled.power_of_two(part.exponent - total.exponent, dot.dtype)


def _whole(total: Scaled, dots: Array) -> Array:
    return jnp.where(total.exponent == scaled.NO_EXPONENT, jnp.nan, jnp.sum(dots))
