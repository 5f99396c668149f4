"""Check inputs for a trained model against the specification of its task."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Int

from rnnjax.errors import UserError
from rnnjax.tasks.base import TaskSpec
from rnnjax.tasks.readers.arrays import checked_lengths
from rnnjax.tasks.readers.numbers import check_kind, refuse_where, values


WHERE = "apply"
AXES = ("step", "example", "entry")


def checked_inputs(
    spec: TaskSpec, inputs: Any, lengths: Any
) -> tuple[Array, Int[Array, "B"] | None]:
    """Inputs as int32 or float32, and lengths as int32, after checking them.

    Inside a JAX transformation the values are unknown, so only shapes and types are
    checked.

    Args:
        spec: specification of the task on which the model was trained; the number of
            steps T may differ.
        inputs: tokens ``(T, B)`` or vectors ``(T, B, m)``.
        lengths: ``(B,)``, or None.

    Raises:
        UserError: a wrong type or shape, a length outside 1 … T, or at a valid step a
            token outside the vocabulary or a number that is not finite in 32 bits.
            Invalid values in the padding are not an error; they are replaced by 0.
    """
    if np.ma.is_masked(inputs) or np.ma.is_masked(lengths):
        raise UserError(f"{WHERE}: masked arrays are not supported; pass lengths")
    tokens = spec.vocabulary is not None
    given: Any = inputs if isinstance(inputs, Tracer) else _array(inputs)
    check_kind(WHERE, "inputs", given)
    wanted = "tokens (T, B)" if tokens else f"vectors (T, B, {spec.input_size})"
    if tokens and given.dtype.kind == "f":
        raise UserError(f"{WHERE}: inputs has dtype {given.dtype}, not whole numbers")
    fits = given.ndim == 2 if tokens else given.shape[2:] == (spec.input_size,)
    if not fits or 0 in given.shape:
        raise UserError(
            f"{WHERE}: inputs have shape {tuple(given.shape)}; permitted: {wanted}"
        )
    steps, examples = given.shape[:2]
    if lengths is not None and not isinstance(lengths, Tracer):
        lengths = checked_lengths(WHERE, _array(lengths), examples, steps)
    if not isinstance(given, np.ndarray):
        return given, None if lengths is None else jnp.asarray(lengths)
    valid = np.ones((steps, examples), bool)
    if isinstance(lengths, np.ndarray):
        valid = np.arange(steps)[:, None] < lengths
    if spec.vocabulary is None:
        counts = valid[:, :, None] | (np.abs(given) <= np.finfo(np.float32).max)
        checked = values(WHERE, "inputs", np.where(counts, given, 0), AXES)
    else:
        last = spec.vocabulary - 1
        strange = (given < 0) | (given > last)
        checked = np.where(strange & ~valid, 0, given)
        refuse_where(
            strange & valid,
            lambda place, value: (
                f"{WHERE}: inputs has token {value} ({place}); permitted: 0 to {last}"
            ),
            checked,
            AXES,
        )
        checked = checked.astype(np.int32)
    return jnp.asarray(checked), None if lengths is None else jnp.asarray(lengths)


def _array(given: Any) -> np.ndarray:
    try:
        return np.asarray(given)
    except ValueError as error:
        raise UserError(
            f"{WHERE}: not an array: {str(error).partition(chr(10))[0]}"
        ) from None
