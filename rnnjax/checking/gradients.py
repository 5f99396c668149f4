"""Is the gradient of a recurrent kernel right? By argument, by lag and by length."""

import dataclasses
import inspect
from collections.abc import Callable, Sequence
from typing import Any

import jax

from rnnjax.checking.arguments import Maker, from_shapes, inexact_leaves, layout
from rnnjax.checking.comparison import (
    farthest,
    first_wrong,
    from_last,
    gradients,
    later,
)
from rnnjax.checking.evidence import Evidence, Mistake
from rnnjax.checking.gradient_rows import (
    argument_rows,
    lag_rows,
    length_row,
    listed,
    value_rows,
)
from rnnjax.checking.mistakes import mistakes
from rnnjax.checking.numerical import numerical, refuse_if_rounded
from rnnjax.checking.primal import has_own_rules, primal_of
from rnnjax.checking.pullbacks import FINAL, MIDDLE, KernelFails, Measured, Pair
from rnnjax.checking.rows import Check, Row
from rnnjax.checking.variants import cut_in_two, finite_difference, second_order
from rnnjax.errors import UserError, one_line


LENGTHS = (1, 2, 3, 63, 64, 65, 127, 129)
"""Numbers of steps: kernels have failed only for one, beyond a chunk, or where the
number is no multiple of a chunk."""

FEW = (1, 2, 3, 9, 17)
"""The same where the reference is finite differences, which take seconds a length."""


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
            the kernel without its own derivative rules (`rnnjax.checking.primal`), or
            finite differences where JAX cannot differentiate that, or where it has no
            such rules (`rnnjax.checking.numerical`).
        args: a function ``(seed, steps) -> arguments``, or shapes
            (`rnnjax.checking.arguments.from_shapes`).
        lengths: numbers of steps; None: `LENGTHS`, or `FEW` without a reference that
            JAX can differentiate.
        window: a width W of the kernel, around which lengths are added.

    Raises:
        UserError: the arguments do not fit, the results of the two differ in shape, or
            there is no reference and the kernel cannot be computed in double precision.
    """
    make = from_shapes(args) if isinstance(args, str) else args
    if window is not None and window < 1:
        raise UserError(f"a width of {window} steps is too small")
    for one in filter(None, (function, reference)):
        _check_number(one, tuple(make(0, 5)))
    derived = _derived(function, make) if reference is None else None
    numeric = reference is None and derived is None
    plain = reference or derived or numerical(function)
    _same_shapes(function, plain, make)
    at = layout(plain, make)
    if numeric:
        refuse_if_rounded(function, make(0, 5))
    pair = Pair(function, plain, make, at, numerical=numeric)
    usual = FEW if numeric else LENGTHS
    tried = sorted({*(lengths or usual), *_around(window)})
    seen, rows = _measured(pair, tried)
    if not seen:
        return GradientCheck(_name(function), tuple(rows), lengths=tuple(tried))
    tried = list(seen)
    rows += value_rows(seen)
    if any(row.group == "values" and row.verdict == "failed" for row in rows):
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
    rows += argument_rows(at.names, by_argument, failing)
    ahead = later(seen[longest], at, MIDDLE, longest // 2)
    rows += lag_rows(lags[longest], longest, ahead)
    rows.append(length_row(tried, failing))
    others: list[Row] = []
    if at.state and None in at.outputs and tried[-1] > 1:
        others += cut_in_two(pair, tried[-1])
    second = second_order(pair, min(17, tried[-1]))
    for row in (*others, second):  # where the mistake is known, it explains these too
        rows.append(dataclasses.replace(row, hint="") if explained else row)
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


def _measured(
    pair: Pair, tried: Sequence[int]
) -> tuple[dict[int, Measured], list[Row]]:
    """Both at every length at which the kernel runs; a row for those where it fails."""
    seen: dict[int, Measured] = {}
    raised: dict[str, list[int]] = {}
    for steps in tried:
        try:
            seen[steps] = pair.measure(steps)
        except KernelFails as error:
            raised.setdefault(str(error), []).append(steps)
    rows = []
    for error, lengths in raised.items():
        hint = "these lengths are left out of the other rows" if seen else ""
        if "bwd rule" in error:
            hint = (
                "the backward pass returns one gradient for each argument, in the "
                "order and with the shapes of the arguments: "
                f"{', '.join(pair.at.names)}"
            )
        name = f"fails at T = {listed(lengths)}"
        rows.append(Row("lengths", name, "failed", error, hint))
    return seen, rows


def _derived(function: Callable[..., Any], make: Maker) -> Callable[..., Any] | None:
    """The function without its own rules; None: it has none, or needs them."""
    arguments = tuple(make(0, 5))
    if not _fits(function, lambda: has_own_rules(function, arguments)):
        return None
    plain = primal_of(function)

    def slopes(*given: Any) -> Any:
        results, back = jax.vjp(lambda *x: inexact_leaves(plain(*x)), *given)
        return back(results)

    try:
        jax.eval_shape(slopes, *arguments)
    except Exception:
        return None
    return plain


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
    here, there = (
        _fits(one, lambda one=one: jax.eval_shape(one, *make(0, 5)))
        for one in (function, reference)
    )
    shapes = [
        [(x.shape, str(x.dtype)) for x in jax.tree.leaves(one)] for one in (here, there)
    ]
    if shapes[0] != shapes[1]:
        raise UserError(
            f"the kernel and its reference differ in the shapes of their results: "
            f"{shapes[0]} and {shapes[1]} for 5 steps"
        )


def _fits(function: Callable[..., Any], call: Callable[[], Any]) -> Any:
    """The result of a call of a function; its errors as those of its arguments."""
    name = _name(function)
    try:
        return call()
    except UserError:
        raise
    except Exception as error:
        said = one_line(error)
        if "No VJP defined" in said:
            said += f"; write {name}.defvjp(forward, backward)"
        raise UserError(f"{name} fails with these arguments: {said}") from error


def _check_number(function: Callable[..., Any], arguments: Sequence[Any]) -> None:
    """Refuse another number of arguments than the function takes."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # no signature is known
        return
    try:
        signature.bind(*arguments)
    except TypeError:
        takes = ", ".join(signature.parameters)
        raise UserError(
            f"there are {len(arguments)} arguments, but {_name(function)} takes {takes}"
        ) from None


def _final_wrong(seen: Measured, pair: Pair) -> bool:
    if None not in pair.at.outputs:
        return False
    return any(x.wrong for x in gradients(seen, pair.at, FINAL))
