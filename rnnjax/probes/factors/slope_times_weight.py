"""The factor of one step of back-propagation, split into slope times weight.

In an Elman cell the cotangent of U h_{t−1} is δ_t = φ′(z_t) ⊙ λ_t, and the previous
step receives Uᵀδ_t. Hence

    ‖Uᵀδ_t‖ / ‖λ_t‖ = (‖φ′(z_t) ⊙ λ_t‖ / ‖λ_t‖) · (‖Uᵀδ_t‖ / ‖δ_t‖)

Slope and weight each account for one part of the factor: in a sigmoid network with
U = 4 · orthogonal the gradient does not vanish as long as the slopes stay at 1/4.
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
    """The two parts of the factor of each step back: log10, ``(T, B)``, input order.

    Entry t belongs to the step from λ_t back to λ_{t−1}. NaN on padding and where λ_t
    is exactly zero or NaN; −inf where the factor is zero (all units dead).

    Attributes:
        slope: log10 ‖φ′(z_t) ⊙ λ_t‖ / ‖λ_t‖.
        weight: log10 ‖Uᵀδ_t‖ / ‖δ_t‖; NaN where δ_t is exactly zero.
        inflow: log10 ‖λ_{t−1}‖ / ‖Uᵀδ_t‖: zero if no loss gradient enters at step
            t − 1; otherwise (a loss at every step, a lower layer) the effect of what
            enters. NaN at the first step.
        slope_sum: sum of `slope` from the last step with an adjoint back to step t + 1:
            log10 of the factor by which the slopes have scaled that adjoint at t.
        weight_sum: the same for the weights.
    """

    slope: Float[Array, "T B"]
    weight: Float[Array, "T B"]
    inflow: Float[Array, "T B"]
    slope_sum: Float[Array, "T B"]
    weight_sum: Float[Array, "T B"]


def two_factors(walk: Walk) -> TwoFactors:
    """Slope and weight parts of every step back; one extra product per step.

    Only for cells in which the state enters through exactly one product, of the state
    itself, and in no other way: Elman, IndRNN (with a diagonal U), uRNN and expRNN,
    where `slope` is the slope of modReLU. Works under `jit`.

    Raises:
        ValueError: the state also enters in another way (a gate, a leak, two products);
            use `direct_path` for such cells.
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
        # padding contributes no factor; a step with λ_t = 0 has no sum
        kept = jnp.where(measured, x, jnp.zeros_like(x))
        total = lax.cumsum(kept, axis=0, reverse=True)
        total = jnp.concatenate([total[1:], jnp.zeros_like(total[:1])])
        return jnp.where(known & ~jnp.isnan(slope), total, jnp.nan)

    found = TwoFactors(slope, weight, inflow, later(slope, known), later(weight, alive))
    return in_order(found, walked.backwards)


def log10_ratio(a: Scaled, b: Scaled) -> Float[Array, "*batch"]:
    """log10 ‖a‖/‖b‖ for b ≠ 0, accurate to rounding however small both are."""
    over, under = scaled.normalise(a), scaled.normalise(b)
    apart = Scaled(over.mantissa, over.exponent - under.exponent)
    level = Scaled(under.mantissa, jnp.zeros_like(under.exponent))
    return scaled.log10_norm(apart) - scaled.log10_norm(level)


def _zero(value: Scaled) -> Bool[Array, "*batch"]:
    return scaled.normalise(value).exponent == scaled.NO_EXPONENT


def _check_one_product(walked: Walked) -> None:
    """Raise an error unless the state enters a single product, and nothing else."""
    cell, weights = walked.cell, walked.weights
    values = first(walked.drive.values)
    name = type(cell).__name__
    seams = jax.eval_shape(
        lambda s, d: call(cell, weights, "step", s, d)[1], walked.initial, values
    )
    if len(seams) != 1 or len(jax.tree.leaves(walked.initial)) != 1:
        raise ValueError(
            f"two factors need one state array and one recurrent product, but {name} "
            f"has {len(jax.tree.leaves(walked.initial))} and {len(seams)}; see "
            "direct_path"
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
            f"two factors need a step φ(drive + U h), but the state of {name} also "
            "enters in another way; see direct_path"
        )


def _transposed(delta: Array, kernel: Array, form: Any) -> Array:
    if form == "diagonal":
        return apply_kernel(delta, kernel, form)
    return apply_kernel(delta, jnp.swapaxes(kernel, -1, -2), form)
