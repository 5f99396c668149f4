"""From the gradients of a loop's constants and inputs to those of parameters.

A loop may use a parameter as it is, or something that was computed from it: a kernel
that is the exponential of another one, the projection of all inputs by one product.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from rnnjax.probes.programs.loop_back import Attribution
from rnnjax.probes.programs.loop_run import Ran, results
from rnnjax.probes.programs.program import Program
from rnnjax.probes.programs.sliced import OneStep, sliced
from rnnjax.xla_options import ONCE


@dataclasses.dataclass(frozen=True)
class Reached:
    """The parameters of which a loop's constants and inputs are made.

    Attributes:
        params: their places among the arguments.
        apart: whether the inputs of one step can be computed alone (`sliced`).
    """

    params: tuple[int, ...] = ()
    apart: bool = False


def attribution(
    program: Program,
    number: int,
    args: Sequence[Any],
    results: Sequence[Sequence[Any]],
    reached: Reached,
) -> Attribution | None:
    """How gradients of a loop's operands become those of parameters.

    Args:
        program: the program.
        number: of the loop.
        args: the program's arguments, flat.
        results: of all loops, which are held fixed.
        reached: the parameters on which operands of the loop depend; None is returned
            for none.
    """
    params = reached.params
    if not params:
        return None
    own = [jnp.asarray(args[place]) for place in params]
    depend = _dependent(program, number, params)
    operands = _operands(program, number, args, results, params)
    (_, inputs), pull = jax.vjp(operands, own)
    one = _one_step(operands, own, inputs) if reached.apart else None

    def of_all(d_constants: list[Any], d_inputs: list[Any], time: Array) -> list[Any]:
        """By cotangents that are zero at all other steps."""
        here = [d_inputs[i] for i in depend[1]]
        placed = zip(inputs, here, strict=True)
        at_step = [jnp.zeros_like(x).at[time].set(d) for x, d in placed]
        return pull(([d_constants[i] for i in depend[0]], at_step))[0]

    if one is None:
        return Attribution(of_all, own)
    pull_constants = jax.vjp(lambda own: operands(own)[0], own)[1]

    def of_one(d_constants: list[Any], d_inputs: list[Any], time: Array) -> list[Any]:
        here = [d_inputs[i] for i in depend[1]]
        (mine,) = jax.vjp(lambda own: one(own, time), own)[1](here)
        (rest,) = pull_constants([d_constants[i] for i in depend[0]])
        return [a + b for a, b in zip(mine, rest, strict=True)]

    return Attribution(of_one, own)


def reached_by(
    program: Program, args: Sequence[Any], ran: Sequence[Ran], params: Sequence[int]
) -> list[Reached]:
    """For each loop, the parameters on which its constants or inputs depend.

    Of those that the equations allow, a parameter is left out to which random
    cotangents give a gradient of exactly zero: it may reach the loop by its first state
    alone.
    """
    every = [results(one) for one in ran]
    nothing: frozenset[int] = frozenset()
    found = []
    for number, (constants, inputs) in enumerate(program.reach):
        some = sorted(nothing.union(*constants, *inputs).intersection(params))
        own = [jnp.asarray(args[place]) for place in some]

        def tested(own: list[Array], number: int = number, some: Any = some) -> Any:
            operands = _operands(program, number, args, every, some)
            out, pull = jax.vjp(operands, own)
            kept = [jnp.any(x != 0) for x in pull(_drawn(out, number))[0]]
            return kept, _is_apart(operands, own, out[1])

        if not some:
            found.append(Reached())
            continue
        kept, apart = jax.jit(tested, compiler_options=dict(ONCE))(own)
        places = tuple(p for p, yes in zip(some, kept, strict=True) if yes)
        found.append(Reached(places, bool(apart)))
    return found


def _drawn(like: Any, seed: int) -> Any:
    """Standard normal numbers, with real and imaginary parts where complex."""
    leaves, tree = jax.tree.flatten(like)
    keys = jax.random.split(jax.random.key(seed), len(leaves))
    rows = zip(keys, leaves, strict=True)
    drawn = [jax.random.normal(key, x.shape, x.dtype) for key, x in rows]
    return jax.tree.unflatten(tree, drawn)


def _one_step(operands: Any, own: list[Array], whole: list[Array]) -> OneStep | None:
    """The inputs of one step alone, if the equations before the loop allow."""
    return sliced(jax.make_jaxpr(lambda own: operands(own)[1])(own), len(whole[0]))


def _is_apart(operands: Any, own: list[Array], whole: list[Array]) -> Array:
    """Whether the inputs of every step are what `sliced` makes of them."""
    if not whole:
        return jnp.asarray(False)
    one = _one_step(operands, own, whole)
    if one is None:
        return jnp.asarray(False)
    each = jax.lax.map(lambda step: one(own, step), jnp.arange(len(whole[0])))
    near = lambda a, b: jnp.max(jnp.abs(a - b)) <= 1e-4 * jnp.max(jnp.abs(b))
    return jnp.all(jnp.stack([near(*pair) for pair in zip(each, whole, strict=True)]))


def _dependent(program: Program, number: int, params: Sequence[int]) -> list[list[int]]:
    """Which constants and which inputs of a loop depend on parameters."""
    return [
        [i for i, met in enumerate(part) if met.intersection(params)]
        for part in program.reach[number]
    ]


def _operands(
    program: Program,
    number: int,
    args: Sequence[Any],
    results: Sequence[Sequence[Any]],
    params: Sequence[int],
) -> Callable[[list[Array]], tuple[list[Array], list[Array]]]:
    """Those constants and inputs of a loop, as a function of the parameters."""
    depend = _dependent(program, number, params)

    def operands(own: list[Array]) -> tuple[list[Array], list[Array]]:
        full = list(args)
        for place, x in zip(params, own, strict=True):
            full[place] = x
        constants, _, inputs = program.segments(full, results)[1][number]
        return [constants[i] for i in depend[0]], [inputs[i] for i in depend[1]]

    return operands
