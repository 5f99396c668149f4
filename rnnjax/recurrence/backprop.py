"""How the adjoint goes back through a recurrence: as it is, or changed on purpose.

A network that fails where its gradient vanishes need not fail because of that. To test
it, the gradient is changed and the forward pass is left alone:

``exact``: ordinary back-propagation through time.

``cut``: no gradient passes from lag K to lag K + 1. With s = `lengths` − 1, the last
valid step of an example, the state after step s − K − 1 enters step s − K as a
constant (`stop_gradient`). For a loss at step s alone this is back-propagation
truncated after K steps (BPTT(K), Williams & Peng 1990): λ_t = 0 for t < s − K, and λ at
lag K itself is exact. With a loss at every step it is one cut in the sequence: paths
from either side of it to the other are gone, and losses before it still reach the words
before them; this differs from truncating every loss after K steps of its own. A walk
from the end is cut between the same two steps, and every layer there too: the half of a
bidirectional answer that is read at step 0 keeps the steps before the cut. The state
before the first step counts as step −1, at lag s + 1: K ≥ T cuts nothing.

``renormalise``: the adjoint that leaves a step keeps, for each example, the norm over
all state arrays that it had there: λ_{t−1} = J_tᵀ λ_t · ‖λ_t‖ / ‖J_tᵀ λ_t‖. Its size no
longer vanishes or explodes; its direction is the exact one (of the exact adjoint where
the loss lies at one step, and layer by layer). λ_t includes the loss at step t. An
adjoint that is exactly zero stays zero. The result is the gradient of no function.

Cutting only changes which gradient is meant, so that every engine gives it and its
derivatives are those of the function with the constant. Renormalising is a rule of the
reverse scan: other engines refuse it, and second derivatives are not promised.
"""

from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int

from rnnjax.errors import UserError, did_you_mean
from rnnjax.recurrence import scaled
from rnnjax.types import State


Backprop = Literal["exact", "cut", "renormalise"]


def check_backprop(rule: str, lag: Any, engine: str) -> None:
    """Raise a `UserError` unless the rule is known, has its lag, and the engine it."""
    rules = get_args(Backprop)
    if rule not in rules:
        raise UserError(f"backprop={rule} is unknown; {did_you_mean(rule, rules)}")
    if (rule == "cut") != (lag is not None):
        needs = "needs a lag" if lag is None else "takes no lag; it belongs to cut"
        raise UserError(f"backprop={rule} {needs}")
    if rule == "renormalise" and engine != "scan":
        raise UserError(
            "backprop=renormalise is a rule of the reverse scan; use engine=scan"
        )


def cut_before(
    steps: int, last: Int[Array, "B"], lag: Any, backwards: bool = False
) -> Bool[Array, "T B"]:
    """True at the step that takes the state before it as a constant, if there is one.

    Args:
        steps: T.
        last: last valid step s of each example.
        lag: K ≥ 0, may be traced.
        backwards: of a walk from the end, which enters the cut from its other side.

    In the order of the input.
    """
    place = last - jnp.asarray(lag, last.dtype) - (1 if backwards else 0)
    return jnp.arange(steps, dtype=last.dtype)[:, None] == place[None, :]


def renormalise(leaving: State, entering: State) -> State:
    """`leaving` with the norm of `entering`, per example over all arrays ``(B, n)``.

    Where `leaving` is exactly zero it stays so. Both are brought near 1 by a power of
    two first: a norm is right wherever the arrays themselves are.
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
    return scaled.shift(mantissa, reference.exponent)


def _squares(tree: State) -> Array:
    """The sum of squares of each example over all arrays."""
    parts = [
        jnp.sum(jnp.square(jnp.abs(scaled.wide(x))), axis=tuple(range(1, x.ndim)))
        for x in jax.tree.leaves(tree)
    ]
    return sum(parts[1:], parts[0])
