"""Typed fields: which values a key of the configuration accepts, with clear errors.

The types come from the annotations of the dataclasses that receive the values, so that
a cell or a task states its options only once.
"""

import dataclasses
import inspect
import math
import re
import string
import types
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from rnnjax.errors import UserError, did_you_mean


MISSING = "???"
"""OmegaConf's notation for a value that must be given."""


class Mismatch(ValueError):
    """A value does not fit an annotation."""


@dataclasses.dataclass(frozen=True)
class Field:
    """One key of the configuration.

    Attributes:
        key: dotted name, ``cell.forget_bias``.
        annotation: the type to which values are converted.
        default: the value if none is given; `MISSING` if one must be given.
        literals: texts that are accepted in addition to the type.
    """

    key: str
    annotation: Any
    default: Any = MISSING
    literals: tuple[str, ...] = ()

    def check(self, value: Any) -> Any:
        """The value, converted to the type of the field (whole numbers to floats, say).

        Raises:
            UserError: the value does not fit; the message says what would.

        >>> Field("model.dropout", float).check(0)
        0.0
        >>> Field("steps", int).check("many")
        Traceback (most recent call last):
        rnnjax.errors.UserError: steps=many must be a whole number
        """
        if value == MISSING:
            raise UserError(f"{self.key} needs a value: {self.description}")
        if value in self.literals or (value is None and self.default is None):
            return value
        try:
            return _convert(self.annotation, value)
        except Mismatch:
            message = f"{self.key}={as_text(value)} must be {self.description}"
            raise UserError(message) from None

    @property
    def description(self) -> str:
        """Description of the values that the field accepts."""
        kinds = [*dict.fromkeys(_describe(self.annotation)), *self.literals]
        if self.default is None and "null" not in kinds:
            kinds.append("null")
        return " or ".join(kinds)


def fields_of(kind: type, prefix: str, skip: Iterable[str] = ()) -> dict[str, Field]:
    """The fields of a dataclass that a configuration can set, by name.

    Fields that accept only functions or arrays are left out.
    """
    try:
        hints = get_type_hints(kind)
    except Exception:  # Names in a user's annotations may not be importable.
        hints = {}
    found = {}
    for entry in dataclasses.fields(kind):
        annotation = hints.get(entry.name, entry.type)
        if entry.init and entry.name not in {*skip} and _describe(annotation):
            default = entry.default
            if entry.default_factory is not dataclasses.MISSING:
                default = entry.default_factory()
            if default is dataclasses.MISSING:
                default = MISSING
            if not callable(default):
                key = f"{prefix}{entry.name}"
                found[entry.name] = Field(key, annotation, default)
    return found


def arguments_of(function: Callable[..., Any], prefix: str) -> dict[str, Field]:
    """The arguments of a function as fields, by name."""
    found = {}
    for name, parameter in inspect.signature(function).parameters.items():
        empty = parameter.default is parameter.empty
        default = MISSING if empty else parameter.default
        found[name] = Field(f"{prefix}{name}", parameter.annotation, default)
    return found


def unknown_key(key: str, known: Iterable[str], where: str = "") -> UserError:
    """The error for an unknown key, with the nearest valid keys.

    >>> print(unknown_key("forget_bias", ["cell.forget_bias", "steps"]))
    unknown key 'forget_bias'; did you mean cell.forget_bias?
    """
    known = list(known)
    last = key.rpartition(".")[2]
    inner = [name for name in known if name.startswith(f"{key}.")]
    same = sorted(name for name in known if name.rpartition(".")[2] == last)
    if inner:
        hint = f"its keys: {', '.join(inner)}"
    elif same:
        hint = f"did you mean {' or '.join(same[:3])}?"
    else:
        hint = did_you_mean(key, known)
    return UserError(f"unknown key '{key}'{where}; {hint}")


def as_text(value: Any) -> str:
    """A value as it is written on the command line.

    >>> as_text([None, True, 1e-3, "relu"])
    '[null,true,0.001,relu]'
    """
    if isinstance(value, list | tuple):
        return f"[{','.join(map(as_text, value))}]"
    if isinstance(value, Mapping):
        pairs = (f"{key}:{as_text(entry)}" for key, entry in value.items())
        return f"{{{','.join(pairs)}}}"
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)


def leaves(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Dotted names and values of nested mappings; an empty mapping counts as a value.

    >>> leaves({"a": {"b": 1}, "c": [2], "d": {}})
    {'a.b': 1, 'c': [2], 'd': {}}
    """
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        if isinstance(value, Mapping) and value:
            flat |= leaves(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value
    return flat


def plain(value: Any) -> Any:
    """The value with lists for tuples, as YAML has them."""
    if isinstance(value, Mapping):
        return {key: plain(entry) for key, entry in value.items()}
    return list(map(plain, value)) if isinstance(value, tuple) else value


def _alternatives(annotation: Any) -> tuple[Any, ...]:
    if get_origin(annotation) in (Union, types.UnionType):
        # Text comes last, because it also accepts values of all other types.
        parts = [p for part in get_args(annotation) for p in _alternatives(part)]
        return tuple(sorted(parts, key=lambda part: part is str))
    return (annotation,)


def _convert(annotation: Any, value: Any) -> Any:
    for part in _alternatives(annotation):
        try:
            return _convert_one(part, value)
        except Mismatch:
            continue
    raise Mismatch


def _convert_one(kind: Any, value: Any) -> Any:
    if kind is types.NoneType and value is None:
        return None
    if kind in (bool, int, float):
        return _convert_number(kind, _read(value) if isinstance(value, str) else value)
    if kind is str and isinstance(value, str | int | float):
        return str(value)
    if get_origin(kind) is Literal and value in get_args(kind):
        return value
    if get_origin(kind) is tuple and isinstance(value, list | tuple):
        parts = get_args(kind)
        if parts[-1] is Ellipsis:
            parts = (parts[0],) * len(value)
        if len(parts) == len(value):
            pairs = zip(parts, value, strict=True)
            return tuple(_convert(part, entry) for part, entry in pairs)
    raise Mismatch


def _convert_number(kind: type, value: Any) -> Any:
    if isinstance(value, bool) or kind is bool:
        if isinstance(value, bool) and kind is bool:
            return value
    elif isinstance(value, int):
        try:
            return kind(value)
        except OverflowError:  # a whole number too large for a float
            raise Mismatch from None
    elif isinstance(value, float) and not math.isnan(value):
        if kind is float:
            return value
        if value.is_integer() and abs(value) <= EXACT:  # 1e3 updates
            return int(value)
    raise Mismatch


EXACT = 2.0**53
"""Up to here, floats represent all whole numbers exactly."""

_NUMBER = re.compile(
    r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?|[+-]?(?P<infinite>inf(inity)?)",
    re.ASCII | re.IGNORECASE,
)


def _read(text: str) -> Any:
    """The number or truth value written in a text, such as one from ``${oc.env:…}``."""
    text = text.strip(string.whitespace)
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    if not (found := _NUMBER.fullmatch(text)):
        raise Mismatch
    try:
        return int(text)
    except ValueError:
        number = float(text)
    if math.isinf(number) and not found["infinite"]:  # 1e400
        raise Mismatch
    return number


def _describe(annotation: Any) -> list[str]:
    return [text for part in _alternatives(annotation) if (text := _describe_one(part))]


def _describe_one(kind: Any) -> str:
    names = {int: "a whole number", float: "a number", bool: "true or false"}
    if kind in (types.NoneType, str):
        return "null" if kind is types.NoneType else "text"
    if get_origin(kind) is Literal:
        return "one of " + ", ".join(map(str, get_args(kind)))
    if get_origin(kind) is tuple:
        parts = [part for part in get_args(kind) if part is not Ellipsis]
        return "a list [" + ", ".join(" or ".join(_describe(p)) for p in parts) + "]"
    return names.get(kind, "") if isinstance(kind, type) else ""
