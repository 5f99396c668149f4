"""A layer run with masks, and what extreme inputs and short words do to it."""

from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rnnjax.checking.cell_rows import agreement
from rnnjax.checking.cell_subject import (
    B,
    Subject,
    T,
    cast,
    difference,
    finite,
    objective,
    quick_jit,
)
from rnnjax.checking.rows import Row
from rnnjax.recurrence.layer import Recurrent


GROUP = "use"
EPS = float(np.finfo(np.float32).eps)
ALL, NEVER = np.full(B, T, np.int32), np.zeros((T, B), bool)

Run = Callable[..., Any]
"""(params, x, h0, lengths, resets) → (outputs, states), gradient of all arguments."""


def walk(subject: Subject, backwards: bool, dtype: str = "float32") -> Run:
    """The layer with masks: outputs, states and the gradient of an objective."""
    layer = Recurrent(subject.build(dtype), backwards=backwards)

    def run(params: Any, x: Any, h0: Any, lengths: Any, resets: Any) -> Any:
        def loss(params: Any, x: Any, h0: Any) -> Any:
            variables = {"params": {"cell": params}}
            found: Any = layer.apply(variables, x, lengths, resets, h0)
            return objective(*found), found

        gradient, found = jax.grad(loss, (0, 1, 2), has_aux=True)(params, x, h0)
        return found, gradient

    return run


def rounding(subject: Subject, run: Run, given: Any, first: Any) -> float:
    """What rounding may change, from the distance to double precision.

    Two programs for the same numbers differ by no more than each differs from the
    exact numbers; a factor of 30 allows for the few draws.
    """
    with jax.enable_x64(True):
        exact = quick_jit(walk(subject, False, "float64"))
        wanted = exact(*subject.arguments("float64"), ALL, NEVER)
    return 30 * max(EPS, difference(first, wanted))


def judged(subject: Subject, name: str, apart: float, bound: float, cure: str) -> Row:
    """A row about two numbers that should agree."""
    hint = f"{subject.place('step')}: {cure}"
    return agreement(GROUP, name, apart, bound, "differ by {apart}", hint)


def extremes(subject: Subject, run: Run, given: Any) -> Iterator[Row]:
    """Large inputs and zeros have finite values and gradients.

    The zeros meet the initial parameters: biases often start at zero, too.
    """
    params, x, h0 = given
    start = cast(subject.initial()[0], "float32")
    zero = jax.tree.map(jnp.zeros_like, h0)
    large = 50.0 * jnp.sign(x)
    cures = {
        "inputs of ±50": "use jax.nn.sigmoid, jax.nn.softplus and jnp.tanh rather than "
        "formulas with exp, and bound what grows from step to step",
        "inputs and state 0": "√, |·|, x/‖x‖ and log have no derivative at zero: add a "
        "small number inside, or choose with jnp.where on both sides",
    }
    cases = {
        "inputs of ±50": (params, large, h0),
        "inputs and state 0": (start, 0 * x, zero),
    }
    for name, arguments in cases.items():
        (outputs, states), gradient = run(*arguments, ALL, NEVER)
        bad = [
            what
            for what, part in (("values", (outputs, states)), ("gradient", gradient))
            if not finite(part)
        ]
        if bad:
            hint = f"{subject.place('step')}: {cures[name]}"
            said = f"{' and '.join(bad)} not finite"
            yield Row(GROUP, name, "failed", said, hint)
        else:
            yield Row(GROUP, name, "passed", "values and gradient are finite")


def half(subject: Subject, run: Run) -> Row:
    """In bfloat16: finite, and as near to single precision as its words allow."""
    name = "bfloat16"
    try:
        params, x, h0 = subject.arguments("bfloat16")
        half = quick_jit(walk(subject, False, "bfloat16"))
        (outputs, states), gradient = half(params, x, h0, ALL, NEVER)
    except Exception as error:
        return Row(GROUP, name, "note", f"not supported: {type(error).__name__}")
    if not finite((outputs, states, gradient)):
        hint = f"{subject.place('step')}: a number outside of what 16 bits can hold"
        return Row(GROUP, name, "failed", "not finite", hint)
    exact, _ = run(*subject.arguments("float32"), ALL, NEVER)
    # the same rounded arguments in single precision: what their rounding alone does
    as_floats = jax.tree.map(
        lambda a: jnp.asarray(a, jnp.result_type(a.dtype, jnp.float32)), (params, x, h0)
    )
    rounded, _ = run(*as_floats, ALL, NEVER)
    eps = float(jnp.finfo(jnp.bfloat16).eps)
    bound = 30 * max(eps, difference(rounded, exact))
    apart = difference((outputs, states), exact)
    cure = "sums of many terms and small differences need float32 inside the step"
    return judged(subject, name, apart, bound, cure)
