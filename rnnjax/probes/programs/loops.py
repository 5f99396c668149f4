"""The loops of a traced program: where they are, and what cannot be walked."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import jaxpr_as_fun

from rnnjax.errors import UserError
from rnnjax.recurrence.jaxprs import inlined, inner, leading, rest_from, within


OPENED = (
    "jit",
    "pjit",
    "closed_call",
    "core_call",
    "checkpoint",
    "remat",
    "remat2",
    "custom_jvp_call",
    "custom_vjp_call",
    "custom_vjp_call_jaxpr",
)
"""Primitives that run an inner program on their operands. A derivative rule of the
user's around a loop is not used; the gradient is compared with JAX's, which uses it."""

UNKNOWN = "unknown line"

_JAX = str(Path(jax.__file__).parent)
_PACKAGES = str(Path(_JAX).parent)
_OWN = str(Path(__file__).parents[2])


@dataclasses.dataclass(frozen=True, eq=False)
class Loop:
    """One `lax.scan` of a program.

    Attributes:
        name: `loop0`, `loop1`, … in the order in which they run; `loop0[2]/loop0` is
            one inside of the third step of `loop0`, which was unrolled.
        place: ``file:line`` in the user's code, or in the library that made the loop.
        advance: constants, carry and inputs of a step to the new carry, all flat.
        emit: constants, carry, inputs and the new carry to the outputs, where what is
            computed from the new carry is computed from the one that is given.
        constants, carry: how many of the operands are constants, and the carry.
        length: number of steps T.
        reverse: whether it runs from the last step to the first.
        inside: the loops in its step: name, place and length.
    """

    name: str
    place: str
    advance: Callable[[Sequence[Any]], Sequence[Any]]
    emit: Callable[[Sequence[Any], Sequence[Any]], Sequence[Any]]
    constants: int
    carry: int
    length: int
    reverse: bool
    inside: tuple[tuple[str, str, int], ...]

    def __str__(self) -> str:
        """Name, place and length in words."""
        way = " in reverse" if self.reverse else ""
        return f"{self.name} ({self.place}): scan over {self.length} steps{way}"


def is_loop(equation: Any) -> bool:
    """Whether an equation is a loop that can be walked and carries a float."""
    if equation.primitive.name != "scan":
        return False
    constants, carry = equation.params["num_consts"], equation.params["num_carry"]
    carried = equation.invars[constants : constants + carry]
    floats = [jnp.issubdtype(x.aval.dtype, jnp.inexact) for x in carried]
    return any(floats) and equation.params["length"] > 0


def is_while(equation: Any) -> bool:
    """Whether an equation is a `while_loop` that carries a float."""
    outputs = [x.aval.dtype for x in equation.outvars]
    return equation.primitive.name == "while" and any(
        jnp.issubdtype(x, jnp.inexact) for x in outputs
    )


def top(program: Any) -> Iterator[Any]:
    """All equations outside of loops and branches."""
    for equation in getattr(program, "jaxpr", program).eqns:
        yield equation
        if equation.primitive.name in OPENED:
            yield from top(inner(equation)[0])


def as_loop(equation: Any, name: str) -> Loop:
    """The description of a scan."""
    params = equation.params
    body, carry = inlined(params["jaxpr"]), params["num_carry"]
    advance = jaxpr_as_fun(leading(body, carry))
    return Loop(
        name=name,
        place=place_of(equation),
        advance=lambda given: advance(*given),
        emit=rest_from(body, carry),
        constants=params["num_consts"],
        carry=carry,
        length=params["length"],
        reverse=params["reverse"],
        inside=tuple(
            (f"{name}/loop{i}", place_of(x), x.params["length"])
            for i, x in enumerate(filter(is_loop, top(params["jaxpr"])))
        ),
    )


def describe(loop: Loop) -> list[str]:
    """A line for each loop inside of a loop's step, and how it is measured."""
    return [
        f"  {name} ({place}): {length} steps, a part of the step of {loop.name}; "
        f"measured with unroll=['{loop.name}']"
        for name, place, length in loop.inside
    ]


def place_of(equation: Any) -> str:
    """``file:line`` of the innermost line of the user's that made an equation."""
    return _user_line(_frames(equation))


def _user_line(frames: Sequence[Any]) -> str:
    """The innermost line outside of installed packages, else outside of JAX."""
    for hidden in (_PACKAGES, _JAX):
        for frame in frames:
            if not frame.file_name.startswith((hidden, _OWN, "<")):
                return f"{frame.file_name}:{frame.line_num}"
    return UNKNOWN


def refuse(equation: Any) -> None:
    """Refuse a loop in a place that cannot be opened.

    Raises:
        UserError: always.
    """
    name = equation.primitive.name
    found = next(filter(is_loop, within(equation)))
    kinds = {
        "cond": "a branch",
        "while": "a while loop",
        "scan": "another loop, which carries nothing (lax.map)",
    }
    kind = kinds.get(name, f"'{name}'")
    raise UserError(
        f"{place_of(found)}: a loop inside {kind}, where the probe cannot follow it; "
        "move it outside"
    )


UNSEEN = {
    "cumsum": "cumsum",
    "cumprod": "cumprod",
    "cumlogsumexp": "cumlogsumexp",
    "fft": "a Fourier transform",
    "while": "a while loop",
}
"""Primitives that carry floats from step to step and are no scan, in words."""


def unseen(program: Any, around: str = UNKNOWN) -> list[str]:
    """What else may carry something from step to step, each with its line.

    Of the equations outside of all loops, those of `UNSEEN` that return floats, and
    those that `lax.associative_scan` made.

    Args:
        program: the traced program.
        around: where it is called, for equations that do not know their line.
    """
    found: dict[str, None] = {}
    for equation in getattr(program, "jaxpr", program).eqns:
        if is_loop(equation):
            continue
        kind, frames = UNSEEN.get(equation.primitive.name), _frames(equation)
        makers = [i for i, frame in enumerate(frames) if _is_associative(frame)]
        if makers:  # the line that calls it, not one of the function that it is given
            kind, frames = "associative_scan", frames[makers[-1] + 1 :]
        place = _user_line(frames)
        place = around if place == UNKNOWN else place
        outputs = [x.aval.dtype for x in equation.outvars]
        if kind and any(jnp.issubdtype(x, jnp.inexact) for x in outputs):
            found[f"{kind} ({place})"] = None
        else:
            for part in inner(equation):
                found |= dict.fromkeys(unseen(part, place))
    return list(found)


def _is_associative(frame: Any) -> bool:
    name = frame.function_name.split(".")[0]
    return name == "associative_scan" and frame.file_name.startswith(_JAX)


def _frames(equation: Any) -> list[Any]:
    trace = getattr(equation.source_info, "traceback", None)
    return list(trace.frames) if trace else []
