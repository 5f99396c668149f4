"""Checks of numbers and choices in a configuration; messages name the key."""

import math

from rnnjax.errors import UserError, did_you_mean


def check_range(key: str, value: float, low: float, high: float = math.inf) -> None:
    """Raise a `UserError` that names the key unless low ≤ value ≤ high."""
    if not (low <= value <= high):
        upper = "" if math.isinf(high) else f" and at most {high:g}"
        raise UserError(f"{key}={value} is out of range: at least {low:g}{upper}")


def check_choice(key: str, value: str, choices: tuple[str, ...]) -> None:
    """Raise a `UserError` with the key and the choices unless value is one of them."""
    if value not in choices:
        raise UserError(f"{key}={value} is unknown; {did_you_mean(value, choices)}")
