"""Which axis of a model's inputs is time: seen from the recurrences that it runs."""

from typing import Any

import jax

from rnnjax.analysis.flax_calls import Called
from rnnjax.errors import UserError
from rnnjax.probes.backward.marked_program import Program
from rnnjax.probes.backward.segments import marked


def time_first(called: Called, program: Program, wanted: bool | None) -> bool:
    """Whether the inputs are ``(T, B, …)``, not ``(B, T, …)``.

    A recurrence knows its own steps and examples; the axis of the inputs with as many
    entries is time. If there are as many steps as examples, the model is traced again
    with one more entry along the first axis. A recurrence over other steps than the
    inputs have tells nothing; then it is what the caller says, or time first.

    Args:
        called: the model.
        program: its trace.
        wanted: what the caller says; None: nothing.

    Raises:
        UserError: the caller says the opposite of what is found; or nothing is said
            where nothing can be found, with as many steps as examples.
    """
    first, second = called.inputs.shape[:2]
    square = first == second
    found = _more(called) if square else _told(program, first, second)
    if found is None:
        if wanted is None and square and _told(program, first, second):
            raise UserError(
                f"inputs of shape {called.inputs.shape} may have time on their first "
                "axis or on their second: say time_major=True or time_major=False"
            )
        return wanted is not False
    if wanted is not None and wanted != found:
        path, (steps, size) = program.recurrences()[0]
        raise UserError(
            f"time_major={wanted}, but the recurrence '{path}' runs over axis "
            f"{0 if found else 1} of the inputs {called.inputs.shape}: {steps} steps "
            f"of {size} examples; leave time_major out, or say time_major={found}"
        )
    return found


def _told(program: Program, first: int, second: int) -> bool | None:
    """Whether all recurrences run over the first axis; None: not the same for all."""
    sizes = {size for _, size in program.recurrences()}
    if sizes == {(first, second)}:
        return True
    return False if sizes == {(second, first)} else None


def _more(called: Called) -> bool | None:
    first, second, *rest = called.inputs.shape
    inputs = jax.ShapeDtypeStruct((first + 1, second, *rest), called.inputs.dtype)
    params: Any = jax.eval_shape(lambda p: p, called.params)
    try:
        return _told(marked(called.apply, params, inputs), first + 1, second)
    except Exception:  # a model of a fixed size
        return None
