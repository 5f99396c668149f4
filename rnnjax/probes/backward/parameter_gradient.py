"""The gradient of a model's parameters, put together from what a walk back met."""

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
    """∂L/∂params, shaped as the parameters that the model was opened with.

    The sum of the contributions of all steps where a recurrence or an embedding uses a
    parameter, and ordinary autodiff of the segments for the rest. In plain numbers:
    what is below their range is 0. Costs one vector-Jacobian product of the segments.

    Args:
        passed: the pass forward.
        seen: its walk back.
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
    """What of the cotangents ``(T, B, m)`` at the inputs passes by every recurrence.

    With the outputs of all recurrences held fixed: of vector inputs, or else of what
    each embedding gave out; an empty list if the model has neither.
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
