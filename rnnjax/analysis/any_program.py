"""Probe any JAX function that gives a loss: every `lax.scan` in it is measured.

What a step contributes to a parameter is known where the loop uses the parameter as it
is; a product of the inputs that a library takes out of the loop is outside of it.
"""

import functools
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from flax import struct
from jax.extend.core import jaxpr_as_fun
from jaxtyping import Array

from rnnjax.analysis.adjoints import adjoints
from rnnjax.analysis.agreement import check, coarsest
from rnnjax.analysis.datasets import record
from rnnjax.errors import UserError
from rnnjax.probes.adjoints.norms import log10_norms, state_names
from rnnjax.probes.dataset import lag_is_time
from rnnjax.probes.dynamics.explosion import first_broken
from rnnjax.probes.programs.arguments import Arguments, arguments_of
from rnnjax.probes.programs.examples import find_axes
from rnnjax.probes.programs.loop_walk import Axes, examples_first, floats, picked, uses
from rnnjax.probes.programs.loops import unseen
from rnnjax.probes.programs.whole import Program, Walked, Walks, program_of, walk
from rnnjax.recurrence.scaled import Scaled
from rnnjax.xla_options import ONCE


CAUSES = (
    "a derivative rule that is not linear in its cotangent, such as one that clips "
    "gradients, or a chaotic loop"
)
"""What may make the probe and JAX disagree."""

quick_jit = functools.partial(jax.jit, compiler_options=dict(ONCE))


@struct.dataclass
class LoopWalk:
    """A loop in the form in which adjoints are measured, steps in walk order.

    Attributes:
        states: the carry after each step, ``(T, B, …)``, by name.
        adjoint: ∂L/∂carry after each step, exponents ``(T, B)``.
        name: of the loop.
    """

    states: dict[str, Array]
    adjoint: Scaled
    name: str = struct.field(pytree_node=False)


def probe_loss(
    loss: Callable[..., Any], *args: Any, params: int = 0, examples: int | None = None
) -> xr.Dataset:
    """Adjoints of every loop of a function, and each step's share of the gradient.

    The function is traced and not changed. A loop is a `lax.scan`, wherever `jit`,
    `vmap`, `remat` or a custom derivative has put it, forwards or in reverse; a scan
    inside another one is part of the outer one's step. The loss and the gradients of
    all arguments, put together from the loops, are compared with those of JAX.

    Args:
        loss: returns one real number.
        args: its arguments.
        params: which of them holds the parameters.
        examples: number of examples in the batch, if several axes could be theirs.

    Returns:
        A data set with a layer for each loop. If the loss depends on the state at the
        end of each loop alone, adjoints have all the quantities of ``rnnjax probe
        sections=adjoints``, by lag; else `log10_total_adjoint`. Adjoints are those of
        the carry after a step, through later steps and through outputs of the step that
        are the carry itself. `log10_contribution`, of the parameters that a loop uses
        as they are. Attribute ``loops``: file, line, length, carry of each.

    Warns:
        UserWarning: something else may carry the gradient from step to step, such as
            `lax.associative_scan` or `cumsum`.

    Raises:
        UserError: there is no loop that carries a float, one cannot be reached, the
            loss is no real number, or the probe does not reproduce loss and gradient.
    """
    given = arguments_of(args)
    program = program_of(loss, given)
    others = ", ".join(unseen(program.closed))
    if not program.loops:
        besides = f" (there is {others})" if others else ""
        raise UserError(
            f"no lax.scan with a state of floats was found{besides}: a loop that is "
            "written in Python over the steps cannot be told from layers; use lax.scan"
        )
    if others:
        warnings.warn(
            f"what goes from step to step outside of the loops is not measured: "
            f"{others}",
            stacklevel=2,
        )
    forward = quick_jit(lambda arrays: program.forward(arrays)[1])
    axes = [find_axes(ran, examples) for ran in forward(given.arrays)]
    seen = quick_jit(lambda arrays: walk(program, arrays, axes))(given.arrays)
    _compare(program, given, seen)
    named = given.names(params)
    single = _is_single(seen)
    layers = [
        _layer(one, where, named, single)
        for one, where in zip(seen.loops, axes, strict=True)
    ]
    options: Any = {"join": "outer", "data_vars": "all", "combine_attrs": "override"}
    data = xr.concat([layer for layer, _ in layers], "layer", **options)
    data = data.assign_coords(
        layer=np.asarray([one.ran.loop.name for one in seen.loops], object)
    )
    parts = [part for _, part in layers if part is not None]
    data = xr.merge([_basics(seen, axes, single), data, *_joined(parts)], join="outer")
    about = [
        _described(one, where) for one, where in zip(seen.loops, axes, strict=True)
    ]
    name = getattr(loss, "__name__", type(loss).__name__)
    data.attrs = {"title": f"gradient flow of {name}", "loops": "\n".join(about)}
    return data


def _is_single(seen: Walks) -> bool:
    """Whether the loss reads every loop at its end alone, or through a later one."""
    for one in seen.loops:
        direct = np.asarray(one.direct)
        direct = direct[::-1] if one.ran.loop.reverse else direct
        if direct[:-1].any():
            return False
    return True


def _compare(program: Program, given: Arguments, seen: Walks) -> None:
    """Loss and gradient of every argument beside those of JAX on the same program.

    Of all arguments, because those that are not parameters may reach a loop at steps
    from which no parameter gets a gradient.
    """
    arrays, traced = given.arrays, jaxpr_as_fun(program.closed)
    mine = dict(zip(floats(arrays), seen.gradient, strict=True))
    places = {
        f"argument {argument} {name}".rstrip(): place
        for argument in range(given.count)
        for place, name in given.names(argument).items()
        if place in mine
    }

    @quick_jit
    def untouched(own: dict[str, Any], rest: list[Any]) -> Any:
        def of(own: dict[str, Any]) -> Any:
            full = list(rest)
            for name, place in places.items():
                full[place] = own[name]
            return traced(*full)[0]

        value, gradient = jax.value_and_grad(of)(own)
        return value, (gradient,)

    own = {name: jnp.asarray(arrays[place]) for name, place in places.items()}
    found = {name: mine[place] for name, place in places.items()}
    states = [picked(one.ran.last) for one in seen.loops]
    exploded = any(not np.all(np.isfinite(x)) for x in jax.tree.leaves(states))
    dtype = coarsest(own, states)
    check(seen.loss, found, untouched, own, arrays, dtype, exploded, CAUSES)


def _basics(seen: Walks, axes: Sequence[Axes], single: bool) -> xr.Dataset:
    """The loss; steps, and which lags count from step 0, if all loops have the same."""
    data = record({"loss": seen.loss})
    loops = [one.ran.loop for one in seen.loops]
    if len({loop.length for loop in loops}) == 1:
        steps = np.full(max(where.size for where in axes), loops[0].length)
        data = xr.merge([data, record({"length": steps, "last_step": steps - 1})])
    turned = [loop.name for loop in loops if loop.reverse and single]
    if turned:
        data["lag_is_time"] = lag_is_time([loop.name for loop in loops], turned)
    return data


def _layer(
    one: Walked, where: Axes, named: Mapping[int, str], single: bool
) -> tuple[xr.Dataset, xr.Dataset | None]:
    """The adjoints of one loop, and the contributions to its parameters."""
    ran, steps = one.ran, one.ran.loop.length
    carried = zip(picked(ran.after), where.carry, strict=True)
    states = [examples_first(x, axis, 1) for x, axis in carried]
    labels = ["carry"] if len(states) == 1 else [f"carry{i}" for i in floats(ran.last)]
    # a wide carry without examples, such as a matrix, is one long vector
    flat = lambda x: x.reshape(*x.shape[:2], -1)
    seen = LoopWalk(
        dict(zip(labels, map(flat, states), strict=True)),
        Scaled(
            dict(zip(labels, map(flat, one.back.adjoint.mantissa), strict=True)),
            one.back.adjoint.exponent,
        ),
        ran.loop.name,
    )
    valid = jnp.ones((steps, where.size), bool)
    reverse = ran.loop.reverse
    walked = jax.tree.map(lambda x: x[::-1] if reverse else x, seen.states)
    values: dict[str, Any] = {
        "first_nonfinite_step": first_broken(walked, valid, reverse)
    }
    if not single:
        values["log10_total_adjoint"] = log10_norms(seen, valid)[0]
    layer = record(values, {"array": state_names(seen.states)})
    if single:
        last = np.full(where.size, steps - 1)
        layer = xr.merge([layer, adjoints(seen, seen, valid, last, reverse)])
    groups = list(uses(ran))
    rows = [row for row, argument in enumerate(groups) if argument in named]
    if not rows:
        return layer, None
    norms = np.asarray(one.back.by_step, np.float64)[rows]
    top = norms.max(axis=1, keepdims=True)
    sizes = 10 ** (norms - np.where(np.isfinite(top), top, 0))
    with np.errstate(invalid="ignore"):  # a gradient of zero has no shares
        shares = sizes / sizes.sum(axis=1, keepdims=True)
    labels = [f"{ran.loop.name}/{named[groups[row]] or 'params'}" for row in rows]
    table = {"log10_contribution": norms, "norm_share": shares}
    return layer, record(table, {"parameter": labels})


def _joined(parts: Sequence[xr.Dataset]) -> list[xr.Dataset]:
    return [xr.concat(parts, "parameter", join="outer")] if parts else []


def _described(one: Walked, where: Axes) -> str:
    shapes = ", ".join(f"{x.dtype} {x.shape}" for x in one.ran.last)
    batch = f"{where.size} examples" if where.size > 1 else "one exponent a step"
    return f"{one.ran.loop}, carry {shapes}, {batch}"
