"""Strictly valid JSON that preserves NaN and infinities and reveals damage."""

import json
import math
import re
from collections.abc import Mapping
from typing import Any

from rnnjax.store.run_id import digest


TAG = "$float"

SEAL = "sha256"
"""Last key of a sealed record: the digest of all its text before that key."""


def dumps(value: Any, indent: int | None = None) -> str:
    """JSON text; a float that JSON cannot express becomes ``{"$float": "nan"}``.

    >>> dumps({"loss": float("inf"), "steps": 3})
    '{"loss": {"$float": "inf"}, "steps": 3}'
    """
    return json.dumps(
        _tagged(value), indent=indent, allow_nan=False, ensure_ascii=False
    )


def loads(text: str | bytes) -> Any:
    """The inverse of `dumps`.

    Raises:
        ValueError: the text is not JSON or not UTF-8, or contains a lone surrogate.

    >>> loads(r'{"name": "\\ud800"}')
    Traceback (most recent call last):
    ValueError: it contains half a character (a lone surrogate)
    """
    try:
        value = json.loads(text, object_hook=_untagged)
        content = text.encode() if isinstance(text, str) else text
        if b"\\ud" in content.lower():  # a pair of these escapes is one character
            json.dumps(value, ensure_ascii=False).encode()
        return value
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except UnicodeEncodeError:
        raise ValueError("it contains half a character (a lone surrogate)") from None


def sealed(record: Mapping[str, Any], indent: int | None = None) -> str:
    """`dumps` of a non-empty record, followed by the digest of its own text.

    >>> sealed({"steps": 3})[:32]
    '{"steps": 3, "sha256": "0ff09234'
    """
    body = dumps(record, indent).removesuffix("}").rstrip()
    return body + _end(body.encode()).decode()


def opened(text: str | bytes) -> dict[str, Any]:
    """The inverse of `sealed`; a line break may follow the text.

    A record without a digest, as older versions wrote them, is accepted unchecked.

    Raises:
        ValueError: the text is not the record that was written.
    """
    content = text.encode() if isinstance(text, str) else text
    content = content.removesuffix(b"\n")
    entries = loads(content)
    if not isinstance(entries, dict):
        raise ValueError("it is not a JSON object")
    body = content[:-_END]
    if content[-_END:] == _end(body):
        del entries[SEAL]
        return entries
    # A damaged byte may also be in the key or in the digest itself.
    last = str(next(reversed(entries.values()), ""))
    if SEAL in entries or re.fullmatch("[0-9a-f]{64}", last):
        raise ValueError("its content does not match its own digest")
    return entries


def _end(body: bytes) -> bytes:
    return f', "{SEAL}": "{digest(body)}"}}'.encode()


_END = len(_end(b""))


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
