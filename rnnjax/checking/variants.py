"""Other ways to compute the same gradients, which must agree."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rnnjax.checking.arguments import Layout, inexact_leaves
from rnnjax.checking.comparison import difference, gradients, outputs, worst
from rnnjax.checking.numbers import perturbed, wide
from rnnjax.checking.pullbacks import MARGIN, KernelFails, Pair, of_moving
from rnnjax.checking.rows import Row
from rnnjax.errors import one_line


def cut_in_two(pair: Pair, steps: int) -> list[Row]:
    """The sequence in two calls, the second of which begins with the first one's state.

    Values and gradients must be those of the reference in one call.
    """
    at, place = pair.at, steps // 2

    def twice(*arguments: Any) -> Any:
        leaves = jax.tree.leaves(arguments)
        one = pair.kernel(*jax.tree.unflatten(at.tree, _part(leaves, at, 0, place)))
        handed = _finals(one, at)
        rest = _part(leaves, at, place, steps)
        for index, state in zip(at.state, handed, strict=True):
            rest[at.moving[index]] = state
        two = pair.kernel(*jax.tree.unflatten(at.tree, rest))
        return _joined(one, two, at)

    try:
        found = pair.measure(steps, kernel=twice)
    except KernelFails as error:
        name = f"two calls, of {place} and {steps - place} steps"
        return [Row("state", name, "failed", str(error))]
    rows = []
    for name, each in (("values", outputs(found)), ("gradients", gradients(found, at))):
        wrong = [x for x in each if x.wrong]
        text, hint = worst(each), ""
        if wrong:
            names = ", ".join(x.name for x in wrong)
            text += f"; wrong: {names}"
            hint = (
                f"a call over {steps} steps and two over {place} and {steps - place} "
                "must agree: look at how the initial state and the cotangent of the "
                "final one are used"
            )
        verdict = "failed" if wrong else "passed"
        rows.append(Row("state", f"{name} of two calls", verdict, text, hint))
    return rows


def _part(leaves: list[Any], at: Layout, start: int, stop: int) -> list[Any]:
    """The steps from `start` to `stop` of every leaf with a time axis."""
    times = dict(zip(at.moving, at.times, strict=True)) | at.flags
    cut = []
    for place, x in enumerate(leaves):
        time = times.get(place)
        if time is None:
            cut.append(x)
        else:
            cut.append(jax.lax.slice_in_dim(jnp.asarray(x), start, stop, axis=time))
    return cut


def _finals(results: Any, at: Layout) -> list[Any]:
    pairs = zip(inexact_leaves(results), at.outputs, strict=True)
    return [x for x, time in pairs if time is None]


def _joined(one: Any, two: Any, at: Layout) -> list[Any]:
    first, second = map(inexact_leaves, (one, two))
    return [
        b if t is None else jnp.concatenate([a, b], axis=t)
        for a, b, t in zip(first, second, at.outputs, strict=True)
    ]


def second_order(pair: Pair, steps: int) -> Row:
    """The gradient of ⟨gradient, v⟩ for a random v, of all arguments."""
    name = f"gradient of the gradient, T = {steps}"
    if pair.numerical:
        found = "not examined: it takes a reference that JAX can differentiate"
        return Row("second", name, "note", found)
    leaves = pair.arguments(steps)
    at = pair.at

    def gradient_along(function: Callable[..., Any]) -> Callable[..., Any]:
        def along(*moving: Any) -> Any:
            total = lambda *x: _projection(function, at, leaves, x)
            first = jax.grad(total, tuple(range(len(moving))))(*moving)
            parts = [
                jnp.sum(jnp.real(g * _direction(i, g))) for i, g in enumerate(first)
            ]
            return sum(parts)

        return jax.jit(jax.grad(along, tuple(range(len(at.moving)))))

    moving = [leaves[i] for i in at.moving]
    try:
        found = gradient_along(pair.kernel)(*moving)
        same = gradient_along(pair.reference)(*moving)
    except Exception as error:
        return Row("second", name, "note", f"not possible: {one_line(error)}")
    epsilon = max(float(jnp.finfo(x.dtype).eps) for x in moving)
    with jax.enable_x64(True):
        truth_of = gradient_along(pair.reference)
        exact = [wide(x) for x in moving]
        truth = [wide(x) for x in truth_of(*exact)]
        near = [
            [wide(x) for x in truth_of(*perturbed(exact, epsilon, draw))]
            for draw in range(4)
        ]
    each = []
    for i, leaf in enumerate(at.names):
        noise = [one[i] - truth[i] for one in near] + [wide(same[i]) - truth[i]]
        one = difference(leaf, wide(found[i]), truth[i], np.stack(noise), epsilon)
        each.append(one)
    wrong = [x.name for x in each if x.wrong]
    text = worst(each)
    if not wrong:
        return Row("second", name, "passed", text)
    hint = "differentiate the backward pass itself: is part of it held constant?"
    return Row("second", name, "failed", f"{text}; wrong: {', '.join(wrong)}", hint)


def _projection(
    function: Callable[..., Any], at: Layout, leaves: list[Any], moving: Any
) -> Any:
    results = of_moving(function, at, leaves)(*moving)
    parts = [jnp.sum(jnp.real(x * _direction(9 + i, x))) for i, x in enumerate(results)]
    return sum(parts)


def _direction(number: int, like: Any) -> Any:
    """Random numbers that depend on nothing but the shape."""
    random = np.random.default_rng([number, 77])
    values = random.standard_normal(like.shape)
    if jnp.issubdtype(like.dtype, jnp.complexfloating):
        values = values + 1j * random.standard_normal(like.shape)
    # float32 numbers, so that both precisions see the same direction
    return jnp.asarray(
        values.astype(np.complex64 if np.iscomplexobj(values) else np.float32)
    ).astype(like.dtype)


STEP = 1e-5
"""Step of the finite differences, in double precision."""


def finite_difference(pair: Pair, steps: int) -> Row:
    """Autodiff of the reference beside finite differences, along random directions."""
    if pair.numerical:
        found = "finite differences of the function's own values in double precision"
        return Row("reference", "none given", "note", found)
    at, leaves = pair.at, pair.arguments(steps)
    with jax.enable_x64(True):
        exact = [jnp.asarray(wide(leaves[i])) for i in at.moving]
        total = jax.jit(lambda *x: _projection(pair.reference, at, leaves, x))
        slopes = jax.grad(total, tuple(range(len(exact))))(*exact)
        errors = []
        for i, name in enumerate(at.names):
            v = jnp.asarray(wide(_direction(50 + i, exact[i])))
            moved = lambda h, i=i, v=v: total(
                *(x + h * v if j == i else x for j, x in enumerate(exact))
            )
            near = (moved(STEP) - moved(-STEP)) / (2 * STEP)
            far = (moved(2 * STEP) - moved(-2 * STEP)) / (4 * STEP)
            expected = (4 * near - far) / 3
            found = jnp.sum(jnp.real(slopes[i] * v))
            scale = jnp.linalg.norm(jnp.ravel(slopes[i])) * jnp.linalg.norm(
                jnp.ravel(v)
            )
            # two steps disagree where the reference computes in a lower precision
            rounding = abs(total(*exact)) * 1e-15 / STEP + abs(near - far)
            errors.append(
                (
                    float(abs(found - expected) / jnp.maximum(scale, 1e-300)),
                    name,
                    float(rounding / jnp.maximum(scale, 1e-300)),
                )
            )
    error, name, noise = max(errors)
    bound = 1e-7 + MARGIN * noise
    text = f"largest error {error:.1e} ({name}), bound {bound:.0e}"
    if bound > 1e-2:
        found = "not compared: the reference is not smooth in double precision"
        return Row("reference", "against finite differences", "note", found)
    if error <= bound:
        return Row("reference", "against finite differences", "passed", text)
    hint = (
        "the reference's own gradient is wrong, or it is not smooth there: no verdict "
        "on the kernel follows from it"
    )
    return Row("reference", "against finite differences", "failed", text, hint)
