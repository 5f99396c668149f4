"""A cell as it is used: masks, directions, maps, extreme inputs, half precision."""

from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from rnnjax.checking.cell_subject import (
    LENGTHS,
    B,
    Subject,
    T,
    cast,
    difference,
    finite,
    objective,
    quick_jit,
    same_bits,
)
from rnnjax.checking.rows import Row
from rnnjax.recurrence.layer import Recurrent


GROUP = "use"
EPS = float(np.finfo(np.float32).eps)
ALL, NEVER = np.full(B, T, np.int32), np.zeros((T, B), bool)

Run = Callable[..., Any]
"""(params, x, h0, lengths, resets) → (outputs, states), gradient of all arguments."""


def use(subject: Subject) -> Iterator[Row]:
    """Everything that a layer may ask of a cell, in single precision."""
    params, x, h0 = subject.arguments("float32")
    run = quick_jit(walk(subject, False))
    given = params, x, h0
    first = run(*given, ALL, NEVER)
    bound = rounding(subject, run, given, first)
    yield _unrolled(subject, given, first, bound)
    yield _mapped(subject, given, first, bound)
    yield _initial_state(subject, run, given, first)
    yield from _ragged(subject, run, given, first, bound)
    yield _resets(subject, run, given, first, bound)
    yield _backwards(subject, run, given, bound)
    yield from _extremes(subject, run, given)
    yield _half(subject, run)


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
    found = f"differ by {apart:.0e} (bound {bound:.0e})"
    if apart <= bound:
        return Row(GROUP, name, "passed", found)
    return Row(GROUP, name, "failed", found, f"{subject.place('step')}: {cure}")


def _unrolled(subject: Subject, given: Any, first: Any, bound: float) -> Row:
    """The compiled loop and single calls in linen's convention, without `jit`."""
    params, x, state = given
    cell, outputs = subject.build(), []
    for t in range(T):
        state, output = cell.apply({"params": params}, state, x[t])  # pyright: ignore
        outputs.append(output)
    apart = difference(first[0][0], jnp.stack(outputs))
    cure = "a step must compute the same inside jax.jit and outside"
    return judged(subject, "jit", apart, bound, cure)


def _mapped(subject: Subject, given: Any, first: Any, bound: float) -> Row:
    """`jax.vmap` over two sets of parameters, as in a pack of runs."""
    params, x, h0 = given
    other = jax.tree.map(lambda a: 0.5 * a, params)
    layer = Recurrent(subject.build())

    def outputs(params: Any) -> Array:
        return layer.apply({"params": {"cell": params}}, x, initial_state=h0)[0]  # pyright: ignore

    both = jax.tree.map(lambda *p: jnp.stack(p), params, other)
    apart = difference(quick_jit(jax.vmap(outputs))(both)[0], first[0][0])
    cure = "shapes are read from the last axis, x.shape[-1], never from a global size"
    return judged(subject, "vmap", apart, bound, cure)


def _initial_state(subject: Subject, run: Run, given: Any, first: Any) -> Row:
    """Half of the steps, and the rest from the state there, are the whole."""
    params, x, h0 = given
    half = T // 2
    (_, states), _ = first
    middle = jax.tree.map(lambda h: h[half - 1], states)
    rest = jnp.concatenate([x[half:], x[:half]])
    (outputs, _), _ = run(params, rest, middle, ALL, NEVER)
    apart = difference(outputs[: T - half], first[0][0][half:])
    name = "continued"
    found = f"from the state after step {half}: differ by {apart:.0e} (bound {EPS:.0e})"
    if apart <= EPS:
        return Row(GROUP, name, "passed", found)
    hint = (
        f"{subject.place('step')}: all that a step remembers must be in the state that "
        "it returns"
    )
    return Row(GROUP, name, "failed", found, hint)


def _ragged(
    subject: Subject, run: Run, given: Any, first: Any, bound: float
) -> Iterator[Row]:
    """Examples that end early, one without steps; what is behind the end is not read.

    The whole run of `first` and the ragged one agree up to the end of each example.
    """
    params, x, h0 = given
    lengths = np.array(LENGTHS, np.int32)
    valid = np.arange(T)[:, None] < lengths
    (outputs, states), gradient = run(*given, lengths, NEVER)
    shown = np.where(valid[..., None], np.asarray(first[0][0]), 0.0)
    last = jax.tree.map(
        lambda h, start: np.where(
            (lengths > 0)[:, None], np.asarray(h)[lengths - 1, np.arange(B)], start
        ),
        first[0][1],
        h0,
    )
    ends = jax.tree.map(lambda h: h[-1], states)
    apart = max(difference(outputs, shown), difference(ends, last))
    cure = "a step may not count steps or examples, except in its state"
    yield judged(subject, "ragged lengths", apart, bound, cure)
    unread = jnp.where(valid[..., None], x, jnp.nan)
    again = run(params, unread, h0, lengths, NEVER)
    name = "NaN after the end"
    if same_bits(again, ((outputs, states), gradient)) and finite(again):
        yield Row(GROUP, name, "passed", "changes no bit of values and gradients")
    else:
        hint = (
            f"{subject.place('step')}: padding reaches values or gradients; steps and "
            "examples must be independent of what they do not belong to"
        )
        yield Row(GROUP, name, "failed", "reaches values or gradients", hint)


def _resets(subject: Subject, run: Run, given: Any, first: Any, bound: float) -> Row:
    """Two documents in one sequence are the same as each alone."""
    params, x, h0 = given
    start = T // 2
    resets = NEVER.copy()
    resets[start] = True
    (outputs, _), _ = run(*given, ALL, resets)
    moved = jnp.concatenate([x[start:], x[:start]])
    (alone, _), _ = run(params, moved, h0, ALL, NEVER)
    wanted = jnp.concatenate([first[0][0][:start], alone[: T - start]])
    cure = "all that a step remembers must be in its state, which a reset replaces"
    return judged(subject, "resets", difference(outputs, wanted), bound, cure)


def _backwards(subject: Subject, run: Run, given: Any, bound: float) -> Row:
    """The walk from the end, with resets, is the walk over the reversed sequence."""
    params, x, h0 = given
    start = T // 2
    resets = NEVER.copy()
    resets[start] = True
    (outputs, _), gradient = quick_jit(walk(subject, True))(*given, ALL, resets)
    # walked backwards, the state is reset at the last step of each document
    turned = np.zeros_like(resets)
    turned[T - start] = True
    (other, _), _ = run(params, x[::-1], h0, ALL, turned)
    apart = difference(outputs, other[::-1])
    if not finite(gradient):
        apart = float("inf")
    cure = "a step may not know its place in the sequence"
    return judged(subject, "backwards", apart, bound, cure)


def _extremes(subject: Subject, run: Run, given: Any) -> Iterator[Row]:
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


def _half(subject: Subject, run: Run) -> Row:
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
