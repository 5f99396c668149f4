"""Rows about a cell: a fault with its place and cure, and two numbers that agree."""

from rnnjax.checking.rows import Row
from rnnjax.recurrence.diagnosis import Diagnosis


def fault(group: str, name: str, found: Diagnosis) -> Row:
    """A failed row from a diagnosis."""
    hint = ": ".join(filter(None, (found.place, found.cure)))
    return Row(group, name, "failed", found.cause, hint)


def agreement(
    group: str, name: str, apart: float, bound: float, of: str, hint: str
) -> Row:
    """A row about results that should agree.

    Args:
        group, name: of the row.
        apart: their difference.
        bound: the largest one that rounding explains.
        of: what they are, with {apart} for the difference.
        hint: what to do if they do not agree.
    """
    found = f"{of.format(apart=f'{apart:.0e}')} (bound {bound:.0e})"
    if apart <= bound:
        return Row(group, name, "passed", found)
    return Row(group, name, "failed", found, hint)
