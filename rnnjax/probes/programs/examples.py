"""Which axis of a loop's arrays is that of the examples: found by dependence.

A cotangent of one example that is NaN makes NaN of all that depends on it. If only the
same example of the other arrays is touched, on every axis that was chosen, then the
loop's body treats examples apart, and each can have an exponent of its own.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from rnnjax.probes.programs.loop_walk import Axes, Ran, one_step, picked
from rnnjax.xla_options import ONCE


def find_axes(first: Ran, likely: int | None = None) -> Axes:
    """The axes of the examples in the arrays of a loop.

    Args:
        first: the loop, with the carry and the inputs of one step alone (no time axis).
        likely: the number of examples, if it is known.

    Returns:
        of size 1, with None everywhere, where examples are not treated apart.
    """
    carry, inputs = picked(first.before), picked(first.inputs)
    shapes = jax.eval_shape(
        one_step(first, first.before, first.inputs),
        picked(first.constants),
        carry,
        inputs,
    )
    outputs = shapes[1]
    nowhere = [(None,) * len(x) for x in (carry, outputs, inputs)]
    pull = _puller(first)
    for size in _sizes(carry, likely):
        of_carry = [x.shape.index(size) for x in carry]
        places = [_axes_of(x.shape, size) for x in outputs]
        if not all(places):
            continue
        of_outputs = [axes[0] for axes in places]
        whole = _random(1, carry), _random(2, outputs)
        found = of_carry, of_outputs
        known = pull(*whole)
        spoiled = pull(*(_spoil(x, axes) for x, axes in zip(whole, found, strict=True)))
        if not _apart(known[1], spoiled[1], of_carry):
            continue
        of_inputs = [
            next((a for a in _axes_of(x.shape, size) if _apart([k], [s], [a])), None)
            for x, k, s in zip(inputs, known[2], spoiled[2], strict=True)
        ]
        return Axes(size, tuple(of_carry), tuple(of_outputs), tuple(of_inputs))
    return Axes(1, *nowhere)


def _puller(first: Ran) -> Callable[[Any, Any], Any]:
    @functools.partial(jax.jit, compiler_options=dict(ONCE))
    def pull(carry: Any, outputs: Any) -> Any:
        step = one_step(first, first.before, first.inputs)
        given = picked(first.constants), picked(first.before), picked(first.inputs)
        return jax.vjp(step, *given)[1]((carry, outputs))

    return lambda carry, outputs: jax.device_get(pull(carry, outputs))


def _sizes(carry: Sequence[Any], likely: int | None) -> list[int]:
    """Sizes that an axis of every array of the carry has, the likely ones first."""
    common = set.intersection(*(set(x.shape) for x in carry)) - {0, 1}
    leading = [x.shape[0] for x in carry if x.ndim]
    order = [likely, *leading, *sorted(common)]
    return [n for n in dict.fromkeys(order) if n in common]


def _axes_of(shape: Sequence[int], size: int) -> list[int]:
    return [axis for axis, n in enumerate(shape) if n == size]


def _random(seed: int, like: Sequence[Any]) -> list[np.ndarray]:
    random = np.random.default_rng(seed)
    return [random.standard_normal(x.shape).astype(x.dtype) for x in like]


def _spoil(arrays: Sequence[np.ndarray], axes: Sequence[int]) -> list[np.ndarray]:
    """NaN in the first example."""
    spoiled = [x.copy() for x in arrays]
    for x, axis in zip(spoiled, axes, strict=True):
        np.moveaxis(x, axis, 0)[0] = np.nan
    return spoiled


def _apart(known: Any, spoiled: Any, axes: Sequence[int]) -> bool:
    """Whether all examples but the first are as they were."""
    rest = lambda x, axis: np.moveaxis(np.asarray(x), axis, 0)[1:]
    return all(
        np.allclose(rest(a, axis), rest(b, axis), rtol=1e-4, atol=0, equal_nan=False)
        for a, b, axis in zip(known, spoiled, axes, strict=True)
    )
