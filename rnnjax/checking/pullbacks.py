"""Gradients of random projections, and what rounding explains of a difference.

The gradient of Σ_i ⟨c_i, output_i⟩ for random c_i sees every output; with c_i zero but
at one step it sees how the gradient depends on the lag. `cotangents` makes five such
projections. The truth is the reference in double precision. How far a right kernel may
be from it is measured, not chosen: the reference is computed once in the precision of
the kernel, and `DRAWS` times in double precision from arguments that were changed by
one rounding error each.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from rnnjax.checking.arguments import Layout, Maker, inexact_leaves, leaves_of
from rnnjax.checking.numbers import quick_jit, wide


DRAWS = 8
"""Number of times that the arguments are perturbed by rounding errors."""

MARGIN = 32.0
"""A difference counts if it exceeds the largest measured one so many times: an
operation within a step rounds as its arguments do, and a step has some ten of them."""

ALL, FINAL, SEQUENCE, LAST, MIDDLE = range(5)
"""The projections: of all outputs, of the final state, of the outputs of all steps, of
the last step, and of the middle one."""


@dataclasses.dataclass(frozen=True)
class Pulled:
    """Results and gradients of the projections, as float64 or complex128 arrays.

    Attributes:
        outputs: results that can be differentiated.
        gradients: for each moving leaf, of every projection ``(5, …)``.
    """

    outputs: list[np.ndarray]
    gradients: list[np.ndarray]


@dataclasses.dataclass(frozen=True)
class Measured:
    """A kernel and its reference at one number of steps.

    Attributes:
        steps: the number of steps T.
        kernel: of the kernel, in the precision of its arguments.
        truth: of the reference, in double precision.
        noise: differences to the truth that rounding explains, with a leading axis of
            draws.
        epsilon: the rounding error of the least precise argument.
    """

    steps: int
    kernel: Pulled
    truth: Pulled
    noise: Pulled
    epsilon: float


class Pair:
    """A kernel and its reference, with the arguments for them.

    Args:
        kernel, reference: functions of the same arguments, with the same results.
        make: the maker of arguments.
        at: the layout of arguments and results.
    """

    def __init__(
        self,
        kernel: Callable[..., Any],
        reference: Callable[..., Any],
        make: Maker,
        at: Layout,
    ) -> None:
        self.kernel, self.reference, self.make, self.at = kernel, reference, make, at

    def arguments(self, steps: int, seed: int = 0) -> list[Any]:
        """The leaves of the arguments at a length."""
        return leaves_of(self.make, seed, steps)[0]

    def measure(
        self, steps: int, change: Callable[[list[Any]], list[Any]] | None = None
    ) -> Measured:
        """Measure both at a length, with arguments that `change` may have altered."""
        leaves = self.arguments(steps)
        leaves = leaves if change is None else change(leaves)
        return measure(self.kernel, self.reference, self.at, leaves, steps)


def measure(
    kernel: Callable[..., Any],
    reference: Callable[..., Any],
    at: Layout,
    leaves: list[Any],
    steps: int,
) -> Measured:
    """The projections' gradients of both, and the noise of the truth."""
    moving = [leaves[i] for i in at.moving]
    epsilon = max(float(jnp.finfo(x.dtype).eps) for x in moving)
    shapes = jax.eval_shape(of_moving(kernel, at, leaves), *moving)
    cots = cotangents(shapes, at, steps)
    found = _narrow(pull(of_moving(kernel, at, leaves), [moving], cots), 0)
    same = _narrow(pull(of_moving(reference, at, leaves), [moving], cots), 0)
    with jax.enable_x64(True):
        exact = [wide(x) for x in moving]
        near = [perturbed(exact, epsilon, draw) for draw in range(DRAWS)]
        up = [wide(c) for c in cots]
        every = pull(of_moving(reference, at, leaves), [exact, *near], up)
    truth = _narrow(every, 0)
    noise = Pulled(
        *(
            [
                np.concatenate([a[1:] - a[:1], (b - a[0])[None]])
                for a, b in zip(getattr(every, name), getattr(same, name), strict=True)
            ]
            for name in ("outputs", "gradients")
        )
    )
    return Measured(steps, found, truth, noise, epsilon)


def pull(
    function: Callable[..., Any], points: Sequence[list[Any]], cots: list[Any]
) -> Pulled:
    """Results and gradients at several points, compiled once."""

    @quick_jit
    def at_all(points: list[Any], cots: list[Any]) -> Any:
        def at(point: list[Any]) -> Any:
            outputs, back = jax.vjp(function, *point)
            return outputs, lax.map(lambda c: back(tuple(c)), cots)

        return lax.map(at, points)

    stacked = [jnp.stack(x) for x in zip(*points, strict=True)]
    outputs, gradients = jax.device_get(at_all(stacked, [jnp.asarray(c) for c in cots]))
    return Pulled([wide(x) for x in outputs], [wide(x) for x in gradients])


def cotangents(shapes: Sequence[Any], at: Layout, steps: int) -> list[np.ndarray]:
    """Random cotangents of every output for the five projections, ``(5, …)``."""
    found = []
    for number, (shape, time) in enumerate(zip(shapes, at.outputs, strict=True)):
        random = np.random.default_rng([number, steps])
        full = random.standard_normal(shape.shape)
        if jnp.issubdtype(shape.dtype, jnp.complexfloating):
            full = full + 1j * random.standard_normal(shape.shape)
        zero = np.zeros_like(full)
        if time is None:
            rows = [full, full, zero, zero, zero]
        else:
            rows = [full, zero, full]
            for step in (steps - 1, steps // 2):
                one = zero.copy()
                place = (slice(None),) * time + (step,)
                one[place] = full[place]
                rows.append(one)
        found.append(np.asarray(jnp.asarray(np.stack(rows)).astype(shape.dtype)))
    return found


def of_moving(
    function: Callable[..., Any], at: Layout, leaves: list[Any]
) -> Callable[..., Any]:
    """`function` of its moving leaves, with the other ones held; a tuple of results."""

    def of(*moving: Any) -> tuple[Any, ...]:
        filled = list(leaves)
        for place, x in zip(at.moving, moving, strict=True):
            filled[place] = x
        return tuple(inexact_leaves(function(*jax.tree.unflatten(at.tree, filled))))

    return of


def perturbed(leaves: list[np.ndarray], epsilon: float, draw: int) -> list[np.ndarray]:
    """Every number times 1 + u, with u uniform in ±epsilon."""
    random = np.random.default_rng([draw, 10**6])
    return [x * (1 + epsilon * random.uniform(-1, 1, x.shape)) for x in leaves]


def _narrow(pulled: Pulled, point: int) -> Pulled:
    return Pulled(
        [x[point] for x in pulled.outputs], [x[point] for x in pulled.gradients]
    )
