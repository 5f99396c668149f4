"""Axes of a sweep and their points: one point is one job."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from rnnjax.sweeps.hydra_session import Session
from rnnjax.sweeps.quoting import quoted
from rnnjax.sweeps.schema import leaves


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
