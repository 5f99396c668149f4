"""What a state is replaced by: `HOWS`, by name."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Inexact

from rnnjax.errors import UserError, unknown


States = Inexact[Array, "T B *state"]
"""One array of the states after each step, examples first."""


def zero(states: States, seed: int) -> States:
    """Zeros."""
    return jnp.zeros_like(states)


def mean(states: States, seed: int) -> States:
    """The mean over the examples at the same step, the example itself included."""
    return jnp.broadcast_to(jnp.mean(states, axis=1, keepdims=True), states.shape)


def swap(states: States, seed: int) -> States:
    """The state of the example before it in the batch; the first gets the last's."""
    return jnp.roll(states, 1, axis=1)


def noise(states: States, seed: int) -> States:
    """The state plus standard normal numbers times its deviation over examples.

    The standard deviation is taken over the examples of the batch, for each entry at
    each step, so that noise is as wide as the states differ (as in the causal traces of
    Meng et al. 2022, there on embeddings).
    """
    key = jax.random.key(seed)
    drawn = jax.random.normal(key, states.shape, states.dtype)
    spread = jnp.std(states, axis=1, keepdims=True).astype(states.dtype)
    return states + drawn * spread


HOWS: dict[str, Callable[[States, int], States]] = {
    one.__name__: one for one in (zero, noise, mean, swap)
}
"""Replacements by name, besides `value`."""

OF_OTHERS = ("noise", "mean", "swap")
"""Those that need several examples."""

VALUE = "value"


def check_how(how: str, value: Any) -> None:
    """Make sure that `how` is known, and that a value is there if it is `value`.

    Raises:
        UserError: it is not.
    """
    if how not in (*HOWS, VALUE):
        raise unknown("how", how, (*HOWS, VALUE))
    if (how == VALUE) != (value is not None):
        other = "needs value=" if how == VALUE else "takes no value="
        raise UserError(f"how='{how}' {other}, the number or array to put there")


def replaced(
    states: States,
    how: str,
    value: Any,
    fraction: float,
    seed: int,
    backwards: bool = False,
) -> States:
    """The states that take the place of these.

    Args:
        states: of the loop after each step.
        how: one of `HOWS`, or `value`.
        value: for `value`: a number or an array that broadcasts to the states.
        fraction: how far they are moved towards the other states.
        seed: of the noise.
        backwards: whether `states` are in reversed time, unlike `value`.

    Raises:
        UserError: there is one example only, or the value does not fit.
    """
    if how in OF_OTHERS and states.shape[1] < 2:
        raise UserError(
            f"how='{how}' compares examples, but in this loop no examples are told "
            "apart; use how='zero' or how='value'"
        )
    is_value = how == VALUE
    new = _given(states, value, backwards) if is_value else HOWS[how](states, seed)
    if fraction == 1:  # exactly, without rounding
        return new
    return states + jnp.asarray(fraction, states.dtype) * (new - states)


def _given(states: States, value: Any, backwards: bool) -> States:
    try:
        found = np.broadcast_to(np.asarray(value), states.shape)
    except ValueError:
        raise UserError(
            f"value of shape {np.shape(value)} does not broadcast to the states "
            f"{states.shape}: steps, examples, units"
        ) from None
    found = np.flip(found, 0) if backwards else found
    if np.iscomplexobj(found) and not jnp.iscomplexobj(states):
        raise UserError("value is complex, but the state is real")
    return jnp.asarray(found, states.dtype)
