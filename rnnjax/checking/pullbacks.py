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
from rnnjax.checking.numbers import doubled_callbacks, perturbed, quick_jit, wide
from rnnjax.errors import UserError, one_line


DRAWS = 8
"""Number of times that the arguments are perturbed by rounding errors."""

NUMERICAL_DRAWS = 2
"""The same where the reference is slow, as finite differences are."""

NUMERICAL_EPSILON = 1e-9
"""The least rounding error there: finite differences have one of their own."""

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

    def map(self, function: Callable[..., Any], *others: "Pulled") -> "Pulled":
        """The same function of every array, and of those of others."""
        each = [(x.outputs, x.gradients) for x in (self, *others)]
        return Pulled(*(list(map(function, *part)) for part in zip(*each, strict=True)))


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


class KernelFails(Exception):
    """A kernel cannot be run or differentiated; in one line."""


class Pair:
    """A kernel and its reference, with the arguments for them.

    Args:
        kernel, reference: functions of the same arguments, with the same results.
        make: the maker of arguments.
        at: the layout of arguments and results.
        numerical: the reference's gradients are finite differences, which are
            meaningful in double precision only.
    """

    def __init__(
        self,
        kernel: Callable[..., Any],
        reference: Callable[..., Any],
        make: Maker,
        at: Layout,
        *,
        numerical: bool = False,
    ) -> None:
        self.kernel, self.reference, self.make, self.at = kernel, reference, make, at
        self.numerical = numerical

    def arguments(self, steps: int, seed: int = 0) -> list[Any]:
        """The leaves of the arguments at a length."""
        return leaves_of(self.make, seed, steps)[0]

    def measure(
        self,
        steps: int,
        change: Callable[[list[Any]], list[Any]] | None = None,
        kernel: Callable[..., Any] | None = None,
    ) -> Measured:
        """The projections' gradients of both at a length, and the noise of the truth.

        Args:
            steps: the number of steps.
            change: what is done to the leaves of the arguments before.
            kernel: another form of the kernel.

        Raises:
            KernelFails: the kernel raises an error.
            UserError: the reference does.
        """
        at, leaves = self.at, self.arguments(steps)
        leaves = leaves if change is None else change(leaves)
        moving = [leaves[i] for i in at.moving]
        epsilon = max(float(jnp.finfo(x.dtype).eps) for x in moving)
        if self.numerical:
            epsilon = max(epsilon, NUMERICAL_EPSILON)
        tested = of_moving(kernel or self.kernel, at, leaves)
        plain = of_moving(self.reference, at, leaves)
        try:
            cots = cotangents(jax.eval_shape(tested, *moving), at, steps)
            found = _narrow(pull(tested, [moving], cots), 0)
        except Exception as error:
            raise KernelFails(one_line(error)) from error
        try:
            truth, noise = self._truth(plain, moving, cots, epsilon)
        except Exception as error:
            raise UserError(
                f"the reference fails at T = {steps}: {one_line(error)}"
            ) from error
        return Measured(steps, found, truth, noise, epsilon)

    def _truth(
        self,
        plain: Callable[..., Any],
        moving: list[Any],
        cots: list[Any],
        epsilon: float,
    ) -> tuple[Pulled, Pulled]:
        """The reference in double precision, and what rounding changes of it."""
        with doubled_callbacks() if self.numerical else jax.enable_x64(True):
            exact = [wide(x) for x in moving]
            draws = range(NUMERICAL_DRAWS if self.numerical else DRAWS)
            near = [perturbed(exact, epsilon, draw) for draw in draws]
            every = pull(plain, [exact, *near], [wide(c) for c in cots])
        truth, noise = _narrow(every, 0), every.map(lambda x: x[1:] - x[:1])
        if self.numerical:
            return truth, noise
        same = _narrow(pull(plain, [moving], cots), 0)
        apart = lambda n, a, b: np.concatenate([n, (a - b)[None]])
        return truth, noise.map(apart, same, truth)


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


def _narrow(pulled: Pulled, point: int) -> Pulled:
    return pulled.map(lambda x: x[point])
