"""Read overrides of a command line as axes: each key with its list of values."""

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
    overrides: Sequence[str], session: Session, limit: int = LaunchSettings.max_jobs
) -> dict[str, Axis]:
    """Axes by key in Hydra's grammar: commas, ``range()``, ``choice()``, ``glob()``.

    If a key is given twice, its last values count. A cell or task in a user's file,
    ``cell=file.py:Mine``, is loaded, and its value becomes the name of the class.

    Args:
        overrides: ``key=value``.
        session: the Hydra session, which knows the groups.
        limit: largest number of values of one axis; from `max_jobs`.

    Raises:
        UserError: an argument is not an override or has the prefix ~, a group has no
            such option, an axis is empty or endless, or a file lacks the named class.
    """
    axes: dict[str, Axis] = {}
    for text in map(_plainly, overrides):
        check_list(text, limit)
        override = _read(text, session)
        try:
            axis = _axis(override, text, limit)
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
    """A continuous axis from `low` to `high`, on a log scale if `log`."""

    low: float
    high: float
    log: bool = False


def split_intervals(
    overrides: Sequence[str], session: Session
) -> tuple[dict[str, Interval], list[str]]:
    """Intervals by key, ``lr=tag(log,interval(1e-4,1e-1))``, and the other overrides.

    Raises:
        UserError: an argument is not an override, or an interval is empty or infinite.
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
            raise UserError(f"'{text}' is not an interval with finite ends")
        if not low < high or (log and low <= 0):
            raise UserError(
                f"'{text}' is not a valid interval: it needs low < high, and with log "
                "also low > 0"
            )
        intervals[override.key_or_group] = Interval(float(low), float(high), log)
    return intervals, rest


def _read(text: str, session: Session) -> Override:
    if not text.partition("=")[0].strip("+ ") or "=" not in text:
        raise UserError(f"'{text}' is not of the form key=value")
    # Hydra's parser uses its loader only to ask for the names in a group.
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
    """Advice how to quote a value that Hydra cannot read, if it looks like text."""
    key, _, value = text.partition("=")
    if not value or value[0] in "[{'\"" or _CALL.match(value):
        return ""
    return f"text with such characters needs quotes: {as_typed(key, value)}"


_CALL = re.compile(r"[a-z_]+\(")


def _plainly(text: str) -> str:
    """Rewrite ``hydra/launcher=…`` and ``hydra.launcher.KEY=…`` to our own group."""
    return re.sub(r"^hydra[/.]launcher(?=[.=])", "launcher", text)


def _parts(axis: Axis) -> list[Axis]:
    """The axis in a list; a zip is split into one axis per key of each entry."""
    if axis.key != ZIP:
        return [axis]
    return [Axis(key, (value,)) for one in axis.values for key, value in one.items()]


def _axis(override: Override, text: str, limit: int) -> Axis:
    key = override.key_or_group
    if override.is_delete() or override.package is not None:
        raise UserError(f"'{text}': keys can only be set, not removed or moved")
    if override.is_hydra_override():
        if key.startswith(("hydra.callbacks", "hydra/callbacks")):
            raise UserError(f"'{text}': only rnnjax train calls Hydra's callbacks")
        raise unknown_key(key, ["out", "name", "hydra/launcher", "hydra.callbacks"])
    if not override.is_sweep_override():
        return Axis(key, (_plain(override.value(), text),))
    if not override.is_discrete_sweep():
        raise UserError(f"'{text}' is not a list of values; use range() or choice()")
    if override.value_type == ValueType.SIMPLE_CHOICE_SWEEP:
        _refuse_path(key, text)
    sweep = override.value()
    if isinstance(sweep, RangeSweep):
        _check_range(sweep, text, limit)
    values = tuple(_plain(value, text) for value in override.sweep_iterator())
    if not values:
        raise UserError(f"'{text}' has no values")
    return Axis(key, values)


def _refuse_path(key: str, text: str) -> None:
    """Raise a `UserError` if a path with a comma would be split into two values."""
    path = text.partition("=")[2]
    if os.path.lexists(os.path.expanduser(path)):
        raise UserError(
            f"'{text}' reads as several values, but a file has that name; "
            f"write {as_typed(key, path)} for the file"
        )


def _check_range(sweep: RangeSweep, text: str, limit: int) -> None:
    """Raise a `UserError` if a range is endless or has too many values."""
    low, high, step = sweep.start, sweep.stop, sweep.step
    if low is None or high is None or not _finite(low, high, step):
        raise UserError(f"'{text}' is not a range with finite ends")
    if step == 0:
        raise UserError(f"'{text}' never ends: its step is 0")
    count = math.ceil((Fraction(high) - Fraction(low)) / Fraction(step))
    check_count(count, limit, f"'{text}'", "values")


def _finite(*numbers: float) -> bool:
    return all(isinstance(n, int) or math.isfinite(n) for n in numbers)


def _plain(value: Any, text: str) -> Any:
    if isinstance(value, Sweep | Glob):
        raise UserError(f"'{text}' has a list of values inside another list")
    if isinstance(value, QuotedString):
        return value.text
    if isinstance(value, list):
        return [_plain(entry, text) for entry in value]
    if isinstance(value, dict):
        return {_plain(k, text): _plain(entry, text) for k, entry in value.items()}
    return value


def _with_own(axis: Axis, session: Session) -> Axis:
    """The axis with users' files loaded and replaced by the names of their classes."""

    def named(kind: str, value: Any) -> Any:
        return (
            session.load(kind, value) if kind in KINDS and reference(value) else value
        )

    if axis.key == ZIP:
        whole = ({k: named(k, v) for k, v in one.items()} for one in axis.values)
        return Axis(ZIP, tuple(whole))
    return Axis(axis.key, tuple(named(axis.key, value) for value in axis.values))


def _refuse_choice_and_mapping(new: Axis, old: Axis, session: Session) -> None:
    """Raise a `UserError` if a group is given both by name and as a mapping of keys.

    Normally the last value of a key counts, but a mapping sets keys of an option and
    does not replace it.
    """
    kinds = {isinstance(v, Mapping) for axis in (new, old) for v in axis.values}
    if new.key in session.groups and len(kinds) > 1:
        raise UserError(
            f"{new.key} is given both by name and as a mapping; write the name, and "
            f"{new.key}.KEY=… for each key"
        )


def _check_options(axis: Axis, session: Session) -> None:
    names = session.names(axis.key)
    for value in axis.values:
        if isinstance(value, Mapping):
            if not value:
                raise UserError(f"{axis.key}={{}} sets nothing; give a name, or keys")
        elif value not in names:
            raise unknown(axis.key, as_text(value), names)
