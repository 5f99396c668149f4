"""The parameter gradient of a model, reassembled from the probe's backward pass."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util
from jaxtyping import Array

from rnnjax.probes.backward.bands import through_bands
from rnnjax.probes.backward.parameter_sources import path_of
from rnnjax.probes.backward.segments import INPUT, no_cotangent
from rnnjax.probes.backward.trace import Forward, Trace
from rnnjax.probes.backward.walk import Walk
from rnnjax.probes.contributions.to_kernels import Uses, gradient
from rnnjax.probes.contributions.to_other_parameters import gradients, parameter_of
from rnnjax.recurrence import scaled
from rnnjax.recurrence.scaled import Scaled


def parameter_gradient(passed: Forward, seen: Trace, d_answers: Any) -> Any:
    """∂L/∂params as `scaled_gradient`, in plain floating point."""
    return plain(scaled_gradient(passed, seen, d_answers))


def plain(found: Any) -> Any:
    """A `scaled_gradient` in plain floating point, where what underflows is 0."""
    return jax.tree.map(_plain, found, is_leaf=_is_scaled)


def log10_gradients(found: Any) -> dict[str, Array]:
    """log10 of the norm of each array of a `scaled_gradient`, by its path."""
    leaves = jax.tree_util.tree_flatten_with_path(found, is_leaf=_is_scaled)[0]
    return {
        path_of(keys): scaled.log10_norm(leaf)
        for keys, leaf in leaves
        if _is_scaled(leaf)
    }


def scaled_gradient(passed: Forward, seen: Trace, d_answers: Any) -> Any:
    """∂L/∂params, in the structure of the parameters that the model was opened with.

    For parameters used by a recurrence or an embedding it is the sum of the
    contributions of all steps, for the others autodiff of the segments, band by band of
    the exponents. Each array is a `Scaled` with one exponent; arrays of integers have
    an ordinary gradient of type float0. Costs one vector-Jacobian product of the
    segments for each band.

    Args:
        passed: the forward pass.
        seen: the backward pass from it.
        d_answers: cotangent of the answers, for the same loss.
    """
    walks, lookups = iter(seen.walks), iter(seen.lookups)
    held = []
    for site in passed.segments.sites:
        if site.walked is not None:
            held.append(_of_cell(next(walks)))
        elif site.name != INPUT:
            found = next(lookups)
            held.append(gradient(Uses(found.table, (found.use,), found.name)))
    cotangents = [list(seen.entered), held, d_answers]
    leaves, tree = jax.tree.flatten(cotangents, is_leaf=_is_scaled)
    at = [i for i, x in enumerate(leaves) if _is_scaled(x) or _is_float(x)]
    parts = [
        x if _is_scaled(x) else scaled.lift(x, 0) for x in map(leaves.__getitem__, at)
    ]
    shapes, form = jax.tree.flatten(passed.segments.params)
    floats = [i for i, x in enumerate(shapes) if _is_float(x)]

    def pull(mantissas: list[Any]) -> list[Any]:
        filled = list(leaves)
        for place, x in zip(at, mantissas, strict=True):
            filled[place] = x
        entered, own, answers = jax.tree.unflatten(tree, filled)
        back = jax.tree.leaves(passed.segments.to_params(entered, own, answers))
        return [back[i] for i in floats]

    nothing = jnp.asarray(scaled.NO_EXPONENT, jnp.int32)
    empty = [Scaled(jnp.zeros_like(shapes[i]), nothing) for i in floats]
    sums = through_bands(pull, parts, empty)
    result: list[Any] = [np.zeros(jnp.shape(x), jax.dtypes.float0) for x in shapes]
    for place, total in zip(floats, sums, strict=True):
        result[place] = total
    return jax.tree.unflatten(form, result)


def past_recurrences(passed: Forward, d_answers: Any) -> list[Array]:
    """The part of the input cotangents ``(T, B, m)`` that bypasses every recurrence.

    It is the cotangent with the outputs of all recurrences held fixed: that of the
    vector inputs, or else of the output of each embedding; an empty list if the model
    has neither.
    """
    segments = passed.segments
    leaves = segments.pull(no_cotangent(segments.entered), d_answers)
    sites = zip(segments.sites, leaves, strict=True)
    return [leaf for site, leaf in sites if site.walked is None]


def _of_cell(walk: Walk) -> Any:
    """The gradient of a cell's parameters."""
    found = gradients(walk)
    for name, weight in walk.kernels.items():
        path = parameter_of(walk, name)
        if path is not None:
            uses = tuple(use for use in walk.uses if use.kernel == name)
            found[path] = gradient(Uses(weight, uses, name))
    return traverse_util.unflatten_dict(found, sep="/")


def _plain(value: Any) -> Any:
    if not _is_scaled(value):
        return value
    return scaled.shift(value.mantissa, value.exponent)


def _is_scaled(x: Any) -> bool:
    return isinstance(x, Scaled)


def _is_float(x: Any) -> bool:
    return jnp.issubdtype(jnp.result_type(x), jnp.inexact)
