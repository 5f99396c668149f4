"""The quantities of one loop of a program, as a data set."""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from flax import struct
from jaxtyping import Array

from rnnjax.analysis.adjoints import adjoints
from rnnjax.analysis.datasets import record
from rnnjax.analysis.dynamics import PLACES, SENTENCES, WHOLE_SPECTRUM, spectra
from rnnjax.executables.functions import jit_unoptimised
from rnnjax.probes.adjoints.norms import state_names
from rnnjax.probes.contributions.to_kernels import norm_share
from rnnjax.probes.dynamics.explosion import first_broken
from rnnjax.probes.programs.jacobians import jacobians, joint_size, retentions
from rnnjax.probes.programs.loop_back import Back
from rnnjax.probes.programs.loop_run import Axes, Ran, examples_first, floats, picked
from rnnjax.recurrence import scaled
from rnnjax.recurrence.scaled import LOG10_2, Scaled
from rnnjax.xla_options import ONCE


@struct.dataclass
class LoopWalk:
    """A loop in the form in which adjoints are measured, steps in order of time.

    Attributes:
        states: the carry after each step, ``(T, B, …)``, by name.
        adjoint: ∂L/∂carry after each step, exponents ``(T, B)``.
        name: of the loop.
    """

    states: dict[str, Array]
    adjoint: Scaled
    name: str = struct.field(pytree_node=False)


def adjoints_of(ran: Ran, lagged: Back, total: Back, where: Axes) -> xr.Dataset:
    """Adjoints of one loop, and the gradient at its inputs.

    Args:
        ran: the loop.
        lagged: its backward pass from what the loss reads at the end of loops.
        total: its backward pass from the whole loss.
        where: the examples.
    """
    steps, reverse = ran.loop.length, ran.loop.reverse
    carried = zip(picked(ran.after), where.carry, strict=True)
    states = [examples_first(x, axis, 1) for x, axis in carried]
    names = ["carry"] if len(states) == 1 else [f"carry{i}" for i in floats(ran.last)]
    # a wide carry without examples, such as a matrix, is one long vector
    flat = lambda arrays: {
        name: x.reshape(*x.shape[:2], -1) for name, x in zip(names, arrays, strict=True)
    }

    def of(back: Back) -> LoopWalk:
        own = Scaled(flat(back.adjoint.mantissa), back.adjoint.exponent)
        return LoopWalk(flat(states), own, ran.loop.name)

    seen = of(lagged)
    valid = jnp.ones((steps, where.size), bool)
    walked = jax.tree.map(lambda x: x[::-1] if reverse else x, seen.states)
    values = {"first_nonfinite_step": first_broken(walked, valid, reverse)}
    if total.inputs:
        values["log10_input_gradient"] = _input_gradient(total.inputs, where=where)
    first = record(values, {"array": state_names(seen.states)})
    last = np.full(where.size, steps - 1)
    return xr.merge([first, adjoints(seen, of(total), valid, last, reverse)])


@functools.partial(jit_unoptimised, static_argnames=("where",))
def _input_gradient(inputs: Sequence[Scaled], where: Axes) -> Array:
    """log10 of the norm over all inputs of a step, ``(T, B)``.

    The gradient of inputs that all examples share has no examples; it counts if there
    is nothing else.
    """
    own = [x for x in inputs if x.exponent.ndim == 2]
    shared = [x for x in inputs if x.exponent.ndim == 1]
    logs = [scaled.log10_norm(x) for x in own or shared]
    logs = [x if x.ndim == 2 else jnp.repeat(x[:, None], where.size, 1) for x in logs]
    doubled = jnp.stack(logs) * (2 / LOG10_2)
    return jnp.logaddexp2.reduce(doubled, axis=0) * (LOG10_2 / 2)


@functools.partial(jit_unoptimised, static_argnames=("reverse",))
def _rows(back: Back, reverse: bool) -> dict[str, Array]:
    totals = jnp.stack([scaled.log10_norm(x) for x in back.of_parameters])
    top = jnp.max(back.by_step, axis=1)
    known = jnp.isfinite(top)
    top = jnp.where(known, top, 0.0)
    whole = 10.0 ** (totals - top)
    left = back.left if reverse else back.left[:, ::-1]
    share = jax.vmap(norm_share)(back.by_step)
    sizes = jnp.sum(10.0 ** (back.by_step - top[:, None]), axis=1)
    return {
        "log10_contribution": back.by_step,
        "norm_share": share,
        "signed_share": back.along,
        "k90": _held_by_last(share if reverse else share[:, ::-1]),
        "log10_gradient": totals,
        "left_out": 10.0 ** (left - totals[:, None]),
        "cancellation": jnp.where(known, whole / sizes, jnp.nan),
    }


def gradients_of(gradients: dict[str, Array]) -> xr.Dataset:
    """The norms of whole gradients, by the paths of parameters."""
    norms = [scaled.log10_norm(scaled.lift(x, 0)) for x in gradients.values()]
    return record({"log10_gradient": norms}, {"parameter": list(gradients)})


def _held_by_last(share: Array) -> Array:
    """k₉₀ of shares by lag; unlike padded sentences, a loop ends at its last step."""
    held = jnp.cumsum(share, axis=1)
    steps = jnp.argmax(held >= 0.9 - 1e-6, axis=1) + 1
    return jnp.where(jnp.isnan(held[:, -1]), jnp.nan, steps.astype(held.dtype))


def contributions_of(back: Back, names: Sequence[str], reverse: bool) -> xr.Dataset:
    """What each step of a loop gives to the gradient of parameters."""
    return record(_rows(back, reverse=reverse), {"parameter": list(names)})


_jacobians = jax.jit(jacobians, static_argnums=(1, 3), compiler_options=dict(ONCE))


def dynamics_of(ran: Ran, where: Axes) -> xr.Dataset | None:
    """Spectra of a loop's Jacobians and propagators along the first examples.

    None for a carry of more than `WHOLE_SPECTRUM` real numbers.
    """
    if joint_size(ran, where) > WHOLE_SPECTRUM:
        return None
    length = ran.loop.length
    chosen = tuple(range(min(where.size, SENTENCES)))
    every = np.asarray(_jacobians(ran, where, np.arange(length), chosen))
    steps = np.unique(np.linspace(0, length - 1, PLACES).astype(int))
    order = every[::-1] if ran.loop.reverse else every
    values, lags = spectra(every[steps], [order[:, k] for k in chosen])
    units = sum(x.size for x in picked(ran.last)) // where.size
    kept = retentions(every, units)
    if kept is not None:
        values["log_retention"] = kept
    return record(values, {"step": steps, "lag_probed": lags})
