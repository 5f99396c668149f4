"""The gradient of a cell, against finite differences and between all engines."""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from rnnjax.checking.cell_rows import agreement
from rnnjax.checking.cell_subject import (
    LENGTHS,
    Subject,
    difference,
    jittered,
    named,
    noise,
    objective,
    quick_jit,
    wide,
)
from rnnjax.checking.rows import Row
from rnnjax.recurrence.associative import is_linear
from rnnjax.recurrence.functional import call, make_weights
from rnnjax.recurrence.layer import Recurrent


GROUP = "gradients"
DIRECTIONS, STEP = 2, 1e-3
"""Directions for each array, and the length of a step in them: ε^(1/5), at which the
rounding of four-point differences is as large as what they leave out."""

EPS = float(np.finfo(np.float64).eps)


def gradients(subject: Subject) -> Iterator[Row]:
    """Values, gradients and second derivatives in double precision."""
    with jax.enable_x64(True):
        given = subject.arguments("float64")
        value = quick_jit(lambda *args: layer_objective(subject, "plain", args)[0])
        plain = quick_jit(_whole(subject, "plain"))
        found = plain(*given)
        yield _finite_differences(subject, value, given, found[1])
        # what rounding alone changes, measured
        moved = plain(*jittered(given, "float64"))
        pairs = zip(moved, found, strict=True)
        limits = [100 * max(EPS, difference(*pair)) for pair in pairs]
        scanned = quick_jit(_whole(subject, "scan"))(*given)
        for name, part, bound, other in zip(
            ("reverse scan: states", "reverse scan: gradient", "second derivatives"),
            scanned,
            limits,
            found,
            strict=True,
        ):
            yield _agreement(subject, name, difference(part, other), bound)
        yield from _engines(subject, given, found, limits)


def layer_objective(
    subject: Subject, engine: str, given: Any, masked: bool = True, **fields: Any
) -> tuple[Array, Any]:
    """The objective of a layer over ragged examples, and (outputs, states)."""
    params, x, h0 = given
    layer = Recurrent(subject.build(x.dtype), engine=engine, **fields)
    lengths = jnp.asarray(LENGTHS, jnp.int32) if masked else None
    resets = None
    if masked and "remat" not in fields:
        resets = jnp.zeros(x.shape[:2], bool).at[jnp.array([2, 3]), 0].set(True)
    variables = {"params": {"cell": params}}
    outputs, states = layer.apply(variables, x, lengths, resets, h0)
    return objective(outputs, states), (outputs, states)


def _whole(subject: Subject, engine: str) -> Callable[..., Any]:
    """(parameters, inputs, state) → states, gradient, Hessian times a direction."""

    def run(*given: Any) -> Any:
        along = jax.tree.map(jnp.asarray, noise(5, given))

        def slope(given: Any) -> Any:
            gradient, seen = jax.grad(
                lambda g: layer_objective(subject, engine, g), has_aux=True
            )(given)
            return pairing(gradient, along), (seen, gradient)

        second, (seen, gradient) = jax.grad(slope, has_aux=True)(given)
        return seen, gradient, second

    return run


def pairing(a: Any, b: Any) -> Array:
    """Re Σ a b: how a cotangent of JAX meets a tangent, complex ones included."""
    pairs = zip(*map(jax.tree.leaves, (a, b)), strict=True)
    return sum((jnp.sum(x * y).real for x, y in pairs), jnp.zeros(()))


@dataclasses.dataclass(frozen=True)
class Slope:
    """A directional derivative by differences, and by the gradient.

    Attributes:
        name: the array in which the direction lies.
        apart: their difference.
        bound: what the differences may be wrong by, from a second step length.
        size: the modulus of the derivative.
    """

    name: str
    apart: float
    bound: float
    size: float


def _finite_differences(subject: Subject, value: Any, given: Any, gradient: Any) -> Row:
    """Directional derivatives of the loss along every array of the arguments."""
    name = "finite differences"
    found = list(_slopes(value, given, gradient))
    scale = max(slope.size for slope in found)
    wrong = [s for s in found if not s.apart <= s.bound]
    if wrong:
        worst = max(wrong, key=lambda s: s.apart / s.bound)
        said = (
            f"{worst.name}: differs by {worst.apart:.1e} from {worst.size:.1e} "
            f"(bound {worst.bound:.1e})"
        )
        hint = (
            f"{subject.place('step')}: the derivative of an operation is not that of "
            "its value: look for custom_jvp, custom_vjp, stop_gradient, round, sign"
        )
        return Row(GROUP, name, "failed", said, hint)
    vague = {s.name for s in found if s.bound > 1e-4 * max(s.size, 1e-3 * scale)}
    if len(vague) == len({s.name for s in found}):
        said = "the loss is not smooth enough for a comparison"
        return Row(GROUP, name, "note", said)
    worst = max(s.apart / scale for s in found if s.name not in vague)
    said = f"largest relative error {worst:.0e}, within the error of the differences"
    return Row(GROUP, name, "passed", f"{said}; {len(found)} directions")


def _slopes(value: Any, given: Any, gradient: Any) -> Iterator[Slope]:
    leaves, tree = jax.tree.flatten(given)
    parts = jax.tree.leaves(gradient)
    what = dict(zip(("parameter", "input", "state"), given, strict=True))
    paths = {id(leaf): path for path, leaf in named(what).items()}

    def at(index: int, by: Any) -> float:
        near = [x + by if k == index else x for k, x in enumerate(leaves)]
        return float(value(*jax.tree.unflatten(tree, near)))

    for index, (leaf, part) in enumerate(zip(leaves, parts, strict=True)):
        for seed in range(DIRECTIONS):
            along = noise(31 + seed, np.asarray(leaf))
            exact = float(np.sum(wide(part) * along).real)
            four = []
            for h in (STEP, STEP / 2):
                f = {k: at(index, k * h * along) for k in (-2, -1, 1, 2)}
                four.append((8 * (f[1] - f[-1]) - (f[2] - f[-2])) / (12 * h))
                top = max(map(abs, f.values()))
            bound = 10 * abs(four[0] - four[1]) + 100 * EPS * top / STEP
            yield Slope(paths[id(leaf)], abs(exact - four[1]), bound, abs(exact))


def _agreement(subject: Subject, name: str, apart: float, bound: float) -> Row:
    hint = (
        f"{subject.place('step')}: what a step does between its products must be "
        "ordinary JAX; a kernel is multiplied by self.recur or self.project alone"
    )
    of = "{apart} from autodiff of lax.scan"
    return agreement(GROUP, name, apart, bound, of, hint)


def _engines(subject: Subject, given: Any, found: Any, limits: Any) -> Iterator[Row]:
    """Rematerialised chunks and the engines that compute all steps at once."""
    claimed = ["newton", *(["associative"] if _is_linear(subject) else [])]

    def run(*given: Any) -> Any:
        results = {}
        for engine in claimed:
            results[engine] = _first_order(subject, engine, given)
        for remat in (None, 4):
            fields = {"remat": remat}
            results[f"remat={remat}"] = _first_order(subject, "scan", given, **fields)
        return results

    results = quick_jit(run)(*given)
    for engine in claimed:
        for what, part, other, bound in zip(
            ("states", "gradient"), results[engine], found, limits, strict=False
        ):
            apart = difference(part, other)
            yield _agreement(subject, f"engine={engine}: {what}", apart, bound)
    apart = difference(results["remat=4"], results["remat=None"])
    yield _agreement(subject, "remat=4", apart, max(limits[:2]))


def _first_order(subject: Subject, engine: str, given: Any, **fields: Any) -> Any:
    gradient, seen = jax.grad(
        lambda g: layer_objective(subject, engine, g, **fields), has_aux=True
    )(given)
    return seen, gradient


def _is_linear(subject: Subject) -> bool:
    """Whether the engine `associative` takes the cell."""
    params, x, h0 = subject.arguments("float64")
    static, weights = make_weights(subject.build("float64"), params)
    drive = jax.eval_shape(lambda w, x: call(static, w, "readin", x)[0], weights, x[0])
    return is_linear(static, weights, h0, drive)
