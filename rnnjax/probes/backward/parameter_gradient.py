"""The parameter gradient of a model, reassembled from the probe's backward pass."""

from typing import Any

from flax import traverse_util
from jaxtyping import Array

from rnnjax.probes.backward.segments import INPUT, no_cotangent
from rnnjax.probes.backward.trace import Forward, Trace
from rnnjax.probes.backward.walk import Walk
from rnnjax.probes.contributions.to_kernels import Uses, gradient
from rnnjax.probes.contributions.to_other_parameters import gradients, parameter_of
from rnnjax.recurrence import scaled
from rnnjax.recurrence.scaled import Scaled


def parameter_gradient(passed: Forward, seen: Trace, d_answers: Any) -> Any:
    """∂L/∂params, in the structure of the parameters that the model was opened with.

    For parameters used by a recurrence or an embedding it is the sum of the
    contributions of all steps, for the others ordinary autodiff of the segments. The
    result is in plain floating point: what underflows is 0. Costs one vector-Jacobian
    product of the segments.

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
            held.append(_plain(gradient(Uses(found.table, (found.use,), found.name))))
    entered = [(_plain(x), _plain(start)) for x, start in seen.entered]
    return passed.segments.to_params(entered, held, d_answers)


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
    flat = {path: _plain(part) for path, part in found.items()}
    return traverse_util.unflatten_dict(flat, sep="/")


def _plain(value: Scaled) -> Any:
    return scaled.shift(value.mantissa, value.exponent)
