"""Short names of the columns of a table of runs: ``cell`` for ``cell.name``."""

import re
from collections.abc import Iterable, Sequence

from rnnjax.errors import UserError, unknown


SELECTORS = ("name", "preset")
"""Last parts of the keys that contain the selected option of a group."""


def column(name: str, columns: Sequence[str]) -> str:
    """The column that a name refers to.

    A name is the full name of a column, or a group (``cell`` for ``cell.name``), or the
    last part of exactly one column (``distance`` for ``task.distance``).

    Raises:
        UserError: the name matches no column, or several.

    >>> column("cell", ["cell.name", "task.distance"])
    'cell.name'
    >>> column("distance", ["cell.name", "task.distance"])
    'task.distance'
    """
    found = _meant(name, columns)
    if len(found) > 1:
        raise UserError(f"column '{name}' could be {' or '.join(sorted(found))}")
    if not found:
        raise unknown_column(name, columns)
    return found[0]


def unknown_column(name: str, columns: Iterable[str]) -> UserError:
    """The error for a name that matches no column; it suggests the nearest names."""
    columns = list(columns)
    short = {part for key in columns for part in _shorter(key)}
    return unknown("column", name, {*columns, *short})


def quoted(condition: str, columns: Sequence[str]) -> str:
    """An SQL condition in which column names are completed and quoted.

    Quoted words, function names and words that match no column are left as they are.

    Raises:
        UserError: a word matches several columns.

    >>> quoted("cell = 'lstm' and seed < 3", ["cell.name", "seed"])
    '"cell.name" = \\'lstm\\' and "seed" < 3'
    """

    def full(match: re.Match[str]) -> str:
        word = match[0]
        found = _meant(word, columns)
        if found:
            word = column(word, columns)
        return f'"{word}"' if found or "." in word else word

    pieces = re.split(r"""('[^']*'|"[^"]*")""", condition)
    names = r"(?<![\w.])[A-Za-z_]\w*(?:\.\w+)*(?![\w.]*\s*\()"
    pieces[::2] = [re.sub(names, full, piece) for piece in pieces[::2]]
    return "".join(pieces)


def _meant(name: str, columns: Sequence[str]) -> list[str]:
    if name in columns:
        return [name]
    chosen = [f"{name}.{last}" for last in SELECTORS if f"{name}.{last}" in columns]
    return chosen or [key for key in columns if key.endswith(f".{name}")]


def _shorter(key: str) -> set[str]:
    first, _, last = key.partition(".")
    return {first if last in SELECTORS else key.rpartition(".")[2]}
