"""Lists of whole configurations, ``zip=[{cell: lstm, lr: 1e-3}, {cell: gru}]``.

The entries stand side by side, and in product with all other axes. A key that an entry
leaves out has its default there.
"""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rnnjax.errors import UserError
from rnnjax.sweeps.points import Axis
from rnnjax.sweeps.schema import as_text


ZIP = "zip"
"""The word for the axis, on a command line and below ``sweep`` of an experiment."""


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
