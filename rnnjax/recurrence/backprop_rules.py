"""How the adjoint is propagated back through a recurrence: exactly, or modified.

A network whose gradient vanishes may fail for another reason. To test whether the
gradient is the cause, it can be modified while the forward pass stays the same:

``exact``: ordinary back-propagation through time.

``cut``: no gradient passes from lag K to lag K + 1. With s = `lengths` − 1, the last
valid step of an example, the state after step s − K − 1 enters step s − K as a
constant (`stop_gradient`). For a loss at step s only, this is back-propagation
truncated after K steps (BPTT(K), Williams & Peng 1990): λ_t = 0 for t < s − K, and λ at
lag K itself is exact. With a loss at every step, it is a single cut in the sequence: no
path crosses it, while losses before the cut still reach the words before them. This
differs from truncating the gradient of every loss after its own K steps. The backward
direction is cut between the same two steps, and so is every layer: the half of a
bidirectional answer that is read at step 0 keeps the steps before the cut. The state
before the first step counts as step −1, at lag s + 1, so K ≥ T cuts nothing.

``renormalise``: in each step back, the adjoint of each example is rescaled to the norm,
over all state arrays, that it had before: λ_{t−1} = J_tᵀ λ_t · ‖λ_t‖ / ‖J_tᵀ λ_t‖. Its
size then neither vanishes nor explodes, and its direction is exact (that of the exact
adjoint if the loss is at a single step, in each layer separately). λ_t includes the
loss at step t. An adjoint that is exactly zero stays zero. The result is not the
gradient of any function.

``sham``: the control for `renormalise`. Up to step t that rule has multiplied the exact
adjoint of an example by a factor a_t (which grows towards the first step where the
gradient vanishes). Here the adjoint of step t is multiplied by a_π(t), with a random
permutation π of the valid steps that is drawn anew for each update: the same factors
act, but not on the steps that need them. The adjoints λ̃_t = a_π(t) λ_t include the loss
at step t. Factors above 2^`LARGEST` count as that. It costs a second reverse scan.

Cutting only redefines the gradient, so every engine supports it (`masking.entering`
makes the mask, `step.masked_step` applies it), and its derivatives are those of the
function with the constant. Renormalising and its control are rules of the reverse
scan: other engines do not support them, and second derivatives are not guaranteed.
"""

from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from rnnjax.errors import UserError, did_you_mean
from rnnjax.recurrence import scaled
from rnnjax.types import State


Backprop = Literal["exact", "cut", "renormalise", "sham"]

LARGEST = 60.0
"""log2 of the largest factor of `sham`, which float32 can hold and divide by."""

SHAM = "sham"
"""The random numbers of Flax from which the permutation is drawn."""


def check_backprop(rule: str, lag: Any, engine: str, remat: Any = None) -> None:
    """Raise a `UserError` unless rule, lag, engine and remat are compatible."""
    rules = get_args(Backprop)
    if rule not in rules:
        raise UserError(f"backprop={rule} is unknown; {did_you_mean(rule, rules)}")
    if (rule == "cut") != (lag is not None):
        needs = "needs a lag" if lag is None else "takes no lag; it belongs to cut"
        raise UserError(f"backprop={rule} {needs}")
    if rule in ("renormalise", SHAM) and engine != "scan":
        raise UserError(
            f"backprop={rule} works only in the reverse scan; use engine=scan"
        )
    if rule == SHAM and remat is not None:
        raise UserError(f"backprop=sham does not support remat={remat}")


def cut_before(
    steps: int, last: Int[Array, "B"], lag: Any, backwards: bool = False
) -> Bool[Array, "T B"]:
    """Mask that is True at the step which treats its previous state as a constant.

    Args:
        steps: T.
        last: last valid step s of each example.
        lag: K ≥ 0; may be traced.
        backwards: for the backward direction, which crosses the cut from the other
            side.

    Returns:
        ``(T, B)`` in the order of the input; False everywhere if nothing is cut.
    """
    place = last - jnp.asarray(lag, last.dtype) - (1 if backwards else 0)
    return jnp.arange(steps, dtype=last.dtype)[:, None] == place[None, :]


def renormalise(leaving: State, entering: State) -> tuple[State, Float[Array, "B"]]:
    """`leaving` rescaled to the norm of `entering`, per example over all arrays.

    Arrays are ``(B, n)``. Where `leaving` is exactly zero it stays zero. Both are first
    scaled near 1 by a power of two, so that norms do not overflow or underflow unless
    the arrays themselves do.

    Returns:
        the rescaled arrays, and log2 of the factor, 0 where `leaving` is zero.
    """
    small, reference = scaled.lift(leaving, 1), scaled.lift(entering, 1)
    squares = _squares(small.mantissa)
    moving = squares > 0
    ratio = _squares(reference.mantissa) / jnp.where(moving, squares, 1.0)
    factor = jnp.where(moving, jnp.sqrt(ratio), 0.0)

    def one(x: Array) -> Array:
        scale = jnp.reshape(factor, factor.shape + (1,) * (x.ndim - 1))
        return (x * scale).astype(x.dtype)

    mantissa = jax.tree.map(one, small.mantissa)
    apart = (reference.exponent - small.exponent).astype(factor.dtype)
    log2 = jnp.log2(jnp.where(factor > 0, factor, 1.0)) + apart
    return scaled.shift(mantissa, reference.exponent), jnp.where(factor > 0, log2, 0.0)


def shuffled_order(
    key: Any, steps: int, valid: Bool[Array, "T B"] | None
) -> Int[Array, "T B"] | Int[Array, "T 1"]:
    """A random permutation π of the steps, and of the valid ones among themselves."""
    draws = jax.random.uniform(key, (steps, 1))
    if valid is None:
        return jnp.argsort(draws, axis=0)
    places = jnp.argsort(jnp.where(valid, draws, 2.0), axis=0)  # the valid ones first
    rank = jnp.cumsum(valid, axis=0) - 1
    chosen = jnp.take_along_axis(places, jnp.maximum(rank, 0), axis=0)
    return jnp.where(valid, chosen, jnp.arange(steps)[:, None])


def sham_weights(
    log2_factors: Float[Array, "T B"],
    order: Int[Array, "T B"] | Int[Array, "T 1"],
) -> Float[Array, "T B"]:
    """a_π(t) / a_t, by which `sham` multiplies the renormalised adjoints."""
    bounded = jnp.clip(log2_factors, -LARGEST, LARGEST)
    order = jnp.broadcast_to(order, bounded.shape)
    return jnp.exp2(jnp.take_along_axis(bounded, order, axis=0) - bounded)


def _squares(tree: State) -> Array:
    """The sum of squares of each example over all arrays."""
    parts = [
        jnp.sum(jnp.square(jnp.abs(scaled.wide(x))), axis=tuple(range(1, x.ndim)))
        for x in jax.tree.leaves(tree)
    ]
    return sum(parts[1:], parts[0])
