"""Finite differences as the reference, where JAX cannot differentiate the values.

A kernel of Pallas or a foreign function has no form that JAX can differentiate, and a
function without a rule of its own has no second one. Its values in double precision
are then the only truth: every number of the arguments is moved a little.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from rnnjax.checking.arguments import inexact_leaves, is_inexact
from rnnjax.checking.numbers import doubled_callbacks, perturbed, wide
from rnnjax.errors import UserError, one_line


STEP = 1e-5
"""How far a number is moved to both sides; rounding costs some 1e-11 of a value."""

TINY = 3e-7
"""A relative change of all numbers: linear in double precision, and not in single."""


def numerical(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function with a gradient by central differences, number by number.

    It takes two evaluations for each number of the arguments, one after another, so
    that functions that `jax.vmap` cannot batch are allowed.
    """

    @functools.wraps(function)
    def of(*arguments: Any) -> Any:
        leaves, tree = jax.tree.flatten(arguments)
        moving = [i for i, x in enumerate(leaves) if is_inexact(x)]

        def at(*moved: Any) -> Any:
            filled = dict(enumerate(leaves)) | dict(zip(moving, moved, strict=True))
            return function(*jax.tree.unflatten(tree, [*filled.values()]))

        return _differentiated(at)(*(leaves[i] for i in moving))

    return of


def _differentiated(function: Callable[..., Any]) -> Callable[..., Any]:
    @jax.custom_vjp
    def of(*moving: Any) -> Any:
        return function(*moving)

    def forward(*moving: Any) -> Any:
        jacobians = [_jacobian(function, moving, place) for place in range(len(moving))]
        return function(*moving), (moving, jacobians)

    def backward(kept: Any, cotangent: Any) -> Any:
        return tuple(
            _pulled(jacobian, inexact_leaves(cotangent), x)
            for x, jacobian in zip(*kept, strict=True)
        )

    of.defvjp(forward, backward)
    return of


def _jacobian(function: Callable[..., Any], moving: Sequence[Any], place: int) -> Any:
    """∂results/∂x for every number of one argument, as its first axis.

    Of a complex argument: with respect to the real part, and to the imaginary one.
    """
    x = moving[place]

    def along(number: Any, unit: complex) -> list[Any]:
        def moved(h: Any) -> list[Any]:
            changed = x.ravel().at[number].add(h * unit).reshape(x.shape)
            given = [changed if i == place else one for i, one in enumerate(moving)]
            return inexact_leaves(function(*given))

        pairs = zip(moved(STEP), moved(-STEP), strict=True)
        return [(a - b) / (2 * STEP) for a, b in pairs]

    units = (1, 1j) if jnp.iscomplexobj(x) else (1,)
    numbers = jnp.arange(x.size)
    return [lax.map(lambda k, u=u: along(k, u), numbers) for u in units]


def _pulled(jacobian: Any, cotangent: Sequence[Any], x: Any) -> Any:
    """The cotangent of x: ∂L/∂Re x − i ∂L/∂Im x, as JAX defines it."""

    def slope(parts: Sequence[Any]) -> Any:
        pairs = zip(parts, cotangent, strict=True)
        each = [jnp.real(jnp.tensordot(d, c, axes=c.ndim)) for d, c in pairs]
        return sum(each)

    real, *imaginary = (slope(parts) for parts in jacobian)
    found = real - 1j * imaginary[0] if imaginary else real
    return jnp.reshape(found, x.shape).astype(x.dtype)


def refuse_if_rounded(function: Callable[..., Any], arguments: Sequence[Any]) -> None:
    """Refuse a function that does not compute in double precision when asked to.

    Raises:
        UserError: twice as small a change does not change its values twice as much.
    """
    leaves, tree = jax.tree.flatten(tuple(arguments))

    def moved(by: float) -> list[Any]:
        point = perturbed([wide(x) for x in leaves if is_inexact(x)], by, 0)
        rest = iter(point)
        given = [next(rest) if is_inexact(x) else x for x in leaves]
        found = jax.device_get(function(*jax.tree.unflatten(tree, given)))
        return [np.ravel(wide(y)) for y in inexact_leaves(found)]

    try:
        with doubled_callbacks():
            here, once, twice = (
                np.concatenate(moved(by)) for by in (0.0, TINY, 2 * TINY)
            )
    except Exception as error:
        raise UserError(
            f"it cannot be computed in double precision: {one_line(error)}; give a "
            "--reference"
        ) from error
    change = np.linalg.norm(once - here)
    if np.linalg.norm(twice - 2 * once + here) > 1e-3 * change:
        raise UserError(
            "its values are not smooth in double precision (it rounds within, or "
            "jumps), so finite differences of them say nothing; give a --reference"
        )
