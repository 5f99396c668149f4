"""Checks of a task's fields; the message names the key and the permitted values."""

from collections.abc import Sequence

from rnnjax.errors import UserError


def check_int(key: str, value: object, low: int, high: int) -> None:
    """Raise `UserError` unless `value` is a whole number in [low, high].

    >>> check_int("length", 1, 2, 1000)
    Traceback (most recent call last):
    rnnjax.errors.UserError: task.length is 1; permitted: whole numbers from 2 to 1000
    """
    if (
        not isinstance(value, int)
        or isinstance(value, bool)
        or not low <= value <= high
    ):
        raise UserError(
            f"task.{key} is {value!r}; permitted: whole numbers from {low} to {high}"
        )


def check_choice(key: str, value: object, choices: Sequence[object]) -> None:
    """Raise `UserError` unless `value` is one of `choices`.

    >>> check_choice("unit", "line", ("char", "word"))
    Traceback (most recent call last):
    rnnjax.errors.UserError: task.unit is 'line'; permitted: char, word
    """
    if not any(value == choice and type(value) is type(choice) for choice in choices):
        permitted = ", ".join(map(str, choices))
        raise UserError(f"task.{key} is {value!r}; permitted: {permitted}")


def check_path(key: str, value: object) -> None:
    """Raise `UserError` unless `value` is None or a non-empty string."""
    if value is not None and not (isinstance(value, str) and value.strip()):
        raise UserError(
            f"task.{key} is {value!r}; permitted: the path of a file or null"
        )


LONGEST = 1_000_000
"""Upper limit of every length: far beyond any real use, it catches typing errors."""

SEEDS = 2**31 - 1
"""Upper limit of every seed."""
