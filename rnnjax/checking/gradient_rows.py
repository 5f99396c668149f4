"""The rows on the gradients of a kernel: values, arguments, lags and lengths."""

from collections.abc import Sequence

from rnnjax.checking.comparison import ByLag, Difference, first_wrong, outputs, worst
from rnnjax.checking.pullbacks import Measured
from rnnjax.checking.rows import Row


def value_rows(seen: dict[int, Measured]) -> list[Row]:
    """The values, which must agree before gradients are compared."""
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
    return [Row("values", name, "failed", f"{text}; at T = {listed(bad)}", hint)]


def argument_rows(
    names: Sequence[str], found: dict[int, list[Difference]], failing: Sequence[int]
) -> list[Row]:
    """A row for each argument, with the lengths if they are not those of all."""
    rows = []
    for place, name in enumerate(names):
        each = {steps: x[place] for steps, x in found.items()}
        bad = [t for t, x in each.items() if x.wrong]
        text = worst(list(each.values()))
        if bad and bad != list(failing):
            text += f"; wrong at T = {listed(bad)}"
        rows.append(Row("arguments", name, "failed" if bad else "passed", text))
    return rows


def lag_rows(lags: Sequence[ByLag], steps: int, later: bool) -> list[Row]:
    """The gradient at the inputs by lag, and whether outputs depend on later inputs."""
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


def length_row(tried: Sequence[int], failing: Sequence[int]) -> Row:
    """At which lengths something fails."""
    if not failing:
        return Row("lengths", "T", "passed", f"right at T = {listed(tried)}")
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
    return f"wrong at T = {listed(failing)}, right at {listed(right)}"


def listed(numbers: Sequence[int]) -> str:
    """Numbers as a list."""
    return ", ".join(map(str, numbers))
