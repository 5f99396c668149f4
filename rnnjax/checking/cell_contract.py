"""What a recurrence takes for granted of a cell: shapes, precision, independence."""

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rnnjax.checking.cell_program import (
    nothing_kept,
    products,
    same_program,
    wide_numbers,
    without_random_numbers,
)
from rnnjax.checking.cell_rows import fault
from rnnjax.checking.cell_subject import (
    B,
    M,
    N,
    Subject,
    T,
    difference,
    named,
    objective,
    quick_jit,
    same_bits,
)
from rnnjax.checking.rows import Row
from rnnjax.recurrence.diagnosis import explain
from rnnjax.recurrence.examination import described, examine
from rnnjax.recurrence.fields import acts_in_step, first_change
from rnnjax.recurrence.functional import call, make_weights
from rnnjax.recurrence.layer import Recurrent


GROUP = "contract"

ROUNDING = 1e3 * float(jnp.finfo(jnp.float32).eps)
"""Largest relative difference that another order of the same sums may make."""


def foundations(subject: Subject) -> Iterator[Row]:
    """What everything else rests on: without it nothing else can be examined."""
    for examine_one in (_methods, nothing_kept, same_program, without_random_numbers):
        row = examine_one(subject)
        yield row
        if row.verdict == "failed":
            return


def contract(subject: Subject) -> Iterator[Row]:
    """Precision, batches, single steps, and what the new state depends on."""
    yield products(subject)
    yield wide_numbers(subject)
    yield (double := _precision(subject, "float64", "64 bits"))
    if double.verdict != "failed":
        yield _precision(subject, "bfloat16", "16 bits")
    yield _readin(subject)
    yield _fields(subject)
    yield from _numbers(subject)


def _methods(subject: Subject) -> Row:
    """Each method returns what the recurrence can use, for any number of examples."""
    try:
        for batch in (1, 3, 7):
            cell = subject.build()
            seen = examine(cell, batch)
        # as in use: flax lends its key for parameters to a step that asks for one
        x = jax.ShapeDtypeStruct((batch, M), cell.param_dtype)
        run = lambda params, state, x: cell.apply({"params": params}, state, x)
        jax.eval_shape(run, seen.params, seen.state, x)
    except Exception as error:
        return fault(GROUP, "methods", explain(error, subject.kind))
    found = f"state {described(seen.state)}, output {described(seen.output)}"
    if seen.reads is not None and len(names := list(named(seen.state))) > 1:
        found += f", which is {names[seen.reads]} of the state"
    return Row(GROUP, "methods", "passed", found)


def _precision(subject: Subject, dtype: str, name: str) -> Row:
    """States and outputs keep the precision of the parameters."""
    with jax.enable_x64(dtype == "float64"):
        try:
            seen = examine(subject.build(dtype))
        except Exception as error:
            found = explain(error, subject.kind)
            if dtype == "bfloat16" and "state was" not in found.cause:
                return Row(GROUP, name, "note", f"not supported: {found.cause}")
            return fault(GROUP, name, found)
    kept = seen.output.dtype
    if dtype == "bfloat16" and any(map(jnp.iscomplexobj, jax.tree.leaves(seen.state))):
        said = f"outputs are {kept}: there are no complex numbers of 16 bits"
        return Row(GROUP, name, "note", said)
    if kept != jnp.dtype(dtype):
        cure = f"{subject.place('readout')}: write numbers as Python floats"
        said = f"outputs are {kept}, parameters {dtype}"
        return Row(GROUP, name, "failed", said, cure)
    return Row(GROUP, name, "passed", f"states and outputs are {dtype}")


def _readin(subject: Subject) -> Row:
    """Whether `readin` of a sequence equals `readin` of each of its steps alone."""
    name = "readin of one step"
    with jax.enable_x64(True):
        params, x, _ = subject.arguments("float64")
        cell, weights = make_weights(subject.build("float64"), params)
        read = lambda x: call(cell, weights, "readin", x)[0]
        whole = read(x)
        for t in range(T):
            alone = read(x[t])
            here = jax.tree.map(lambda a, t=t: a[t], whole)
            shapes = [
                [np.shape(a) for a in jax.tree.leaves(tree)] for tree in (here, alone)
            ]
            apart = difference(here, alone) if shapes[0] == shapes[1] else np.inf
            if not apart < 1e-12:
                said = f"differs by {apart:.1g} from that of the sequence, step {t}"
                hint = (
                    f"{subject.place('readin')}: act on the last axis only, axis=-1: "
                    "readin is called once with all steps (T, B, m), and what it "
                    "returns at a step may depend on the input of that step alone"
                )
                return Row(GROUP, name, "failed", said, hint)
    return Row(GROUP, name, "passed", f"equals that of all {T} steps at once")


def _fields(subject: Subject) -> Row:
    """Numbers listed in `initial` leave the step as it is."""
    name, cell = "fields of the start", subject.build()
    numbers = [x for x in cell.initial if isinstance(getattr(cell, x), float)]
    for field in numbers:
        for change in (0.7, 1.3):
            try:
                other = cell.clone(**{field: change * getattr(cell, field) + 0.1})
                place = first_change(cell, other)
            except Exception:  # a number that the cell refuses
                continue
            if place is not None:
                return fault(GROUP, name, acts_in_step(subject.kind, field, place))
    found = f"{', '.join(numbers) or 'no number'} listed in `initial`"
    return Row(GROUP, name, "passed", f"{found}; the step does not depend on it")


def _numbers(subject: Subject) -> Iterator[Row]:
    """Same bits twice; examples do not see each other; input, state, parameters act."""
    params, x, h0 = subject.arguments("float32")
    layer = Recurrent(subject.build(), engine="plain")

    def run(params: Any, x: Any, h0: Any) -> Any:
        variables = {"params": {"cell": params}}
        outputs, states = layer.apply(variables, x, initial_state=h0)
        return objective(outputs, states), (outputs, states)

    program = quick_jit(jax.value_and_grad(run, (0, 1, 2), has_aux=True))
    (_, first), gradient = program(params, x, h0)
    (_, again), _ = program(params, x, h0)
    place = subject.place("step")
    if same_bits(first, again):
        yield Row(GROUP, "called twice", "passed", "the same bits")
    else:
        hint = f"{place}: a step may depend on nothing but its arguments and parameters"
        yield Row(GROUP, "called twice", "failed", "other bits the second time", hint)
    for examine_one in (_examples_alone, _examples_permuted, _one_example):
        row = examine_one(subject, program, (params, x, h0), first)
        yield row
        if row.verdict == "failed":
            break  # one cause, one row
    d_params, d_x, d_h0 = gradient
    for what, part, cure in (
        ("input", d_x, "use drive, which readin makes of the input"),
        ("state before", d_h0, "use the first argument, the state before the step"),
    ):
        acts = any(np.any(np.asarray(leaf) != 0) for leaf in jax.tree.leaves(part))
        verdict = "passed" if acts else "failed"
        found = "changes the new state" if acts else "no output or state depends on it"
        yield Row(GROUP, what, verdict, found, "" if acts else f"{place}: {cure}")
        if not acts:
            return  # the parameters that act on it alone are idle, too
    idle = [k for k, v in named(d_params).items() if not np.any(np.asarray(v) != 0)]
    if idle:
        said = f"{', '.join(idle)}: no output or state depends on it"
        hint = (
            f"{subject.place('setup')}: use it in readin, step or readout, or drop it"
        )
        yield Row(GROUP, "parameters", "failed", said, hint)
    else:
        size = sum(np.size(leaf) for leaf in jax.tree.leaves(params))
        yield Row(GROUP, "parameters", "passed", f"all act ({size} for m={M}, n={N})")


ALONE = (
    "an example of a batch sees no other: sums, means and norms go over the last axis "
    "(axis=-1), and nothing is sized by the batch"
)


def _examples_alone(subject: Subject, program: Any, given: Any, first: Any) -> Row:
    """Another first example leaves the bits of the others; so does one that is NaN."""
    params, x, h0 = given
    for other in (2.0 * x[:, 0] + 1.0, jnp.full_like(x[:, 0], jnp.nan)):
        (_, now), _ = program(params, x.at[:, 0].set(other), h0)
        rest = jax.tree.map(lambda a: a[:, 1:], (first, now))
        if not same_bits(*rest):
            said = "another first example changes the others of its batch"
            hint = f"{subject.place('step')}: {ALONE}"
            return Row(GROUP, "examples", "failed", said, hint)
    return Row(GROUP, "examples", "passed", "keep their bits when another one changes")


def _one_example(subject: Subject, program: Any, given: Any, first: Any) -> Row:
    """An example gives the same in a batch of its own."""
    params, x, h0 = given
    (_, now), _ = program(params, x[:, :1], jax.tree.map(lambda a: a[:1], h0))
    apart = difference(now, jax.tree.map(lambda a: a[:, :1], first))
    found = f"changes it by {apart:.1g} (bound {ROUNDING:.1g})"
    if apart <= ROUNDING:
        return Row(GROUP, "size of the batch", "passed", found)
    hint = f"{subject.place('step')}: {ALONE}; a size is self.features, or x.shape[-1]"
    return Row(GROUP, "size of the batch", "failed", found, hint)


def _examples_permuted(subject: Subject, program: Any, given: Any, first: Any) -> Row:
    """Examples in another order give the same in that order."""
    params, x, h0 = given
    order = np.roll(np.arange(B), 1)
    (_, now), _ = program(params, x[:, order], jax.tree.map(lambda a: a[order], h0))
    apart = difference(now, jax.tree.map(lambda a: a[:, order], first))
    found = f"another order changes them by {apart:.1g} (bound {ROUNDING:.1g})"
    if apart <= ROUNDING:
        return Row(GROUP, "order of examples", "passed", found)
    hint = f"{subject.place('step')}: {ALONE}"
    return Row(GROUP, "order of examples", "failed", found, hint)
