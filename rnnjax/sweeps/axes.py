"""Read overrides of a command line as axes: each key with its list of values."""

import math
import os
import re
from collections.abc import Mapping, Sequence
from fractions import Fraction
from functools import partial
from typing import Any, cast

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import (
    Glob,
    Override,
    QuotedString,
    RangeSweep,
    Sweep,
    ValueType,
)
from hydra.errors import HydraException

from rnnjax.errors import UserError, one_line, unknown
from rnnjax.sweeps.grid import ZIP, check_count, check_list, entries, keys_of
from rnnjax.sweeps.hydra_session import Session, sentence
from rnnjax.sweeps.quoting import as_typed, quote_references
from rnnjax.sweeps.schema import as_text, unknown_key
from rnnjax.sweeps.settings import LaunchSettings
from rnnjax.sweeps.user_files import KINDS, reference


def parse_axes(
    overrides: Sequence[str], session: Session, limit: int = LaunchSettings.max_jobs
) -> dict[str, tuple[Any, ...]]:
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
    axes: dict[str, tuple[Any, ...]] = {}
    for text in overrides:
        check_list(text, limit)
        override = read(text, session)
        try:
            values = _values(override, text, limit)
        except HydraException as error:
            raise UserError(f"cannot read '{text}': {sentence(error)}") from None
        key, settled = override.key_or_group, partial(_settled, session)
        if key == ZIP:
            pairs = (one.items() for one in entries(values))
            values = [{k: settled(k, v) for k, v in each} for each in pairs]
        else:
            values = [settled(key, value) for value in values]
        kinds = {isinstance(one, Mapping) for one in (*values, *axes.pop(key, ()))}
        if key in session.groups and len(kinds) > 1:
            # a mapping sets keys of an option and does not replace it
            raise UserError(
                f"{key} is given both by name and as a mapping; write the name, and "
                f"{key}.KEY=… for each key"
            )
        axes[key] = tuple(values)
    for key in keys_of(axes[ZIP]) if ZIP in axes else ():
        if key in axes:
            raise UserError(f"{key} is given both inside and outside of zip; keep one")
    return axes


def read(text: str, session: Session) -> Override:
    """An override in Hydra's grammar; ``hydra/launcher=…`` and ``hydra.launcher.KEY=…``
    become our own group.

    Raises:
        UserError: the text is not an override.
    """
    if not text.partition("=")[0].strip("+ ") or "=" not in text:
        raise UserError(f"'{text}' is not of the form key=value")
    # Hydra's parser uses its loader only to ask for the names in a group.
    parser = OverridesParser.create(cast(ConfigLoader, session))
    try:
        plain = re.sub(r"^hydra[/.]launcher(?=[.=])", "launcher", text)
        (override,) = parser.parse_overrides([quote_references(plain, KINDS, ZIP)])
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


def _values(override: Override, text: str, limit: int) -> list[Any]:
    key = override.key_or_group
    if override.is_delete() or override.package is not None:
        raise UserError(f"'{text}': keys can only be set, not removed or moved")
    if override.is_hydra_override():
        if key.startswith(("hydra.callbacks", "hydra/callbacks")):
            raise UserError(f"'{text}': only rnnjax train calls Hydra's callbacks")
        raise unknown_key(key, ["out", "name", "hydra/launcher", "hydra.callbacks"])
    if not override.is_sweep_override():
        return [_plain(override.value(), text)]
    if not override.is_discrete_sweep():
        raise UserError(f"'{text}' is not a list of values; use range() or choice()")
    path = text.partition("=")[2]
    simple = override.value_type == ValueType.SIMPLE_CHOICE_SWEEP
    if simple and os.path.lexists(os.path.expanduser(path)):
        raise UserError(
            f"'{text}' reads as several values, but a file has that name; write "
            f"{as_typed(key, path)} for the file"
        )
    sweep = override.value()
    if isinstance(sweep, RangeSweep):
        low, high, step = sweep.start, sweep.stop, sweep.step
        if low is None or high is None or not finite(low, high, step):
            raise UserError(f"'{text}' is not a range with finite ends")
        if step == 0:
            raise UserError(f"'{text}' never ends: its step is 0")
        count = math.ceil((Fraction(high) - Fraction(low)) / Fraction(step))
        check_count(count, limit, f"'{text}'", "values")
    values = [_plain(value, text) for value in override.sweep_iterator()]
    if not values:
        raise UserError(f"'{text}' has no values")
    return values


def finite(*numbers: float) -> bool:
    """Whether all numbers are finite; whole numbers too large for a float are, too."""
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


def _settled(session: Session, key: str, value: Any) -> Any:
    """The checked value of a key; a user's file is loaded, and its class named."""
    if key in KINDS and (place := reference(value)):
        session.load(key, *place)
        value = place[1]
    if key in session.groups and value == {}:
        raise UserError(f"{key}={{}} sets nothing; give a name, or keys")
    if key in session.groups and not isinstance(value, Mapping):
        if value not in (names := session.names(key)):
            raise unknown(key, as_text(value), names)
    return value
