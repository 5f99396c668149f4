"""Cross-entropy in terms of the margin: same loss, but no cancellation in its gradient.

The gradient of the cross-entropy with respect to the logits is p − y. Once an example
is solved, p_y is 1 up to rounding: p_y − 1 loses its digits one after the other and is
exactly 0 for margins above 17 nats. In terms of the margin of the target y,

    m = z_y − ln Σ_{j≠y} exp z_j,    ℓ = ln(1 + exp(−m)),    dℓ/dm = −σ(−m),

nothing cancels: σ(−m) keeps all its digits down to 10⁻³⁸. Since dℓ/dm is a single
number per example, the adjoints of ℓ and of m differ only by this factor, which is the
same at all lags.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from rnnjax.models.objective import compared
from rnnjax.tasks.base import TaskSpec


def by_margin(spec: TaskSpec, answers: Array, targets: Array) -> tuple[Array, Array]:
    """Loss and metric as defined by `rnnjax.models.objective.compared`."""
    losses, scores = compared(spec, answers, targets)
    if spec.loss == "cross_entropy":
        # where a logit is not finite, keep the ordinary loss and its gradient
        known = jnp.all(jnp.isfinite(answers), axis=-1)
        finite = jnp.where(known[..., None], answers, jnp.zeros_like(answers))
        losses = jnp.where(known, jax.nn.softplus(-margin(finite, targets)), losses)
    return losses, scores


def margin(logits: Float[Array, "*a q"], targets: Array) -> Float[Array, "*a"]:
    """z_y − ln Σ_{j≠y} exp z_j, the log odds of the target.

    >>> float(margin(jnp.array([3.0, 1.0]), jnp.array(0)))
    2.0
    """
    own = jax.nn.one_hot(targets, logits.shape[-1], dtype=bool)
    others = jnp.where(own, -jnp.inf, logits)
    mine = jnp.sum(jnp.where(own, logits, 0.0), axis=-1)
    return mine - jax.nn.logsumexp(others, axis=-1)
