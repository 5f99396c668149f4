"""Axes of a sweep, and the points of their product; each point is one job.

A list of whole configurations, ``zip=[{cell: lstm, lr: 1e-3}, {cell: gru}]``, is a
single axis, and enters the product with all others. A key that an entry omits has its
default value in that entry.
"""

import dataclasses
import itertools
import math
from collections.abc import Container, Iterator, Mapping, Sequence
from typing import Any

from rnnjax.checks import check_range
from rnnjax.devices import free_host_memory
from rnnjax.errors import UserError
from rnnjax.sweeps.quoting import quoted
from rnnjax.sweeps.schema import Field, as_text, leaves
from rnnjax.sweeps.settings import LaunchSettings
from rnnjax.training.sizes import in_bytes


ZIP = "zip"
"""The key of this axis, on a command line and below ``sweep`` in an experiment."""

JOB_BYTES = 8_000
"""Memory of one composed job."""

LONGEST_LIST = 10_000
"""Most entries of a list ``[…]`` on the command line. The time to parse it grows with
the square of their number, and is 20 s for this many."""


Axes = Mapping[str, tuple[Any, ...]]
"""The values of each key, in the order of the command line."""


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

    def split(self, groups: Container[str]) -> tuple[dict[str, str], dict[str, Any]]:
        """The options that the values choose, by group, and all others by dotted name.

        A mapping is split into its leaves.
        """
        choices, others = {}, {}
        for key, value in self.values.items():
            if key in groups and not isinstance(value, Mapping):
                choices[key] = str(value)
            else:
                others[key] = value
        return choices, leaves(others)


def size(axes: Axes) -> int:
    """The number of combinations."""
    return math.prod(map(len, axes.values()))


def product(axes: Axes) -> Iterator[Point]:
    """All combinations; the last axis varies fastest, and a zip counts as one axis."""
    keys: list[str] = []
    for key, values in axes.items():
        if key == ZIP:
            keys += varied(values)
        elif len(values) > 1:
            keys.append(key)
    for values in itertools.product(*axes.values()):
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


def without(zipped: Sequence[Any], keys: Container[str]) -> tuple[Any, ...]:
    """The entries of a zip without `keys`, and without those that become duplicates."""
    kept = [{k: v for k, v in one.items() if k not in keys} for one in zipped]
    return tuple(one for i, one in enumerate(kept) if one not in kept[:i])


def keys_of(zipped: Sequence[Any]) -> tuple[str, ...]:
    """All keys that occur in the entries of a zip."""
    return tuple(dict.fromkeys(key for one in zipped for key in one))


def varied(zipped: Sequence[Any]) -> list[str]:
    """Keys whose values differ between the entries of a zip."""
    missing, found = object(), []
    for key in keys_of(zipped):
        first = zipped[0].get(key, missing)
        if any(one.get(key, missing) != first for one in zipped):
            found.append(key)
    return found


def max_jobs(overrides: Sequence[str]) -> int:
    """How many jobs a command may have, according to its last ``max_jobs=N``.

    Raises:
        UserError: N is not a positive whole number.
    """
    given = [text for text in overrides if text.partition("=")[0] == "max_jobs"]
    if not given:
        return LaunchSettings.max_jobs
    limit = Field("max_jobs", int).check(given[-1].partition("=")[2])
    check_range("max_jobs", limit, 1)
    return limit


def check_count(
    count: int,
    limit: int = LaunchSettings.max_jobs,
    who: str = "the command",
    what: str = "jobs",
) -> None:
    """Refuse a command with too many jobs, before any job is made.

    Raises:
        UserError: there are more than `limit` jobs, or more than fit in memory.
    """
    if count > limit:
        raise UserError(
            f"{who} has {_in_words(count)} {what}; one command may have at most "
            f"{limit:,} jobs; set max_jobs=N to allow more"
        )
    if (needed := count * JOB_BYTES) > (free := free_host_memory()):
        raise UserError(
            f"{who} has {_in_words(count)} {what}, which need at least "
            f"{in_bytes(needed)} of memory, and {in_bytes(free)} is free"
        )


def check_list(text: str, limit: int) -> None:
    """Raise a `UserError` if the list in an override is too long to be parsed."""
    key, _, value = text.partition("=")
    count = value.count(",") + 1
    if key != ZIP and value.startswith("[") and count > LONGEST_LIST:
        raise UserError(
            f"'{value[:20]}…' is a list of {count:,} entries for {key}; a list on the "
            f"command line may have at most {LONGEST_LIST:,}"
        )
    if value[:1] not in ("[", "{"):
        check_count(count, limit, f"'{text[:20]}…'", "values")


def _in_words(count: int) -> str:
    return f"{count:,}" if count < 10**15 else f"about 1e{len(str(count)) - 1}"
