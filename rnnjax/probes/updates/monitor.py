"""What happens to a parameter gradient: clipping, the optimizer, the update.

A parameter gradient says nothing about long paths, since the most recent steps dominate
it; it does determine how large a step training takes. The chain is gradient g → used
gradient (after clipping) → update Δθ (what the optimizer adds) → parameters θ, and
every quantity is given for each array and for all of them together.

`optax.monitor` is not used because it sees only one link of the chain at a time, so
that it cannot form a ratio of two, and because the structure of its state changes after
the first update, which a compiled loop does not allow.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float

from rnnjax.clipping import global_norm


@struct.dataclass
class PerArray:
    """A quantity of every parameter array, and of all of them together.

    Attributes:
        arrays: scalars in the structure of the parameters.
        joint: scalar.
    """

    arrays: Any
    joint: Float[Array, ""]


@struct.dataclass
class Updates:
    """All quantities of one update; norms are Euclidean, over the entries of an array.

    Attributes:
        gradient: ‖g‖ from the backward pass.
        used: ‖g‖ after clipping.
        clipped: share of the entries that clipping changed, in [0, 1]: all or none for
            clipping by global norm, anything in between for clipping by value.
        update: ‖Δθ‖.
        weight: ‖θ‖ before the update.
        ratio: ‖Δθ‖ / ‖θ‖, see `update_ratio`.
    """

    gradient: PerArray
    used: PerArray
    clipped: PerArray
    update: PerArray
    weight: PerArray
    ratio: PerArray


def monitor(gradient: Any, used: Any, updates: Any, params: Any) -> Updates:
    """All quantities of one update; pure, works under `jit`.

    Args:
        gradient: ∂L/∂θ, a pytree of real arrays.
        used: the same after clipping (`rnnjax.clipping.clip`).
        updates: Δθ, what the optimizer adds to the parameters.
        params: θ before the update.

    Costs a few passes over the parameters. A norm does not overflow unless an entry of
    its array does.
    """
    update, weight = norms(updates), norms(params)
    return Updates(
        gradient=norms(gradient),
        used=norms(used),
        clipped=_changed(gradient, used),
        update=update,
        weight=weight,
        ratio=jax.tree.map(_ratio, update, weight),
    )


def norms(tree: Any) -> PerArray:
    """Euclidean norm of every array and of all arrays jointly."""
    return PerArray(jax.tree.map(global_norm, tree), global_norm(tree))


def update_ratio(updates: Any, params: Any) -> Float[Array, ""]:
    """‖Δθ‖ / ‖θ‖ over all parameters: the relative length of a step.

    About 10⁻³ is a common rule of thumb for plain gradient descent. 0 if the update is
    zero, infinite if only the parameters are (a bias before its first update).
    """
    return _ratio(global_norm(updates), global_norm(params))


def _ratio(update: Array, weight: Array) -> Array:
    still = update == 0
    return jnp.where(still, 0.0, update / jnp.where(still, 1.0, weight))


def _changed(before: Any, after: Any) -> PerArray:
    """Share of entries that differ; NaN if an entry is NaN both before and after."""

    def count(a: Array, b: Array) -> Array:
        neither = jnp.isnan(a) & jnp.isnan(b)
        return jnp.sum(jnp.where(neither, jnp.nan, (a != b).astype(a.dtype)))

    counts = jax.tree.map(count, before, after)
    sizes = jax.tree.map(lambda a: a.size, before)
    total = jnp.sum(jnp.stack(jax.tree.leaves(counts)))
    joint = total / sum(jax.tree.leaves(sizes))
    return PerArray(jax.tree.map(lambda n, size: n / size, counts, sizes), joint)
