"""Type checks on records as they are read: a field of the wrong type is damage."""

import functools
import types
from collections.abc import Mapping
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints


def check_types(kind: type, entries: Mapping[str, Any]) -> None:
    """Check values read from JSON against the annotations of a dataclass.

    Args:
        kind: the dataclass; nested dataclasses may already have been built.
        entries: fields by name; missing ones are not checked.

    Raises:
        TypeError: a field has the wrong type; the message names it.

    >>> from rnnjax.store.manifest import Slot
    >>> check_types(Slot, {"size": 3, "slot": 0, "tolerance": 0})
    >>> check_types(Slot, {"size": "3", "slot": 0})
    Traceback (most recent call last):
    TypeError: size is not of type int
    """
    known = _hints(kind)
    for name, value in entries.items():
        if name in known and not fits(value, known[name]):
            wanted = getattr(known[name], "__name__", str(known[name]))
            raise TypeError(f"{name} is not of type {wanted}")


def fits(value: Any, annotation: Any) -> bool:
    """Whether a value, with everything inside it, is of a type.

    >>> fits([1, "a"], list[tuple[int, str]]), fits([[1, "a"]], list[tuple[int, str]])
    (False, True)
    >>> fits(1, float | None), fits(True, int), fits({"a": 1}, dict[str, Any])
    (True, False, True)
    """
    if annotation is Any:
        return True
    if plain := _plain(annotation):
        return type(value) in plain
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin in (Union, types.UnionType):
        return any(fits(value, part) for part in parts)
    if origin is Literal:
        return any(value == part and type(value) is type(part) for part in parts)
    if origin is dict:  # JSON guarantees that the keys are text
        if not isinstance(value, dict) or parts[1] is Any:
            return isinstance(value, dict)
        if plain := _plain(parts[1]):
            return plain.issuperset(map(type, value.values()))
        return all(fits(entry, parts[1]) for entry in value.values())
    if origin in (list, tuple):
        if not isinstance(value, list | tuple):
            return False
        each = parts[:1] * len(value)
        if origin is tuple and parts[-1] is not Ellipsis:
            each = parts
        return len(each) == len(value) and all(map(fits, value, each))
    return isinstance(value, annotation)


@functools.cache
def _plain(annotation: Any) -> frozenset[type]:
    """The JSON types of a scalar annotation; empty for any other annotation."""
    if get_origin(annotation) in (Union, types.UnionType):
        found = [_plain(part) for part in get_args(annotation)]
        return frozenset().union(*found) if all(found) else frozenset()
    if annotation is float:
        return frozenset((int, float))
    scalars = (str, int, bool, types.NoneType)
    return frozenset((annotation,)) if annotation in scalars else frozenset()


@functools.cache
def _hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)
