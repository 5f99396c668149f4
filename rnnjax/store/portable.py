"""JSON that every reader accepts, and that keeps NaN and infinities."""

import json
import math
from collections.abc import Mapping
from typing import Any


TAG = "$float"


def dumps(value: Any, indent: int | None = None) -> str:
    """JSON text; a float that JSON lacks becomes ``{"$float": "nan"}``.

    >>> dumps({"loss": float("inf"), "steps": 3})
    '{"loss": {"$float": "inf"}, "steps": 3}'
    """
    return json.dumps(
        _tagged(value), indent=indent, allow_nan=False, ensure_ascii=False
    )


def loads(text: str | bytes) -> Any:
    """The inverse of `dumps`.

    Raises:
        ValueError: the text is not JSON, or not UTF-8.
    """
    return json.loads(text, object_hook=_untagged)


def _tagged(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else {TAG: repr(float(value))}
    if isinstance(value, Mapping):
        return {key: _tagged(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_tagged(entry) for entry in value]
    return value


def _untagged(entry: dict[str, Any]) -> Any:
    return float(entry[TAG]) if entry.keys() == {TAG} else entry
