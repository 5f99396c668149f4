"""Numbers of things, in words."""


def count(n: int, noun: str, plural: str | None = None) -> str:
    """A number of things.

    >>> count(1, "seed"), count(2, "seed")
    ('1 seed', '2 seeds')
    """
    return f"{n} {noun if n == 1 else plural or noun + 's'}"
