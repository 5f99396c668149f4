"""Axes of a sweep, and the points of their product; each point is one job.

A list of whole configurations, ``zip=[{cell: lstm, lr: 1e-3}, {cell: gru}]``, is a
single axis, and enters the product with all others. A key that an entry omits has its
default value in that entry.
"""

import dataclasses
import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from rnnjax.errors import UserError
from rnnjax.sweeps.hydra_session import Session
from rnnjax.sweeps.quoting import quoted
from rnnjax.sweeps.schema import as_text, leaves


ZIP = "zip"
"""The key of this axis, on a command line and below ``sweep`` in an experiment."""


@dataclasses.dataclass(frozen=True)
class Axis:
    """A key and its values, in the order of the command line."""

    key: str
    values: tuple[Any, ...]


@dataclasses.dataclass(frozen=True)
class Point:
    """One job of a sweep: the value of each key.

    Attributes:
        values: values by key, as given.
        varied: keys whose values differ between the jobs of the sweep.
    """

    values: Mapping[str, Any]
    varied: tuple[str, ...]

    def overrides(self, references: Mapping[str, str]) -> tuple[str, ...]:
        """The values as they could be written on a command line.

        Args:
            references: for keys that name a user's file, the text to write instead.
        """
        return tuple(
            f"{key}={quoted(references.get(key, value))}"
            for key, value in self.values.items()
        )

    def choices(self, session: Session) -> dict[str, str]:
        """The values that choose an option of a group, by group."""
        return {
            key: str(value)
            for key, value in self.values.items()
            if key in session.groups and not isinstance(value, Mapping)
        }

    def entries(self, session: Session) -> dict[str, Any]:
        """The other values by dotted name; a mapping is split into its leaves."""
        rest = {
            key: value
            for key, value in self.values.items()
            if isinstance(value, Mapping) or key not in session.groups
        }
        return leaves(rest)


def size(axes: Mapping[str, Axis]) -> int:
    """The number of combinations."""
    return math.prod(len(axis.values) for axis in axes.values())


def product(axes: Mapping[str, Axis]) -> Iterator[Point]:
    """All combinations; the last axis varies fastest, and a zip counts as one axis."""
    keys: list[str] = []
    for key, axis in axes.items():
        if key == ZIP:
            keys += varied(axis)
        elif len(axis.values) > 1:
            keys.append(key)
    for values in itertools.product(*(axis.values for axis in axes.values())):
        chosen = {}
        for key, value in zip(axes, values, strict=True):
            chosen |= value if key == ZIP else {key: value}
        yield Point(chosen, tuple(key for key in keys if key in chosen))


def entries(values: Sequence[Any]) -> tuple[Mapping[str, Any], ...]:
    """The entries of a zip, given one by one or as one list.

    Raises:
        UserError: an entry is not a mapping of keys to values, or there are no entries.
    """
    flat = [one for v in values for one in (v if isinstance(v, list) else [v])]
    for one in flat:
        if not (isinstance(one, Mapping) and one):
            raise UserError(
                f"zip={as_text(one)} must be a list of mappings, "
                "[{cell: lstm, lr: 1e-3}, {cell: gru}]"
            )
    if not flat:
        raise UserError("zip=[] has no configurations")
    return tuple(flat)


def without(axis: Axis, keys: Iterable[str]) -> Axis:
    """The zip axis without `keys`, and without entries that become duplicates."""
    keys = set(keys)
    kept = [{k: v for k, v in one.items() if k not in keys} for one in axis.values]
    distinct = [one for i, one in enumerate(kept) if one not in kept[:i]]
    return dataclasses.replace(axis, values=tuple(distinct))


def refuse_twice(axes: Mapping[str, Axis]) -> None:
    """Raise a `UserError` if a key is given both inside and outside of the zip."""
    if ZIP in axes:
        for key in keys_of(axes[ZIP]):
            if key in axes:
                raise UserError(
                    f"{key} is given both inside and outside of zip; keep only one"
                )


def keys_of(axis: Axis) -> tuple[str, ...]:
    """All keys that occur in the entries of a zip."""
    return tuple(dict.fromkeys(key for one in axis.values for key in one))


def varied(axis: Axis) -> tuple[str, ...]:
    """Keys whose values differ between the entries of a zip."""
    missing = object()
    return tuple(
        key
        for key in keys_of(axis)
        if any(
            one.get(key, missing) != axis.values[0].get(key, missing)
            for one in axis.values
        )
    )
