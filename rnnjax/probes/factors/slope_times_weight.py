"""The factor of one step back through time, taken apart: slope times weight.

In an Elman cell the cotangent of U h_{t−1} is δ_t = φ′(z_t) ⊙ λ_t, and what reaches the
step before is Uᵀδ_t. Hence

    ‖Uᵀδ_t‖ / ‖λ_t‖ = (‖φ′(z_t) ⊙ λ_t‖ / ‖λ_t‖) · (‖Uᵀδ_t‖ / ‖δ_t‖)

The slope is half of the factor, the weight the other half: a sigmoid network with
U = 4 · orthogonal does not vanish as long as its slopes stay at 1/4.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jax import lax
from jaxtyping import Array, Bool, Float

from rnnjax.cells.products import apply_kernel
from rnnjax.probes.backward.walk import Walk, Walked, in_order
from rnnjax.probes.factors.slopes import valid_steps
from rnnjax.recurrence import scaled
from rnnjax.recurrence.functional import abstract, call
from rnnjax.recurrence.scaled import Scaled
from rnnjax.recurrence.step import first


@struct.dataclass
class TwoFactors:
    """The factor of each step back, ``(T, B)``, log10, in the order of the input.

    Entry t is of the step from λ_t back to the step before; NaN on padding, where λ_t
    is exactly zero and where it is NaN, −inf where the factor is zero (all units dead).

    Attributes:
        slope: log10 ‖φ′(z_t) ⊙ λ_t‖ / ‖λ_t‖.
        weight: log10 ‖Uᵀδ_t‖ / ‖δ_t‖; NaN where δ_t is exactly zero.
        inflow: log10 ‖λ_{t−1}‖ / ‖Uᵀδ_t‖: zero where no loss enters between; with a
            loss at more steps than the last, or in a lower layer, what they add. NaN at
            the first step.
        slope_sum: sum of `slope` from the last step with an adjoint back to t, without
            t itself: log10 of what the slopes alone left of it at t.
        weight_sum: the same for the weights.
    """

    slope: Float[Array, "T B"]
    weight: Float[Array, "T B"]
    inflow: Float[Array, "T B"]
    slope_sum: Float[Array, "T B"]
    weight_sum: Float[Array, "T B"]


def two_factors(walk: Walk) -> TwoFactors:
    """Slope and weight of every step back. Works under `jit`; costs one product a step.

    For a cell in which the state enters through exactly one product, of the state
    itself, and in no other way: Elman, IndRNN (U diagonal), uRNN and expRNN, where
    `slope` is that of modReLU.

    Raises:
        ValueError: the state takes another way as well (a gate, a leak, two products),
            for which `direct_path` is meant.
    """
    walked = walk.forward
    _check_one_product(walked)
    use = next(use for use in walk.uses if use.recurrent)
    adjoint, delta = in_order((walk.adjoint, use.delta), walked.backwards)
    valid = valid_steps(walked)
    kernel = walk.kernels[use.kernel]
    with jax.default_matmul_precision("highest"):
        back = Scaled(_transposed(delta.mantissa, kernel, use.form), delta.exponent)
    known = valid & ~_zero(adjoint)
    alive = known & ~_zero(delta)
    reached = alive & ~_zero(back)
    arrived = jax.tree.map(lambda x: jnp.roll(x, 1, axis=0), adjoint)
    inflow = jnp.where(reached, log10_ratio(arrived, back), jnp.nan)
    inflow = inflow.at[0].set(jnp.nan)
    slope = jnp.where(known, log10_ratio(delta, adjoint), jnp.nan)
    weight = jnp.where(alive, log10_ratio(back, delta), jnp.nan)

    def later(x: Array, measured: Array) -> Array:
        # later padding is no factor; a step with λ_t = 0 has no sum
        kept = jnp.where(measured, x, jnp.zeros_like(x))
        total = lax.cumsum(kept, axis=0, reverse=True)
        total = jnp.concatenate([total[1:], jnp.zeros_like(total[:1])])
        return jnp.where(known & ~jnp.isnan(slope), total, jnp.nan)

    found = TwoFactors(slope, weight, inflow, later(slope, known), later(weight, alive))
    return in_order(found, walked.backwards)


def log10_ratio(a: Scaled, b: Scaled) -> Float[Array, "*batch"]:
    """log10 ‖a‖/‖b‖ for b ≠ 0, to rounding however small both are."""
    over, under = scaled.normalise(a), scaled.normalise(b)
    apart = Scaled(over.mantissa, over.exponent - under.exponent)
    level = Scaled(under.mantissa, jnp.zeros_like(under.exponent))
    return scaled.log10_norm(apart) - scaled.log10_norm(level)


def _zero(value: Scaled) -> Bool[Array, "*batch"]:
    return scaled.normalise(value).exponent == scaled.NO_EXPONENT


def _check_one_product(walked: Walked) -> None:
    """Whether the state is read by one product, as it is, and by nothing else."""
    cell, weights = walked.cell, walked.weights
    values = first(walked.drive.values)
    name = type(cell).__name__
    seams = jax.eval_shape(
        lambda s, d: call(cell, weights, "step", s, d)[1], walked.initial, values
    )
    if len(seams) != 1 or len(jax.tree.leaves(walked.initial)) != 1:
        raise ValueError(
            f"two factors need one state array and one recurrent product, {name} has "
            f"{len(jax.tree.leaves(walked.initial))} and {len(seams)}; see direct_path"
        )
    ((site, seam),) = seams.items()

    def held(state: Any, values: Any, output: Array) -> Any:
        new, seen = call(cell, weights, "step", state, values, held={site: output})
        return new, seen[site].value

    closed = jax.make_jaxpr(held)(*abstract((walked.initial, values, seam.output)))
    state = closed.jaxpr.invars[0]
    read = any(var is state for eqn in closed.jaxpr.eqns for var in eqn.invars)
    if read or closed.jaxpr.outvars[-1] is not state:
        raise ValueError(
            f"two factors need a step φ(drive + U h), but the state of {name} takes "
            "another way as well; see direct_path"
        )


def _transposed(delta: Array, kernel: Array, form: Any) -> Array:
    if form == "diagonal":
        return apply_kernel(delta, kernel, form)
    return apply_kernel(delta, jnp.swapaxes(kernel, -1, -2), form)
