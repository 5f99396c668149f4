"""Overrides of a command line as axes: each key with the values it runs through."""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Any, cast

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override, QuotedString
from hydra.errors import HydraException

from rnnjax.errors import UserError, unknown
from rnnjax.sweeps.hydra_session import Session, sentence
from rnnjax.sweeps.points import Axis
from rnnjax.sweeps.schema import as_text, unknown_key
from rnnjax.sweeps.zipped import ZIP, entries, refuse_twice


def parse_axes(overrides: Sequence[str], session: Session) -> dict[str, Axis]:
    """Axes by key in Hydra's grammar: commas, ``range()``, ``choice()``, ``glob()``.

    A key that is given twice has its last values.

    Raises:
        UserError: a word that is no override, a prefix ~, an unknown option of a group,
            an empty axis.
    """
    axes = {}
    for text in map(_plainly, overrides):
        override = _read(text, session)
        try:
            axis = _axis(override, text)
        except HydraException as error:
            raise UserError(f"cannot read '{text}': {sentence(error)}") from None
        if axis.key == ZIP:
            axis = Axis(ZIP, entries(axis.values))
        for one in _parts(axis):
            if one.key in session.groups:
                _check_options(one, session)
        axes[axis.key] = axis
    refuse_twice(axes)
    return axes


@dataclasses.dataclass(frozen=True)
class Interval:
    """An axis without a list, from `low` to `high`; in equal ratios if `log`."""

    low: float
    high: float
    log: bool = False


def split_intervals(
    overrides: Sequence[str], session: Session
) -> tuple[dict[str, Interval], list[str]]:
    """Intervals by key, ``lr=tag(log,interval(1e-4,1e-1))``, and the other overrides.

    Raises:
        UserError: a word that is no override, or an interval that holds no number.
    """
    intervals, rest = {}, []
    for text in overrides:
        override = _read(_plainly(text), session)
        sweep = override.value()
        if not isinstance(sweep, IntervalSweep):
            rest.append(text)
            continue
        low, high, log = sweep.start, sweep.end, "log" in sweep.tags
        if low is None or high is None or not low < high or (log and low <= 0):
            raise UserError(f"'{text}' is no interval that holds numbers")
        intervals[override.key_or_group] = Interval(float(low), float(high), log)
    return intervals, rest


def _read(text: str, session: Session) -> Override:
    if not text.partition("=")[0].strip("+ ") or "=" not in text:
        raise UserError(f"'{text}' is not of the form key=value")
    # Hydra's parser asks its loader for the names of a group, and for nothing else.
    parser = OverridesParser.create(cast(ConfigLoader, session))
    try:
        (override,) = parser.parse_overrides([text])
    except HydraException as error:
        raise UserError(f"cannot read '{text}': {sentence(error)}") from None
    return override


def _plainly(text: str) -> str:
    """``hydra/launcher=…`` and ``hydra.launcher.workers=…`` mean our own group."""
    return re.sub(r"^hydra[/.]launcher(?=[.=])", "launcher", text)


def _parts(axis: Axis) -> list[Axis]:
    """The axis, or each value of a zip as one of its own."""
    if axis.key != ZIP:
        return [axis]
    return [Axis(key, (value,)) for one in axis.values for key, value in one.items()]


def _axis(override: Override, text: str) -> Axis:
    key = override.key_or_group
    if override.is_delete() or override.package is not None:
        raise UserError(f"'{text}': a key can be set, not removed or moved")
    if override.is_hydra_override():
        if key.startswith(("hydra.callbacks", "hydra/callbacks")):
            raise UserError(f"'{text}': only rnnjax train calls Hydra's callbacks")
        raise unknown_key(key, ["out", "name", "hydra/launcher", "hydra.callbacks"])
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
