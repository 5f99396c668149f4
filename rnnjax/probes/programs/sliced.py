"""What a program computes for one step of a loop's inputs, without the other steps.

A projection of all inputs may stand before the loop as one product. The program of one
step is found by giving its axis of time a size of one, equation by equation, where they
are known to treat steps apart. Whether the result is right is for the caller to
compare, because an axis is taken for that of time by its size.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
from jax import lax
from jax.extend.core import Literal
from jaxtyping import Array

from rnnjax.recurrence.jaxprs import inlined


ENTRYWISE = frozenset(
    "add add_any sub mul div max min neg sign abs exp exp2 log log1p expm1 tanh "
    "logistic sqrt rsqrt square sin cos erf integer_pow pow select_n copy "
    "convert_element_type".split()
)

OneStep = Callable[[Sequence[Any], Any], list[Array]]
"""Maps the arguments and a step to the results at that step."""


class _Value(NamedTuple):
    """An array, and its axis of time if it was cut to one step."""

    array: Any
    time: int | None = None


class _Unknown(Exception):
    """An equation that may mix steps."""


def sliced(closed: Any, length: int) -> OneStep | None:
    """One step of the results of a program, which have the axis of time first.

    What depends on no argument is computed once, for all steps.

    Args:
        closed: the program; what is no argument is a constant of it.
        length: number of steps.

    Returns:
        None if an equation is not known to treat steps apart.
    """
    closed = inlined(closed)
    jaxpr = closed.jaxpr
    fixed = dict(zip(jaxpr.constvars, closed.consts, strict=True))
    varying, rest = set(jaxpr.invars), []
    read = lambda x, known: x.val if isinstance(x, Literal) else known[x]
    for equation in jaxpr.eqns:
        if any(not isinstance(x, Literal) and x in varying for x in equation.invars):
            varying.update(equation.outvars)
            rest.append(equation)
        else:
            values = [read(x, fixed) for x in equation.invars]
            fixed.update(zip(equation.outvars, _bound(equation, values), strict=True))

    def one(arguments: Sequence[Any], step: Any) -> list[Array]:
        known = {x: _Value(array) for x, array in fixed.items()}
        given = zip(jaxpr.invars, arguments, strict=True)
        known |= {x: _Value(array) for x, array in given}
        for equation in rest:
            places = equation.invars
            values = [
                _Value(x.val) if isinstance(x, Literal) else known[x] for x in places
            ]
            data = [isinstance(x, Literal) or x not in varying for x in places]
            known[equation.outvars[0]] = _through(equation, values, data, step, length)
        found = [known[x] for x in jaxpr.outvars]
        if any(x.time != 0 for x in found):
            raise _Unknown
        return [x.array[0] for x in found]

    try:
        jax.eval_shape(one, [x.aval for x in jaxpr.invars], 0)
    except (_Unknown, KeyError, TypeError, ValueError):
        return None
    return one


def _bound(equation: Any, values: Sequence[Any], **changed: Any) -> Any:
    out = equation.primitive.bind(*values, **(equation.params | changed))
    return out if equation.primitive.multiple_results else [out]


def _cut(value: _Value, axis: int, step: Any) -> _Value:
    """The value at one step."""
    if value.time == axis:
        return value
    if value.time is not None:
        raise _Unknown
    return _Value(lax.dynamic_slice_in_dim(value.array, step, 1, axis), axis)


def _through(
    equation: Any, values: list[_Value], data: list[bool], step: Any, length: int
) -> _Value:
    """The result of an equation at one step, or whole if no axis of time is met.

    Args:
        equation: with one result.
        values: of its operands.
        data: which of them depend on no argument; an axis of time is theirs.
        step: the step.
        length: number of steps.
    """
    name, params = equation.primitive.name, equation.params
    if len(equation.outvars) != 1:
        raise _Unknown
    rows = list(zip(values, data, strict=True))
    long = lambda x: x.array.ndim and x.array.shape[0] == length
    if all(x.time is None for x in values):
        if not any(own and long(x) for x, own in rows):
            return _Value(_bound(equation, [x.array for x in values])[0])
        values = [_cut(x, 0, step) if own and long(x) else x for x, own in rows]
    times = {x.time for x in values if x.time is not None}
    if len(times) != 1:
        raise _Unknown
    time = times.pop()
    plain = lambda: [x.array for x in values]
    if name in ENTRYWISE:
        full = len(equation.outvars[0].aval.shape)
        values = [x if x.array.ndim < full else _cut(x, time, step) for x in values]
        return _Value(_bound(equation, plain())[0], time)
    if name == "dot_general":
        contracted, batched = params["dimension_numbers"]
        side = 0 if values[0].time is not None else 1
        if time in (*contracted[side], *batched[side]) or values[1 - side].time == time:
            raise _Unknown
        free = lambda i: [
            axis
            for axis in range(values[i].array.ndim)
            if axis not in (*contracted[i], *batched[i])
        ]
        place = len(batched[0]) + free(side).index(time)
        place += len(free(0)) if side else 0
        return _Value(_bound(equation, plain())[0], place)
    if name == "transpose":
        out = _bound(equation, plain())[0]
        return _Value(out, tuple(params["permutation"]).index(time))
    if name == "broadcast_in_dim":
        place = params["broadcast_dimensions"][time]
        shape = [1 if i == place else n for i, n in enumerate(params["shape"])]
        return _Value(_bound(equation, plain(), shape=tuple(shape))[0], place)
    if name == "gather" and values[1].time == 0 and data[1]:
        numbers = params["dimension_numbers"]
        if 0 in numbers.offset_dims or numbers.start_indices_batching_dims:
            raise _Unknown
        return _Value(_bound(equation, plain())[0], 0)
    raise _Unknown
