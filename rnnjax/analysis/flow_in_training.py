"""A light probe inside a user's own training step: loss, gradient, and its flow."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import jaxpr_as_fun
from jaxtyping import Array

from rnnjax.errors import UserError
from rnnjax.probes.programs.arguments import arguments_of
from rnnjax.probes.programs.examples import undivided
from rnnjax.probes.programs.loop_run import floats
from rnnjax.probes.programs.program import program_of
from rnnjax.probes.programs.whole import walk
from rnnjax.recurrence import scaled
from rnnjax.recurrence.jaxprs import equations


Flow = dict[str, Array]
"""Numbers by name."""


def value_and_flow(
    loss: Callable[..., Any], params: int = 0
) -> Callable[..., tuple[Array, Any, Flow]]:
    """`jax.value_and_grad`, which also says how the gradient flows; works under `jit`.

    The gradient is put together from the walk through the loops that measures the flow,
    so that it costs no second one, unless the loss holds derivative rules of the user's
    (`jax.custom_vjp`) or associative scans: then loss and gradient are those of JAX,
    and ``gradient_difference`` says how far the walk is from them, ‖difference‖ /
    ‖gradient‖. If that is more than rounding, do not trust the flow: the rule is not
    linear, such as one that clips, or the scan's function not associative. Adjoints
    keep one exponent a step, not one for each example.

    Args:
        loss: a function that returns one real number; what `rnnjax.probe` measures,
            except for what depends on values: under `jit`, branches, maps and while
            loops that hold loops.
        params: which of its arguments holds the parameters.

    Returns:
        a function of the arguments of `loss` that returns the loss, its gradient with
        respect to the parameters (None where a leaf is no array of floats), and for
        each loop:

        - ``loop0/log10_adjoint_last`` and ``loop0/log10_adjoint_first``: log10 of the
          norm of ∂L/∂(state), of the whole loss and all examples, after the last step
          and after the first;
        - ``loop0/total_adjoint_rate``: ln of the second over the first, divided by the
          steps between, in nats per step; negative: vanishing on its way back.

    Raises:
        UserError: when called, if there is no loop, or one that cannot be measured
            under `jit`.
    """

    def of(*args: Any, **named: Any) -> tuple[Array, Any, Flow]:
        if named:
            raise UserError(f"{', '.join(named)}: arguments of the loss go by position")
        given = arguments_of(args)
        program = program_of(loss, given)
        if not program.names:
            raise UserError("no lax.scan with a state of floats was found in the loss")
        ran = program.forward(given.arrays)[1]
        seen = walk(program, given.arrays, ran, [undivided(one) for one in ran])
        value, flow = jnp.asarray(seen.loss), Flow()
        found = dict(zip(floats(given.arrays), seen.gradient, strict=True))
        if program.folds or any(map(_is_rule, equations(program.plain))):
            own = {
                place: found[place] for place in given.names(params) if place in found
            }
            value, known = _by_jax(program.plain, given.arrays, list(own))
            flow["gradient_difference"] = _difference(own, known)
            found = known
        places = {leaf: found.get(place) for place, leaf in enumerate(given.traced)}
        leaves = [places.get(i) for i in range(len(given.leaves))]
        gradient = jax.tree.unflatten(given.tree, leaves)[params]
        for one, walked in zip(ran, seen.loops, strict=True):
            logs = scaled.log10_norm(walked.back.adjoint)[:, 0]
            first, last = (-1, 0) if one.loop.reverse else (0, -1)
            steps = max(one.loop.length - 1, 1)
            name = one.loop.name
            fall = logs[first] - logs[last]
            flow |= {
                f"{name}/log10_adjoint_last": logs[last],
                f"{name}/log10_adjoint_first": logs[first],
                f"{name}/total_adjoint_rate": fall * math.log(10) / steps,
            }
        return value, gradient, flow

    return of


def _is_rule(equation: Any) -> bool:
    return equation.primitive.name.startswith("custom_vjp")


def _by_jax(
    closed: Any, arrays: list[Any], places: list[int]
) -> tuple[Array, dict[int, Array]]:
    """The loss, and its gradient with respect to some arguments."""
    run = jaxpr_as_fun(closed)

    def of(own: dict[int, Array]) -> Array:
        return run(*(own.get(place, x) for place, x in enumerate(arrays)))[0]

    return jax.value_and_grad(of)(
        {place: jnp.asarray(arrays[place]) for place in places}
    )


def _difference(own: dict[int, Array], known: dict[int, Array]) -> Array:
    norm = lambda parts: jnp.sqrt(sum(jnp.sum(jnp.abs(x) ** 2) for x in parts))
    return norm(own[k] - x for k, x in known.items()) / norm(known.values())
