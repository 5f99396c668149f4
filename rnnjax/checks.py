"""Checks of numbers and choices in a configuration; messages name the key."""

import math
from collections.abc import Sequence

from rnnjax.errors import UserError, did_you_mean


LONGEST = 1_000_000
"""Upper limit of every length: far beyond any real use, it catches typing errors."""

SEEDS = 2**31 - 1
"""Upper limit of every seed."""


def check_range(key: str, value: float, low: float, high: float = math.inf) -> None:
    """Raise a `UserError` that names the key unless low ≤ value ≤ high.

    >>> check_range("lr", -1.0, 0.0)
    Traceback (most recent call last):
    rnnjax.errors.UserError: lr=-1.0 is out of range: at least 0
    """
    if not (low <= value <= high):
        upper = "" if math.isinf(high) else f" and at most {high:g}"
        raise UserError(f"{key}={value} is out of range: at least {low:g}{upper}")


def check_int(key: str, value: object, low: int, high: int) -> None:
    """Raise a `UserError` unless `value` is a whole number in [low, high].

    >>> check_int("task.length", 1, 2, 1000)
    Traceback (most recent call last):
    rnnjax.errors.UserError: task.length=1 is not a whole number from 2 to 1000
    """
    if type(value) is not int or not low <= value <= high:
        raise UserError(f"{key}={value} is not a whole number from {low} to {high}")


def check_choice(key: str, value: object, choices: Sequence[object]) -> None:
    """Raise a `UserError` with the nearest choices unless `value` is one of them.

    >>> check_choice("task.unit", "line", ("char", "word"))
    Traceback (most recent call last):
    rnnjax.errors.UserError: task.unit=line is unknown; known: char, word
    """
    if not any(value == choice and type(value) is type(choice) for choice in choices):
        near = did_you_mean(str(value), map(str, choices))
        raise UserError(f"{key}={value} is unknown; {near}")


def check_path(key: str, value: object) -> None:
    """Raise a `UserError` unless `value` is None or a non-empty string."""
    if value is not None and not (isinstance(value, str) and value.strip()):
        raise UserError(f"{key}={value!r} is not the path of a file or null")
