"""Axes of a sweep, and the points of their product: one point is one job.

A list of whole configurations, ``zip=[{cell: lstm, lr: 1e-3}, {cell: gru}]``, is one
axis, in product with all others. A key that an entry leaves out has its default there.
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
"""The word for the axis, on a command line and below ``sweep`` of an experiment."""


@dataclasses.dataclass(frozen=True)
class Axis:
    """A key and its values, in the order of the command line."""

    key: str
    values: tuple[Any, ...]


@dataclasses.dataclass(frozen=True)
class Point:
    """One job of a sweep: the value that each key has.

    Attributes:
        values: by key, as given.
        varied: keys that have another value in other jobs.
    """

    values: Mapping[str, Any]
    varied: tuple[str, ...]

    def overrides(self, references: Mapping[str, str]) -> tuple[str, ...]:
        """As they could be written on a command line.

        Args:
            references: how values of the user's files are written, by key.
        """
        return tuple(
            f"{key}={quoted(references.get(key, value))}"
            for key, value in self.values.items()
        )

    def choices(self, session: Session) -> dict[str, str]:
        """The options of groups among the values."""
        return {
            key: str(value)
            for key, value in self.values.items()
            if key in session.groups and not isinstance(value, Mapping)
        }

    def entries(self, session: Session) -> dict[str, Any]:
        """The other values by dotted name; a mapping gives one to each leaf."""
        rest = {
            key: value
            for key, value in self.values.items()
            if isinstance(value, Mapping) or key not in session.groups
        }
        return leaves(rest)


def size(axes: Mapping[str, Axis]) -> int:
    """How many combinations there are."""
    return math.prod(len(axis.values) for axis in axes.values())


def product(axes: Mapping[str, Axis]) -> Iterator[Point]:
    """All combinations; the last axis runs fastest, entries of a zip stay together."""
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
        UserError: one of them is no mapping of keys to values, or there is none.
    """
    flat = [one for v in values for one in (v if isinstance(v, list) else [v])]
    for one in flat:
        if not (isinstance(one, Mapping) and one):
            raise UserError(
                f"zip={as_text(one)} must be a list of mappings, "
                "[{cell: lstm, lr: 1e-3}, {cell: gru}]"
            )
    if not flat:
        raise UserError("zip=[] holds no configuration")
    return tuple(flat)


def without(axis: Axis, keys: Iterable[str]) -> Axis:
    """The axis without some keys, which are given in another way."""
    keys = set(keys)
    kept = [{k: v for k, v in one.items() if k not in keys} for one in axis.values]
    distinct = [one for i, one in enumerate(kept) if one not in kept[:i]]
    return dataclasses.replace(axis, values=tuple(distinct))


def refuse_twice(axes: Mapping[str, Axis]) -> None:
    """Raise a `UserError` if a key stands in the zip and beside it."""
    if ZIP in axes:
        for key in keys_of(axes[ZIP]):
            if key in axes:
                raise UserError(f"{key} stands in zip and beside it; give one of them")


def keys_of(axis: Axis) -> tuple[str, ...]:
    """All keys of the entries."""
    return tuple(dict.fromkeys(key for one in axis.values for key in one))


def varied(axis: Axis) -> tuple[str, ...]:
    """Keys that are not the same in all entries."""
    missing = object()
    return tuple(
        key
        for key in keys_of(axis)
        if any(
            one.get(key, missing) != axis.values[0].get(key, missing)
            for one in axis.values
        )
    )
