"""The program of one step, traced: the same each time, and with the right numbers."""

import dataclasses
import inspect
import re
from typing import Any

import jax
import numpy as np

from rnnjax.cells.base import Cell
from rnnjax.checking.cell_rows import fault
from rnnjax.checking.cell_subject import Subject
from rnnjax.checking.rows import Row
from rnnjax.recurrence.diagnosis import explain
from rnnjax.recurrence.examination import BATCH, examine
from rnnjax.recurrence.fields import program_text
from rnnjax.recurrence.functional import abstract, call, make_weights, split_cell
from rnnjax.recurrence.jaxprs import equations
from rnnjax.user_code import place_of


GROUP = "contract"

_IMPURE = re.compile(
    r"\b(?:np|numpy)\.random\b|\brandom\.(?!key|PRNGKey)\w+\(|\btime\.\w+\(|\bnext\("
    r"|\bglobal\b|\buuid\b|\bsecrets\b|\.append\("
)


def traced(subject: Subject, dtype: str, method: str = "step") -> Any:
    """The closed jaxpr of a readin and a step, from shapes alone.

    Kernels that are computed once for a sequence are arguments.

    Args:
        subject: the cell.
        dtype: precision of its parameters.
        method: ``readin``: of the readin alone; ``kernels``: of what is computed once
            for a sequence.
    """
    cell = subject.build(dtype)
    state = jax.eval_shape(lambda: cell.initial_state((BATCH,)))
    x = jax.ShapeDtypeStruct((BATCH, cell.inputs), cell.param_dtype)
    made = jax.eval_shape(lambda s, x: cell.init(jax.random.key(0), s, x), state, x)
    static, _ = split_cell(cell)
    params = made.get("params", {})
    make = lambda params: make_weights(cell, params)[1]
    if method == "kernels":
        return jax.make_jaxpr(make)(*abstract((params,)))
    weights = jax.eval_shape(make, params)
    free = {k: v for k, v in params.items() if not isinstance(v, dict)}
    weights = dataclasses.replace(weights, kernels={**free, **weights.kernels})

    def run(weights: Any, state: Any, x: Any) -> Any:
        drive = call(static, weights, "readin", x)[0]
        if method == "readin":
            return drive
        return call(static, weights, "step", state, drive)[0]

    return jax.make_jaxpr(run)(*abstract((weights, state, x)))


def same_program(subject: Subject) -> Row:
    """Two traces are one program: of a step, and of what comes before the first."""
    name = "traced twice"
    try:
        one, other = (
            [
                program_text(traced(subject, "float32", part))
                for part in ("step", "kernels")
            ]
            for _ in range(2)
        )
    except Exception as error:
        return fault(GROUP, name, explain(error, subject.kind))
    if one == other:
        return Row(GROUP, name, "passed", "the same program")
    changes = "step" if one[0] != other[0] else "kernels"
    place = _suspect(subject) or subject.place(changes)
    hint = (
        f"{place}: a cell is set up and its step traced many times, and Python values "
        "become constants; random numbers come in with the input or from a seed, "
        "counters belong to the state"
    )
    said = "other constants each time: a Python value changes from call to call"
    return Row(GROUP, name, "failed", said, hint)


def nothing_kept(subject: Subject) -> Row:
    """No traced array is kept after its step, as in a list outside of the cell."""
    name = "nothing kept"
    try:
        with jax.checking_leaks():
            examine(subject.build())
    except Exception as error:
        if "Leaked trace" not in str(error):
            raise
        place = _suspect(subject) or subject.place("step")
        hint = (
            f"{place}: keep no array in a list or a global variable; what a step must "
            "remember is state, and what you want to see is returned by readout"
        )
        said = "an array of a step is kept after the step has ended"
        return Row(GROUP, name, "failed", said, hint)
    return Row(GROUP, name, "passed", "no array outlives its step")


def without_random_numbers(subject: Subject) -> Row:
    """A step that draws with a key of its own draws the same numbers each time."""
    name = "random numbers"
    for equation in equations(traced(subject, "float32")):
        if equation.primitive.name.startswith(("random_", "threefry")):
            place = place_of(subject.kind, equation) or subject.place("step")
            said = "drawn inside a step, from a fixed key: the same at every step"
            hint = f"{place}: put noise into the inputs"
            return Row(GROUP, name, "failed", said, hint)
    return Row(GROUP, name, "passed", "none are drawn in a step")


def products(subject: Subject) -> Row:
    """Kernels are multiplied by `project` and `recur`, where the probes look."""
    name = "products"
    through = 0
    for equation in equations(traced(subject, "float32")):
        if equation.primitive.name != "dot_general":
            continue
        if "_seam" in str(equation.source_info.name_stack):
            through += 1
            continue
        of_examples = [BATCH in x.aval.shape for x in equation.invars]
        if of_examples.count(True) != 1:  # no matrix that all examples share
            continue
        place = place_of(subject.kind, equation) or subject.place("step")
        said = "a matrix product goes neither through project nor through recur"
        hint = (
            f"{place}: if its matrix is learned, name it by self.kernel and write "
            "self.recur(name, h): of other products probes show no cotangent, and the "
            "gradient of their matrices takes a product for each step"
        )
        return Row(GROUP, name, "note", said, hint)
    return Row(GROUP, name, "passed", f"{through}, by project and recur alone")


def wide_numbers(subject: Subject) -> Row:
    """With JAX_ENABLE_X64, a step of 32 bits makes no numbers of 64 bits."""
    name = "32 bits"
    with jax.enable_x64(True):
        try:
            examine(subject.build())
            program = traced(subject, "float32")
        except Exception as error:
            return fault(GROUP, name, explain(error, subject.kind))
    for equation in equations(program):
        for out in equation.outvars:
            dtype = getattr(out.aval, "dtype", None)
            weak = getattr(out.aval, "weak_type", False)
            if dtype in (np.float64, np.complex128) and not weak:
                place = place_of(subject.kind, equation) or subject.place("step")
                said = f"{equation.primitive.name} makes {dtype} of a step in float32"
                hint = (
                    f"{place}: write Python floats in place of np.float64, and give "
                    "jnp.zeros, jnp.ones, jnp.array the dtype self.param_dtype"
                )
                return Row(GROUP, name, "failed", said, hint)
    return Row(GROUP, name, "passed", "no number of 64 bits, with JAX_ENABLE_X64 too")


def _suspect(subject: Subject) -> str:
    """The line of a method that most likely changes from call to call; or ""."""
    for kind in subject.kind.__mro__:
        if kind is Cell:
            break
        for method in ("step", "readin", "readout", "kernels", "setup"):
            function = inspect.unwrap(vars(kind).get(method, kind))
            try:
                lines, start = inspect.getsourcelines(function)
            except (OSError, TypeError):
                continue
            for number, line in enumerate(lines, start):
                if function is not kind and _IMPURE.search(line):
                    file = inspect.getsourcefile(function)
                    return f"{file}:{number} in {method}"
    return ""
