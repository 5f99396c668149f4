"""Phrases with a number and a noun."""


def count(n: int, noun: str, plural: str | None = None) -> str:
    """A number and its noun, in the singular or the plural.

    >>> count(1, "seed"), count(2, "seed")
    ('1 seed', '2 seeds')
    """
    return f"{n} {noun if n == 1 else plural or noun + 's'}"
