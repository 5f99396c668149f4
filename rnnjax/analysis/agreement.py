"""Check the probe against the model, and what its numbers may not mean.

The probe runs recurrences with a scan of its own and assembles the gradient from parts.
Loss and gradient have to agree with `jax.value_and_grad` of the unmodified model.
"""

from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rnnjax.errors import UserError
from rnnjax.probes.backward.trace import Trace
from rnnjax.recurrence.scaled import NO_EXPONENT


Untouched = Callable[[Any, Any], tuple[Any, Any]]
"""Maps parameters and inputs to the loss and its gradients: that with respect to the
parameters first, then any others."""

LOSS = "loss"

ROUNDINGS = 100.0
"""Differences up to this many times the effect of rounding every parameter are ignored.
"""

CAUSES = (
    "pointwise=True although steps or examples mix, a reversed RNN with seq_lengths "
    "whose padding is read, a backprop that is not exact, or answers that change from "
    "call to call"
)
"""What may make a Flax model and the probe disagree."""

TINY = 0.01
"""Largest share of the gradient that may bypass all recurrences without a warning."""


def check(
    loss: Any,
    gradient: Any,
    untouched: Untouched,
    params: Any,
    inputs: Any,
    dtype: Any,
    exploded: bool = False,
    causes: str = CAUSES,
) -> Any:
    """Compare, and return the gradient of the unmodified model.

    The gradient of each parameter has to agree to √ε of its norm. If it does not (a
    chaotic recurrence, terms that cancel), the model is run again with every parameter
    changed by one rounding, and differences of that order are accepted as well. A
    gradient that is not finite under plain autodiff is not compared, because the probe
    with its exponents has the larger range. Nor is a gradient that is NaN in the probe
    because the network exploded, for which autodiff may give zeros after a ReLU. Costs
    one ordinary gradient, or two.

    Args:
        loss, gradient: those of the probe.
        untouched: the unmodified model.
        params, inputs: its arguments.
        dtype: the floating type of lowest precision in the model; ε is its spacing at
            1.
        exploded: whether a state of the network is not finite.
        causes: what may make them differ, in words.

    Raises:
        UserError: they differ; the message names the loss or the parameter.
    """
    found = untouched(params, inputs)
    mine, known = _named(loss, gradient), _named(found[0], found[1][0])
    if exploded:
        mine = {k: np.where(np.isnan(x), known[k], x) for k, x in mine.items()}
    off = _beyond(mine, known, dtype)
    if off:
        other = untouched(_rounded(params, dtype), inputs)
        off = _beyond(mine, known, dtype, _named(other[0], other[1][0]))
    if off:
        name, ratio = max(
            off.items(), key=lambda item: np.nan_to_num(item[1], nan=np.inf)
        )
        raise UserError(
            f"the probe disagrees with the model, so nothing is reported: its "
            f"{name} is off by {100 * ratio:.2g} % from that of jax.grad on the model "
            f"itself (possible causes: {causes})"
        )
    return found[1]


def coarsest(*trees: Any) -> Any:
    """The floating type of lowest precision among all arrays."""
    dtypes = {jnp.result_type(x) for x in jax.tree.leaves(trees)}
    floating = [x for x in dtypes if jnp.issubdtype(x, jnp.inexact)]
    return max(floating, key=lambda dtype: float(jnp.finfo(dtype).eps))


def bypass(past: list[Any], total: list[Any]) -> float:
    """‖past‖ / (‖past‖ + ‖total − past‖) over all arrays; NaN if there are none."""
    if not past:
        return float("nan")
    pairs = [(_wide(a), _wide(b)) for a, b in zip(past, total, strict=True)]
    beside = np.linalg.norm([np.linalg.norm(a) for a, _ in pairs])
    through = np.linalg.norm([np.linalg.norm(b - a) for a, b in pairs])
    return float(beside / (beside + through)) if beside else 0.0


def doubts(lagged: Trace, seen: Trace, bypass: float, loops: bool) -> Iterator[str]:
    """One sentence for each warning.

    Args:
        lagged: the backward pass from the losses at the last valid steps.
        seen: the backward pass from the whole loss.
        bypass: see `bypass`.
        loops: whether the model loops over its steps outside of what is measured.
    """
    names = ", ".join(walk.name for walk in seen.walks)
    if loops:
        yield (
            f"the model loops over its {len(seen.valid)} steps outside of the "
            f"measured recurrences ({names}): a recurrence that is not detected "
            "(nn.scan, lax.scan, flax.nnx) is treated as part of the layers between "
            "them"
        )
    if bypass > TINY:
        yield (
            f"{100 * bypass:.2g} % of the gradient at the inputs bypasses every "
            f"measured recurrence ({names}): by a skip connection, or through a "
            "recurrence that is not detected (nn.scan, flax.nnx, a loop over a cell)"
        )
    silent = _without_adjoint(lagged) & ~_without_adjoint(seen)
    if silent.any():
        yield (
            f"in {silent.sum()} of {silent.size} examples the loss at the last valid "
            f"step reaches no measured recurrence ({names}), so all adjoints by lag "
            "are exactly zero there; if the loss masks the last steps itself, pass "
            "lengths"
        )


def _named(loss: Any, gradient: Any) -> dict[str, np.ndarray]:
    """Loss and gradients in float64, by name; integer parameters are left out."""
    leaves = jax.tree_util.tree_flatten_with_path(gradient)[0]
    named = {
        f"gradient of {jax.tree_util.keystr(path)}": _wide(x)
        for path, x in leaves
        if jnp.issubdtype(x.dtype, jnp.inexact)
    }
    return {LOSS: _wide(loss), **named}


def _wide(x: Any) -> np.ndarray:
    x = np.asarray(x)
    return x.astype(np.complex128 if np.iscomplexobj(x) else np.float64)


def _beyond(
    mine: dict[str, np.ndarray],
    known: dict[str, np.ndarray],
    dtype: Any,
    other: dict[str, np.ndarray] | None = None,
) -> dict[str, float]:
    """Names of differences larger than rounding, and their ratios to known values."""
    limit = jnp.finfo(dtype)
    eps, floor = float(limit.eps), float(limit.tiny) * (1 if limit.bits == 16 else 1e3)
    finite = {name: np.isfinite(x) for name, x in known.items()}
    whole = np.linalg.norm([np.linalg.norm(x[finite[k]]) for k, x in known.items()])
    off = {}
    for name, x in known.items():
        at = finite[name]
        size, gap = np.linalg.norm(x[at]), np.linalg.norm(mine[name][at] - x[at])
        if name == LOSS and np.isfinite(mine[name]) and not np.isfinite(x):
            gap = np.inf  # the model's loss is not finite, but the probe's is
        allowed = np.sqrt(eps) * size + 10 * eps * whole + floor
        if other is not None:
            spread = np.nan_to_num(other[name][at] - x[at], posinf=np.inf)
            allowed += ROUNDINGS * np.linalg.norm(spread)
        if not gap <= allowed:
            off[name] = float(gap / size) if size else np.inf
    return off


def _rounded(params: Any, dtype: Any) -> Any:
    """The parameters, with each entry changed by one spacing, up or down."""
    random, eps = np.random.default_rng(0), float(jnp.finfo(dtype).eps)

    def one(x: Any) -> Any:
        if not jnp.issubdtype(jnp.result_type(x), jnp.inexact):
            return x
        factor = 1 + eps * random.choice([-1.0, 1.0], np.shape(x))
        return x * jnp.asarray(factor, jnp.result_type(x))

    return jax.tree.map(one, params)


def _without_adjoint(trace: Trace) -> np.ndarray:
    """``(B,)``: whether every adjoint of the example is exactly zero."""
    exponents = [np.asarray(walk.adjoint.exponent) for walk in trace.walks]
    return np.all([np.all(x == NO_EXPONENT, axis=0) for x in exponents], axis=0)
