"""Slopes φ′(z_t) along a trajectory: one part of every factor of the chain rule.

For an Elman cell ∂h_t/∂h_{t−1} = diag(φ′(z_t)) U. The sigmoid has φ′ ≤ 1/4, tanh
φ′ ≤ 1, ReLU φ′ ∈ {0, 1}; a *saturated* unit has a slope near zero whatever its weights.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jax import nn
from jaxtyping import Array, Bool, Float, Int

from rnnjax.activations import Activation, gelu, recording, silu
from rnnjax.probes.backward.walk import Walked, in_order
from rnnjax.recurrence.functional import call
from rnnjax.recurrence.step import before, choose
from rnnjax.types import Trajectory


SATURATED = 0.05
"""A unit is saturated at a step where |φ′| is below this fraction of its bound."""

BINS = 50


@struct.dataclass
class PreActivation:
    """The argument of one activation of a cell at every step, in input order.

    Attributes:
        z: the argument, ``(T, B, n)``.
        valid: ``(T, B)``, False on padding.
        name: name of the call (`forget`, `candidate`), see
            `rnnjax.activations.recording`.
        activation: φ.
    """

    z: Float[Array, "T B n"]
    valid: Bool[Array, "T B"]
    name: str = struct.field(pytree_node=False)
    activation: Activation = struct.field(pytree_node=False)

    @property
    def slope(self) -> Float[Array, "T B n"]:
        """φ′(z_t), computed without cancellation; padding is not masked.

        NaN where z_t is NaN, even for a piecewise φ that would return the slope of one
        piece there.
        """
        return jnp.where(jnp.isnan(self.z), jnp.nan, self.activation.slope(self.z))

    @property
    def bound(self) -> float:
        """sup |φ′| over all z."""
        return max(map(abs, self.activation.slope_bounds))


@struct.dataclass
class SlopeSummary:
    """The slopes of one activation over all valid (step, example, unit).

    Attributes:
        mean: mean of φ′. Like `rms`, `active` and `saturated` it is NaN if any φ′ that
            it is computed from is NaN.
        rms: root mean square of φ′ over examples and units at each step ``(T,)``, the
            factor by which a random cotangent shrinks; NaN if all examples are padding.
        active: fraction with φ′ ≠ 0 (a ReLU that is on).
        saturated: fraction with |φ′| < 5 % of `bound`.
        counts: number of slopes in each bin; NaN is not counted.
        edges: edges of the bins, evenly spaced from min(0, inf φ′) to sup φ′; the last
            bin includes its upper edge.
        bound: sup |φ′|.
    """

    mean: Float[Array, ""]
    rms: Float[Array, "T"]
    active: Float[Array, ""]
    saturated: Float[Array, ""]
    counts: Int[Array, "bins"]
    edges: Float[Array, "edges"]
    name: str = struct.field(pytree_node=False)
    bound: float = struct.field(pytree_node=False)


def starts(walked: Walked) -> Trajectory:
    """The state from which each step starts, after resets: ``(T, B, n)`` per array.

    In walk order.
    """
    previous = before(walked.initial, walked.states)
    reset = walked.drive.reset
    if reset is None:
        return previous
    return jax.vmap(lambda where, state: choose(where, walked.initial, state))(
        reset, previous
    )


def valid_steps(walked: Walked) -> Bool[Array, "T B"]:
    """``(T, B)``, False on padding; in walk order."""
    if walked.drive.valid is not None:
        return walked.drive.valid
    return jnp.ones(jax.tree.leaves(walked.states)[0].shape[:2], bool)


def preactivations(walked: Walked) -> tuple[PreActivation, ...]:
    """The arguments of all activations of the readin and of the step, in order.

    Empty for a cell without a registered activation (LRU). Costs one forward pass, all
    steps at once.
    """
    cell, weights = walked.cell, walked.weights

    def one(state: Any, x: Array, drive: Any, valid: Array) -> list[PreActivation]:
        with recording() as seen:
            call(cell, weights, "readin", x)
            call(cell, weights, "step", state, drive)
        return [PreActivation(s.z, valid, s.name, s.activation) for s in seen]

    found = jax.vmap(one)(
        starts(walked), walked.inputs, walked.drive.values, valid_steps(walked)
    )
    return tuple(in_order(found, walked.backwards))


def log_slope(phi: Activation, z: Float[Array, "*s"]) -> Float[Array, "*s"]:
    """log |φ′(z)|, −inf where φ′ is exactly zero, NaN where z is NaN.

    For the smooth registered activations it keeps its relative accuracy where φ′
    underflows and where φ′ is 1 up to rounding (softplus at z = 30, where log φ′ =
    −9e-14), except around the points in between where log |φ′| changes its sign.
    """
    rule = _LOG_SLOPES.get(phi.name)
    slope = phi.slope(z)
    log = jnp.log(jnp.abs(slope)) if rule is None else rule(z, slope)
    return jnp.where(jnp.isnan(z), jnp.nan, log)


def summary(pre: PreActivation) -> SlopeSummary:
    """Mean, root mean square by time, activity, saturation and histogram of slopes."""
    phi, slope, size = pre.activation, pre.slope, pre.z.shape[-1]
    valid = jnp.broadcast_to(pre.valid[..., None], slope.shape)
    total, known = jnp.sum(valid), ~jnp.isnan(slope)

    def mean(x: Array) -> Array:
        return jnp.sum(jnp.where(valid, x, jnp.zeros_like(x))) / total

    def share(which: Array) -> Array:
        return mean(jnp.where(known, which.astype(slope.dtype), jnp.nan))

    # squares of small slopes underflow, their logarithms do not
    squares = nn.logsumexp(2 * log_slope(phi, pre.z), axis=(1, 2), where=valid)
    steps = jnp.sum(pre.valid, axis=1)
    rms = jnp.exp(0.5 * (squares - jnp.log(steps * size)))
    low, high = phi.slope_bounds
    low = min(low, 0.0)
    edges = jnp.linspace(low, high, BINS + 1, dtype=slope.dtype)
    inside = jnp.clip(jnp.where(known, slope, edges[0]), edges[0], edges[-1])
    counted = (valid & known).astype(jnp.int32)
    counts, _ = jnp.histogram(inside, edges, weights=counted)
    return SlopeSummary(
        mean=mean(slope),
        rms=jnp.where(steps > 0, rms, jnp.nan),
        active=share(slope != 0),
        saturated=share(jnp.abs(slope) < SATURATED * pre.bound),
        counts=counts.astype(jnp.int32),
        edges=edges,
        name=pre.name,
        bound=pre.bound,
    )


def _near_one(small: Callable[[Array], Array]) -> Callable[[Array, Array], Array]:
    """log |φ′| for a φ whose φ′ − 1 = `small` is known without cancellation."""

    def rule(z: Array, slope: Array) -> Array:
        near = slope > 0.5
        rest = jnp.where(near, small(z), jnp.zeros_like(z))
        far = jnp.where(near, jnp.ones_like(slope), jnp.abs(slope))
        return jnp.where(near, jnp.log1p(rest), jnp.log(far))

    return rule


def _log_cosh(z: Array) -> Array:
    size = jnp.abs(z)
    far = size + jnp.log1p(jnp.exp(-2 * size)) - jnp.log(jnp.full_like(z, 2.0))
    near = jnp.log1p(2 * jnp.square(jnp.sinh(0.5 * jnp.minimum(size, 1.0))))
    return jnp.where(size < 1, near, far)


def _mish_rest(z: Array) -> Array:
    # at s = log(1 + eᶻ): 1 − tanh s = 2a and sech² s = 4a (1 − a)
    a = 1 / (1 + jnp.square(1 + jnp.exp(jnp.clip(z, -40.0, 40.0))))
    return 4 * z * a * (1 - a) * nn.sigmoid(z) - 2 * a


def _log_cosine(z: Array, slope: Array) -> Array:
    near = jnp.abs(slope) > 0.7
    one = jnp.ones_like(slope)
    around = 0.5 * jnp.log1p(-jnp.square(jnp.where(near, jnp.sin(z), 0 * one)))
    return jnp.where(near, around, jnp.log(jnp.where(near, one, jnp.abs(slope))))


_LOG_SLOPES: dict[str, Callable[[Array, Array], Array]] = {
    "sigmoid": lambda z, _: nn.log_sigmoid(z) + nn.log_sigmoid(-z),
    "tanh": lambda z, _: -2 * _log_cosh(z),
    "softplus": lambda z, _: nn.log_sigmoid(z),
    "softsign": lambda z, _: -2 * jnp.log1p(jnp.abs(z)),
    "sin": _log_cosine,
    "elu": lambda z, _: jnp.minimum(z, 0.0),
    # z σ(z) and z Φ(z) have φ′(z) + φ′(−z) = 1
    "silu": _near_one(lambda z: -silu.slope(-z)),
    "gelu": _near_one(lambda z: -gelu.slope(-z)),
    "mish": _near_one(_mish_rest),
}
