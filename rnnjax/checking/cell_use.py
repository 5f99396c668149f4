"""A cell as it is used: compiled, mapped, with masks, in both directions."""

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from rnnjax.checking.cell_numbers import (
    ALL,
    EPS,
    GROUP,
    NEVER,
    Run,
    extremes,
    half,
    judged,
    rounding,
    walk,
)
from rnnjax.checking.cell_rows import agreement
from rnnjax.checking.cell_subject import (
    LENGTHS,
    B,
    Subject,
    T,
    difference,
    finite,
    quick_jit,
    same_bits,
)
from rnnjax.checking.rows import Row
from rnnjax.recurrence.layer import Recurrent


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
    yield from extremes(subject, run, given)
    yield half(subject, run)


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
    of = f"from the state after step {half}: differ by {{apart}}"
    hint = (
        f"{subject.place('step')}: all that a step remembers must be in the state that "
        "it returns"
    )
    return agreement(GROUP, "continued", apart, EPS, of, hint)


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
