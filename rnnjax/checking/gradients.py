"""Is the gradient of a recurrent kernel right? By argument, by lag and by length."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax

from rnnjax.checking.arguments import Maker, from_shapes, layout
from rnnjax.checking.comparison import (
    ByLag,
    Difference,
    farthest,
    first_wrong,
    from_last,
    gradients,
    later,
    outputs,
    worst,
)
from rnnjax.checking.evidence import Evidence, Mistake
from rnnjax.checking.mistakes import mistakes
from rnnjax.checking.primal import has_own_rules, primal_of
from rnnjax.checking.pullbacks import FINAL, MIDDLE, Measured, Pair
from rnnjax.checking.rows import Check, Row
from rnnjax.checking.variants import cut_in_two, finite_difference, second_order
from rnnjax.errors import UserError, one_line


LENGTHS = (1, 2, 3, 63, 64, 65, 127, 129)
"""Numbers of steps: kernels have failed only for one, beyond a chunk, or where the
number is no multiple of a chunk."""


@dataclasses.dataclass(frozen=True)
class GradientCheck(Check):
    """The rows of `check_gradients`, and what they say in a form for programs.

    Attributes:
        arguments: names of the arguments whose gradient is wrong.
        from_lag: the first lag at which the gradient of the inputs is wrong, or None.
        lengths: the lengths at which a gradient is wrong.
        kinds: the known mistakes that explain it, such as ``truncated``.
    """

    arguments: tuple[str, ...] = ()
    from_lag: int | None = None
    lengths: tuple[int, ...] = ()
    kinds: tuple[str, ...] = ()


def check_gradients(
    function: Callable[..., Any],
    reference: Callable[..., Any] | None = None,
    args: Maker | str = "",
    *,
    lengths: Sequence[int] | None = None,
    window: int | None = None,
) -> GradientCheck:
    """Compare the gradients of a recurrent kernel with those of a reference.

    Both take the same arguments and give the same results, of any structure. Gradients
    of random projections of all results are compared, final states included. The
    reference is computed in double precision; a difference counts if it exceeds what
    rounding explains in the precision of the arguments, which is measured
    (`rnnjax.checking.pullbacks`).

    Args:
        function: the kernel.
        reference: a plain form of it, differentiated by JAX; None: the forward pass of
            the kernel without its own derivative rules (`rnnjax.checking.primal`).
        args: a function ``(seed, steps) -> arguments``, or shapes
            (`rnnjax.checking.arguments.from_shapes`).
        lengths: numbers of steps; None: `LENGTHS`.
        window: a width W of the kernel, around which lengths are added.

    Raises:
        UserError: the arguments do not fit, the results of the two differ in shape, or
            there is no reference and none can be derived.
    """
    make = from_shapes(args) if isinstance(args, str) else args
    if window is not None and window < 1:
        raise UserError(f"a width of {window} steps is too small")
    if reference is None:
        reference = _derived(function, make)
    at = layout(reference, make)
    _same_shapes(function, reference, make)
    pair = Pair(function, reference, make, at)
    tried = sorted({*(lengths or LENGTHS), *_around(window)})
    seen = {steps: pair.measure(steps) for steps in tried}
    rows: list[Row] = list(_value_rows(seen))
    if any(row.verdict == "failed" for row in rows):
        return GradientCheck(_name(function), tuple(rows))
    rows.append(finite_difference(pair, min(tried[-1], 33)))
    by_argument = {steps: gradients(one, at) for steps, one in seen.items()}
    lags = {steps: from_last(one, at) for steps, one in seen.items()}
    failing = [
        steps
        for steps, one in seen.items()
        if any(x.wrong for x in by_argument[steps])
        or first_wrong(lags[steps]) is not None
        or _final_wrong(one, pair)
    ]
    longest = failing[-1] if failing else tried[-1]
    explained: list[Mistake] = []
    if failing:
        at_one = None if 1 not in seen else 1 not in failing
        reach = max(
            (farthest(x) for t, x in lags.items() if t not in failing), default=0
        )
        evidence = Evidence(pair, seen[longest], at_one, lags[longest], reach)
        explained = mistakes(evidence)
    rows += _argument_rows(at.names, by_argument)
    ahead = later(seen[longest], at, MIDDLE, longest // 2)
    rows += _lag_rows(lags[longest], longest, ahead)
    rows.append(_length_row(tried, failing))
    if at.state and None in at.outputs and tried[-1] > 1:
        rows += cut_in_two(pair, tried[-1])
    second = second_order(pair, min(17, tried[-1]))
    rows.append(second)
    rows += [Row("mistake", x.kind, "failed", x.sentence) for x in explained]
    kinds = [x.kind for x in explained]
    if second.verdict == "failed" and not failing:
        kinds.append("wrong only in second order")
    wrong = {x.name for found in by_argument.values() for x in found if x.wrong}
    return GradientCheck(
        _name(function),
        tuple(rows),
        tuple(name for name in at.names if name in wrong),
        first_wrong(lags[longest]) if failing else None,
        tuple(failing),
        tuple(kinds),
    )


def _derived(function: Callable[..., Any], make: Maker) -> Callable[..., Any]:
    if not has_own_rules(function, make(0, 5)):
        raise UserError(
            f"{_name(function)} has no derivative rule of its own (jax.custom_vjp), so "
            "JAX differentiates it; to compare it with another form, give a --reference"
        )
    return primal_of(function)


def _around(window: int | None) -> list[int]:
    if window is None:
        return []
    near = (window - 2, window - 1, window, window + 1, 2 * window, 2 * window + 1)
    return [steps for steps in near if steps > 0]


def _name(function: Callable[..., Any]) -> str:
    return getattr(function, "__name__", type(function).__name__)


def _same_shapes(
    function: Callable[..., Any], reference: Callable[..., Any], make: Maker
) -> None:
    try:
        here, there = (
            jax.eval_shape(one, *make(0, 5)) for one in (function, reference)
        )
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"the arguments do not fit: {one_line(error)}") from error
    shapes = [
        [(x.shape, str(x.dtype)) for x in jax.tree.leaves(one)] for one in (here, there)
    ]
    if shapes[0] != shapes[1]:
        raise UserError(
            f"the kernel and its reference differ in the shapes of their results: "
            f"{shapes[0]} and {shapes[1]} for 5 steps"
        )


def _final_wrong(seen: Measured, pair: Pair) -> bool:
    if None not in pair.at.outputs:
        return False
    return any(x.wrong for x in gradients(seen, pair.at, FINAL))


def _value_rows(seen: dict[int, Measured]) -> list[Row]:
    each = {steps: outputs(one) for steps, one in seen.items()}
    bad = [t for t, found in each.items() if any(x.wrong for x in found)]
    text = worst([x for found in each.values() for x in found])
    name = f"{len(each[max(each)])} results"
    if not bad:
        return [Row("values", name, "passed", text)]
    hint = (
        "the two compute different functions, so their gradients are not compared; "
        "make the values agree first"
    )
    return [Row("values", name, "failed", f"{text}; at T = {_listed(bad)}", hint)]


def _argument_rows(
    names: Sequence[str], found: dict[int, list[Difference]]
) -> list[Row]:
    rows = []
    for place, name in enumerate(names):
        each = {steps: x[place] for steps, x in found.items()}
        bad = [t for t, x in each.items() if x.wrong]
        text = worst(list(each.values()))
        if bad:
            text += f"; wrong at T = {_listed(bad)}"
        rows.append(Row("arguments", name, "failed" if bad else "passed", text))
    return rows


def _lag_rows(lags: Sequence[ByLag], steps: int, later: bool) -> list[Row]:
    rows = []
    for one in lags:
        first = first_wrong([one])
        text = f"right at lags 0 to {len(one.size) - 1}"
        if first is not None:
            size = "exactly 0" if one.zero[first] else f"error {one.error[first]:.2g}"
            text = f"wrong from lag {first} on ({size} there), T = {steps}"
        verdict = "passed" if first is None else "failed"
        rows.append(Row("lags", f"{one.name} from the last output", verdict, text))
    if later:
        found = "an output has a gradient at inputs that come after it"
        rows.append(Row("lags", "causality", "failed", found))
    return rows


def _length_row(tried: Sequence[int], failing: Sequence[int]) -> Row:
    if not failing:
        return Row("lengths", "T", "passed", f"right at T = {_listed(tried)}")
    return Row("lengths", "T", "failed", pattern(tried, failing))


def pattern(tried: Sequence[int], failing: Sequence[int]) -> str:
    """At which lengths something fails, in words.

    >>> pattern([1, 2, 63, 64, 65], [1, 2, 63, 65])
    'wrong where T is no multiple of 64'
    >>> pattern([1, 2, 3, 64], [64]), pattern([1, 2, 3, 64], [1, 2])
    ('wrong from T = 64 on, right up to 3', 'wrong up to T = 2, right from 3 on')
    """
    right = [t for t in tried if t not in failing]
    if not right:
        return "wrong at every length"
    if min(failing) > max(right):
        return f"wrong from T = {min(failing)} on, right up to {max(right)}"
    if max(failing) < min(right):
        return f"wrong up to T = {max(failing)}, right from {min(right)} on"
    for width in range(max(tried), 1, -1):
        if all((t % width != 0) == (t in failing) for t in tried):
            return f"wrong where T is no multiple of {width}"
    return f"wrong at T = {_listed(failing)}, right at {_listed(right)}"


def _listed(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers))
