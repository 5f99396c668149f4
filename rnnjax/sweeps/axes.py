"""Overrides of a command line as axes: each key with the values it runs through."""

import dataclasses
import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, QuotedString, Transformer
from hydra.errors import HydraException

from rnnjax.errors import UserError, unknown
from rnnjax.sweeps.hydra_session import Session, sentence
from rnnjax.sweeps.schema import as_text, leaves, unknown_key


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
            f"{key}={references.get(key) or Transformer.str(value)}"
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
        rest = {}
        for key, value in self.values.items():
            if isinstance(value, Mapping):
                rest |= leaves(value, f"{key}.")
            elif key not in session.groups:
                rest[key] = value
        return rest


def parse_axes(overrides: Sequence[str], session: Session) -> dict[str, Axis]:
    """Axes by key in Hydra's grammar: commas, ``range()``, ``choice()``, ``glob()``.

    A key that is given twice has its last values.

    Raises:
        UserError: a word that is no override, a prefix ~, an unknown option of a group,
            an empty axis.
    """
    # Hydra's parser asks its loader for the names of a group, and for nothing else.
    parser = OverridesParser.create(cast(ConfigLoader, session))
    axes = {}
    for text in overrides:
        if not text.partition("=")[0].strip("+ ") or "=" not in text:
            raise UserError(f"'{text}' is not of the form key=value")
        try:
            (override,) = parser.parse_overrides([text])
            axis = _axis(override, text)
        except HydraException as error:
            raise UserError(f"cannot read '{text}': {sentence(error)}") from None
        if axis.key in session.groups:
            _check_options(axis, session)
        axes[axis.key] = axis
    return axes


def product(axes: Mapping[str, Axis]) -> Iterator[Point]:
    """All combinations; the last axis runs fastest."""
    varied = tuple(key for key, axis in axes.items() if len(axis.values) > 1)
    for values in itertools.product(*(axis.values for axis in axes.values())):
        yield Point(dict(zip(axes, values, strict=True)), varied)


def _axis(override: Override, text: str) -> Axis:
    key = override.key_or_group
    if override.is_delete() or override.package is not None:
        raise UserError(f"'{text}': a key can be set, not removed or moved")
    if override.is_hydra_override():
        raise unknown_key(key, ["out", "name"])
    if not override.is_sweep_override():
        return Axis(key, (override.value(),))
    if not override.is_discrete_sweep():
        raise UserError(f"'{text}' has no list of values; use range() or choice()")
    values = tuple(_plain(value) for value in override.sweep_iterator())
    if not values:
        raise UserError(f"'{text}' holds no value")
    return Axis(key, values)


def _plain(value: Any) -> Any:
    if isinstance(value, QuotedString):
        return value.text
    if isinstance(value, list):
        return [_plain(entry) for entry in value]
    if isinstance(value, dict):
        return {_plain(key): _plain(entry) for key, entry in value.items()}
    return value


def _check_options(axis: Axis, session: Session) -> None:
    names = session.names(axis.key)
    for value in axis.values:
        if not isinstance(value, Mapping) and value not in names:
            raise unknown(axis.key, as_text(value), names)
