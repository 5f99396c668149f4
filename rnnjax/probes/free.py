"""What each time step gives to parameters that are no kernels.

Biases, peepholes, time constants, the free parameters of a derived kernel (the A of
exp(A − Aᵀ)), a learned leak: whatever a cell reads outside its seams, or turns into a
kernel before the loop. G_t is the vector-Jacobian product of step t alone, its input
projection and its read-out included, with all states held fixed; they add up to the
gradient.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import traverse_util
from jax import lax
from jaxtyping import Array, Float

from rnnjax.probes.contribution import Contribution, norm_share
from rnnjax.probes.walk import Walk, in_order
from rnnjax.recurrence import scaled
from rnnjax.recurrence.pure import Weights, call
from rnnjax.recurrence.reverse import before, masked_step
from rnnjax.recurrence.scaled import Scaled


Leaves = dict[str, Array]


def contributions(walk: Walk) -> dict[str, Contribution]:
    """Norms and shares of every step for every such parameter, by `layer0/name`.

    Costs two passes of per-step vector-Jacobian products, with derived kernels computed
    anew in each step; scratch of the size of the parameters: G_t is never stacked.
    """
    free, fixed = _parted(walk)
    if not free:
        return {}
    steps = _steps(walk)

    def gradient(now: tuple) -> dict[str, Scaled]:
        return _step_gradient(walk, free, fixed, now)

    def add(total: dict[str, Scaled], now: tuple) -> tuple[dict[str, Scaled], Leaves]:
        own = gradient(now)
        grown = {k: scaled.normalise(scaled.add(total[k], own[k])) for k in own}
        return grown, {name: scaled.log10_norm(g) for name, g in own.items()}

    nothing = {
        k: Scaled(jnp.zeros_like(x), jnp.asarray(scaled.NO_EXPONENT, jnp.int32))
        for k, x in free.items()
    }
    total, log10 = lax.scan(add, nothing, steps)

    def align(now: tuple) -> Leaves:
        return {k: _dot(g, total[k]) for k, g in gradient(now).items()}

    dots = lax.map(align, steps)
    return {
        f"{walk.name}/{name}": Contribution(
            log10_norm=log10[name],
            norm_share=norm_share(log10[name]),
            signed_share=dots[name] / _whole(total[name], dots[name]),
            log10_gradient=scaled.log10_norm(total[name]),
        )
        for name in free
    }


def _parted(walk: Walk) -> tuple[Leaves, Leaves]:
    """The cell's parameters by path: those that are no seam's kernel, and the rest."""
    weights = walk.forward.weights
    flattened: Any = traverse_util.flatten_dict(weights.params, sep="/")
    flat: Leaves = dict(flattened)
    cell = walk.forward.cell
    direct = {
        cell.parameter_of(name) if name in weights.kernels else name
        for name in walk.kernels
    }
    free = {path: value for path, value in flat.items() if path not in direct}
    return free, {path: value for path, value in flat.items() if path in direct}


def _steps(walk: Walk) -> tuple:
    """What happens at each step, in the order of the walk, ``(T, …)``."""
    done = walk.forward
    adjoint, outputs = in_order((walk.adjoint, walk.outputs), done.backwards)
    top = jnp.maximum(jnp.max(adjoint.exponent, -1), jnp.max(outputs.exponent, -1))
    inside = scaled.shift(adjoint.mantissa, adjoint.exponent - top[:, None])
    seen = scaled.shift(outputs.mantissa, outputs.exponent - top[:, None])
    previous = before(done.initial, done.states)
    steps = (done.inputs, previous, done.states, inside, seen, top, done.drive)
    # results stand in the order of the input
    return in_order(steps, done.backwards)


def _step_gradient(
    walk: Walk, free: Leaves, fixed: Leaves, now: tuple
) -> dict[str, Scaled]:
    done = walk.forward
    x, previous, state, inside, seen, exponent, drive = now

    def local(free: Leaves):
        params = traverse_util.unflatten_dict({**free, **fixed}, sep="/")
        kernels = call(done.cell, Weights(params, {}, done.weights.numeric), "kernels")
        weights = Weights(params, dict(kernels[0]), done.weights.numeric)
        values, _ = call(done.cell, weights, "readin", x)
        entering = drive.replace(values=values)
        new, _ = masked_step(done.cell, weights, done.initial, previous, entering)
        return new, call(done.cell, weights, "readout", state, values)[0]

    _, pull = jax.vjp(local, free)
    (gradient,) = pull((inside, seen))
    return {k: scaled.normalise(Scaled(g, exponent)) for k, g in gradient.items()}


def _dot(part: Scaled, total: Scaled) -> Float[Array, ""]:
    """⟨G_t, G⟩ in units of 4^(exponent of G)."""
    dot = jnp.sum(part.mantissa * total.mantissa)
    return dot * scaled.power_of_two(part.exponent - total.exponent, dot.dtype)


def _whole(total: Scaled, dots: Array) -> Array:
    return jnp.where(total.exponent == scaled.NO_EXPONENT, jnp.nan, jnp.sum(dots))
