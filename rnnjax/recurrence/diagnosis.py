"""An error of a cell in one sentence that names file, line, cause and cure."""

import dataclasses
import linecache
import re

from flax import errors as flax_errors
from jax import errors as jax_errors

from rnnjax.errors import UserError, one_line
from rnnjax.user_code import place_in


@dataclasses.dataclass(frozen=True)
class Diagnosis:
    """A fault of a cell.

    Attributes:
        place: ``file:line in method``; "" for a cell of this package.
        cause: what was found there.
        cure: what to write instead; "" if that is not known.
    """

    place: str
    cause: str
    cure: str = ""

    def __str__(self) -> str:
        """Place, cause and cure as one sentence.

        >>> print(Diagnosis("bad.py:58 in step", "returned None", "return the state"))
        bad.py:58 in step: returned None; return the state
        """
        what = "; ".join(filter(None, (self.cause, self.cure)))
        return f"{self.place}: {what}" if self.place else what


class CellError(UserError):
    """A fault of a cell that was diagnosed before anything failed."""

    def __init__(self, diagnosis: Diagnosis) -> None:
        super().__init__(str(diagnosis))
        self.diagnosis = diagnosis


def explain(error: Exception, kind: type, method: str = "step") -> Diagnosis:
    """The place, cause and cure of an error raised while a cell was used.

    Args:
        error: the error.
        kind: the class of the cell.
        method: where the fault is if no line of the class is in the traceback.
    """
    if isinstance(error, CellError):
        return error.diagnosis
    place, inside = place_in(kind, error, method)
    file, _, line = place.rpartition(":")
    text = linecache.getline(file, int(line)) if line.isdecimal() else ""
    where = f"{place} in {inside}" if inside else place
    return Diagnosis(where, *_cause(error, text))


ASKED = (
    "write jnp.where(condition, a, b): inside a step the value of an array is not known"
)

CAUSES: tuple[tuple[type[Exception], str, str], ...] = (
    (
        jax_errors.TracerBoolConversionError,
        "a Python if, while, and, or is decided by the value of an array",
        ASKED,
    ),
    (
        jax_errors.TracerIntegerConversionError,
        "an array is used where Python needs a number",
        "index with jnp.take, or use a field of the cell, which is a constant",
    ),
    (
        jax_errors.UnexpectedTracerError,
        "an array of an earlier call is used",
        "keep nothing in global variables or lists; what a step must remember is state",
    ),
    (
        jax_errors.ConcretizationTypeError,
        "float(), int() or a Python function asks for the value of an array",
        "compute with jnp alone, and choose with jnp.where",
    ),
    (
        flax_errors.SetAttributeFrozenModuleError,
        "an attribute of the cell is set outside setup",
        "what a step must remember is part of the state that it returns",
    ),
    (
        flax_errors.InvalidRngError,
        "a step draws random numbers, for which it has no key",
        "a step is a function of state and drive: put noise into the inputs",
    ),
)
"""Error, cause and cure; the first that fits."""

_MISSING = re.compile(r'" object has no attribute "(\w+)"')
"""What flax says of an attribute of a module that was never set."""

_NUMPY = re.compile(r"\b(?:np|numpy|math|cmath|scipy(?:\.\w+)*)\.(?:linalg\.)?(\w+)")


def _cause(error: Exception, text: str) -> tuple[str, str]:
    """Cause and cure of an error that was raised in a line of code."""
    other = _NUMPY.search(text)
    concrete = jax_errors.TracerArrayConversionError, jax_errors.ConcretizationTypeError
    if other and isinstance(error, (*concrete, TypeError)):
        if isinstance(error, concrete) or "math" in other[0]:
            return (
                f"{other[0]} cannot compute with JAX's arrays",
                f"write jnp.{other[1]}",
            )
    if isinstance(error, concrete[0]):
        return "NumPy cannot compute with JAX's arrays", "use jax.numpy, jnp"
    for kind, cause, cure in CAUSES:
        if isinstance(error, kind):
            return cause, cure
    said = one_line(error)
    if isinstance(error, TypeError) and "contracting dimensions" in said:
        return said, (
            "a kernel(name, rows, columns) has as many rows as what it multiplies has "
            "entries: self.inputs for project, self.features for recur"
        )
    if isinstance(error, TypeError | ValueError) and "broadcast" in said:
        return said, (
            "arrays of a step are (B, n); a product of kernel(name, rows, n, gates=4) "
            "is (B, 4n), which split_gates splits, and needs vectors of 4n"
        )
    if isinstance(error, TypeError) and "Shapes must be 1D sequences" in said:
        return said, (
            "initial_state(self, batch) gets a tuple: "
            "jnp.zeros((*batch, self.features), self.param_dtype)"
        )
    missing = _MISSING.search(said) if isinstance(error, AttributeError) else None
    if missing:
        name = missing[1]
        return said, f'declare it in setup: self.{name} = self.vector("{name}", size)'
    return said, ""
