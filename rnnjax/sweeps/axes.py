"""Overrides of a command line as axes: each key with the values it runs through."""

import dataclasses
import math
import os
import re
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any, cast

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import (
    Glob,
    IntervalSweep,
    Override,
    QuotedString,
    RangeSweep,
    Sweep,
    ValueType,
)
from hydra.errors import HydraException

from rnnjax.errors import UserError, one_line, unknown
from rnnjax.sweeps.grid import ZIP, Axis, entries, refuse_twice
from rnnjax.sweeps.hydra_session import Session, sentence
from rnnjax.sweeps.job_count import check_count, check_list
from rnnjax.sweeps.quoting import as_typed, quote_references
from rnnjax.sweeps.schema import as_text, unknown_key
from rnnjax.sweeps.settings import LaunchSettings
from rnnjax.sweeps.user_files import KINDS, reference


def parse_axes(
    overrides: Sequence[str], session: Session, most: int = LaunchSettings.most_jobs
) -> dict[str, Axis]:
    """Axes by key in Hydra's grammar: commas, ``range()``, ``choice()``, ``glob()``.

    A key that is given twice has its last values. A cell or task in a file of the
    user's, ``cell=file.py:Mine``, is loaded, and its value is the name of the class.

    Args:
        overrides: ``key=value``.
        session: that knows the groups.
        most: values of one axis; from `most_jobs`.

    Raises:
        UserError: a word that is no override, a prefix ~, an unknown option of a group,
            an empty or endless axis, a file that does not hold what is named.
    """
    axes: dict[str, Axis] = {}
    for text in map(_plainly, overrides):
        check_list(text, most)
        override = _read(text, session)
        try:
            axis = _axis(override, text, most)
        except HydraException as error:
            raise UserError(f"cannot read '{text}': {sentence(error)}") from None
        if axis.key == ZIP:
            axis = Axis(ZIP, entries(axis.values))
        axis = _with_own(axis, session)
        for one in _parts(axis):
            if one.key in session.groups:
                _check_options(one, session)
        _refuse_choice_and_mapping(axis, axes.pop(axis.key, axis), session)
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
        if low is None or high is None or not _finite(low, high):
            raise UserError(f"'{text}' is no interval of finite numbers")
        if not low < high or (log and low <= 0):
            raise UserError(f"'{text}' is no interval that holds numbers")
        intervals[override.key_or_group] = Interval(float(low), float(high), log)
    return intervals, rest


def _read(text: str, session: Session) -> Override:
    if not text.partition("=")[0].strip("+ ") or "=" not in text:
        raise UserError(f"'{text}' is not of the form key=value")
    # Hydra's parser asks its loader for the names of a group, and for nothing else.
    parser = OverridesParser.create(cast(ConfigLoader, session))
    try:
        (override,) = parser.parse_overrides([quote_references(text, KINDS, ZIP)])
    except HydraException as error:
        reason = _advice(text) or sentence(error)
        raise UserError(f"cannot read '{text}': {reason}") from None
    except RecursionError:
        raise UserError(f"cannot read '{text}': it is nested too deeply") from None
    except (ArithmeticError, ValueError) as error:
        raise UserError(f"cannot read '{text}': {one_line(error)}") from None
    return override


def _advice(text: str) -> str:
    """How a value that Hydra's grammar cannot read is quoted, if it may be text."""
    key, _, value = text.partition("=")
    if not value or value[0] in "[{'\"" or _CALL.match(value):
        return ""
    return f"text with such characters needs quotes, {as_typed(key, value)}"


_CALL = re.compile(r"[a-z_]+\(")


def _plainly(text: str) -> str:
    """``hydra/launcher=…`` and ``hydra.launcher.workers=…`` mean our own group."""
    return re.sub(r"^hydra[/.]launcher(?=[.=])", "launcher", text)


def _parts(axis: Axis) -> list[Axis]:
    """The axis, or each value of a zip as one of its own."""
    if axis.key != ZIP:
        return [axis]
    return [Axis(key, (value,)) for one in axis.values for key, value in one.items()]


def _axis(override: Override, text: str, most: int) -> Axis:
    key = override.key_or_group
    if override.is_delete() or override.package is not None:
        raise UserError(f"'{text}': a key can be set, not removed or moved")
    if override.is_hydra_override():
        if key.startswith(("hydra.callbacks", "hydra/callbacks")):
            raise UserError(f"'{text}': only rnnjax train calls Hydra's callbacks")
        raise unknown_key(key, ["out", "name", "hydra/launcher", "hydra.callbacks"])
    if not override.is_sweep_override():
        return Axis(key, (_plain(override.value(), text),))
    if not override.is_discrete_sweep():
        raise UserError(f"'{text}' has no list of values; use range() or choice()")
    if override.value_type == ValueType.SIMPLE_CHOICE_SWEEP:
        _refuse_path(key, text)
    sweep = override.value()
    if isinstance(sweep, RangeSweep):
        _check_range(sweep, text, most)
    values = tuple(_plain(value, text) for value in override.sweep_iterator())
    if not values:
        raise UserError(f"'{text}' holds no value")
    return Axis(key, values)


def _refuse_path(key: str, text: str) -> None:
    """A path with a comma in it must not become two values."""
    path = text.partition("=")[2]
    if os.path.lexists(os.path.expanduser(path)):
        raise UserError(
            f"'{text}' reads as several values, and there is a file of that name; "
            f"write {as_typed(key, path)} for the file"
        )


def _check_range(sweep: RangeSweep, text: str, most: int) -> None:
    """Raise a `UserError` where a range has no end or too many values."""
    low, high, step = sweep.start, sweep.stop, sweep.step
    if low is None or high is None or not _finite(low, high, step):
        raise UserError(f"'{text}' is no range of finite numbers")
    if step == 0:
        raise UserError(f"'{text}' never ends: its step is 0")
    count = math.ceil((Fraction(high) - Fraction(low)) / Fraction(step))
    check_count(count, most, f"'{text}'", "values")


def _finite(*numbers: float) -> bool:
    return all(isinstance(n, int) or math.isfinite(n) for n in numbers)


def _plain(value: Any, text: str) -> Any:
    if isinstance(value, Sweep | Glob):
        raise UserError(f"'{text}' has a list of values inside another one")
    if isinstance(value, QuotedString):
        return value.text
    if isinstance(value, list):
        return [_plain(entry, text) for entry in value]
    if isinstance(value, dict):
        return {_plain(k, text): _plain(entry, text) for k, entry in value.items()}
    return value


def _with_own(axis: Axis, session: Session) -> Axis:
    """The axis with plain names of cells and tasks in files of the user's, loaded."""

    def named(kind: str, value: Any) -> Any:
        return (
            session.load(kind, value) if kind in KINDS and reference(value) else value
        )

    if axis.key == ZIP:
        whole = ({k: named(k, v) for k, v in one.items()} for one in axis.values)
        return Axis(ZIP, tuple(whole))
    return Axis(axis.key, tuple(named(axis.key, value) for value in axis.values))


def _refuse_choice_and_mapping(new: Axis, old: Axis, session: Session) -> None:
    """The last value of a key holds, but keys of an option are no other option."""
    kinds = {isinstance(v, Mapping) for axis in (new, old) for v in axis.values}
    if new.key in session.groups and len(kinds) > 1:
        raise UserError(
            f"{new.key} is given by name and by its keys; write the name and "
            f"{new.key}.KEY=… for each key"
        )


def _check_options(axis: Axis, session: Session) -> None:
    names = session.names(axis.key)
    for value in axis.values:
        if isinstance(value, Mapping):
            if not value:
                raise UserError(f"{axis.key}={{}} sets nothing; name one, or its keys")
        elif value not in names:
            raise unknown(axis.key, as_text(value), names)
