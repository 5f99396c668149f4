"""Which run is this: a hash of everything that decides its numbers."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rnnjax.errors import UserError


SCHEMA_VERSION = 2
"""Of configurations, manifests and indices. Version 1 kept one directory for runs of
all lengths, and knew data by the path of their file."""

COSMETIC = frozenset(
    "out paths probe tracker sweep launcher pack progress name variant".split()
)
"""Top-level keys that change where and how a run is kept, never its numbers."""

IMPLIED = {
    "backprop": {"name": "exact"},
    "lr_schedule": {"name": "constant", "warmup": 0},
    "penalty": {"name": "none"},
}
"""Top-level keys that do not count at these values: what a run without them does."""

IMPLIED_WITHIN = {
    "model": {"engine": "scan", "chunk": None},
    "optimizer": {"eps_in_sqrt": True, "initial_scale": 0.0},
}
"""The same for keys one level down."""

LENGTH = "steps"
"""The top-level key in which the runs of one lineage differ."""

DIGITS = 12


def identity(
    config: Mapping[str, Any],
    digests: Mapping[str, str],
    *,
    numerics: Mapping[str, Any] | None = None,
    schema_version: int = SCHEMA_VERSION,
) -> str:
    """The name of a run among all others: 12 hexadecimal digits.

    Args:
        config: the resolved configuration, nested mappings of scalars and lists.
        digests: of the data and user files that the run reads, by role (see
            `file_digest`). The content of the data counts, under the role ``data``;
            the path of their file, ``task.path``, then does not.
        numerics: settings of JAX that decide numbers (`environment.numerics`).
        schema_version: version of the configuration schema.

    Returns:
        The first 12 hexadecimal digits of a SHA-256 over canonical JSON. Order of keys,
        the spelling of a number (1 or 1.0), `COSMETIC` top-level keys and what is
        `IMPLIED` do not matter; everything else does.

    Raises:
        TypeError: a value is neither a mapping, a list nor a plain scalar.

    >>> one = identity({"seed": 1, "optimizer": {"lr": 1e-3}}, {})
    >>> one == identity({"optimizer": {"lr": 0.001}, "seed": 1.0, "out": "here"}, {})
    True
    >>> one == identity({"optimizer": {"lr": 2e-3}, "seed": 1}, {})
    False
    """
    record = {
        "schema": schema_version,
        "config": {
            key: _counting(key, value, digests)
            for key, value in config.items()
            if key not in COSMETIC and not (key in IMPLIED and value == IMPLIED[key])
        },
        "data": digests,
        "numerics": dict(numerics or {}),
    }
    text = json.dumps(_canonical(record), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:DIGITS]


def lineage(
    config: Mapping[str, Any],
    digests: Mapping[str, str],
    *,
    numerics: Mapping[str, Any] | None = None,
) -> str:
    """What runs have in common that differ in their number of updates alone.

    A longer one of them can resume from the end of a shorter one. Arguments, result
    and errors as of `identity`.
    """
    rest = {key: value for key, value in config.items() if key != LENGTH}
    return identity(rest, digests, numerics=numerics)


def _counting(key: str, value: Any, digests: Mapping[str, str]) -> Any:
    """What counts of the value of a top-level key."""
    if not isinstance(value, Mapping):
        return value
    implied = IMPLIED_WITHIN.get(key, {})
    kept = {k: v for k, v in value.items() if k not in implied or v != implied[k]}
    if key == "task" and "data" in digests:
        kept.pop("path", None)
    return kept


def digest(content: bytes) -> str:
    """SHA-256 of some bytes, in hexadecimal.

    >>> digest(b"")
    'e3b0c4...'
    """
    return hashlib.sha256(content).hexdigest()


def file_digest(path: str | Path) -> str:
    """SHA-256 of the bytes of a file, in hexadecimal.

    Raises:
        UserError: the file cannot be read.
    """
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UserError(f"cannot read '{path}': {error.strerror}") from None


def _canonical(value: Any) -> Any:
    """The same value with one spelling: whole floats as integers, tuples as lists."""
    if isinstance(value, Mapping):
        if not all(isinstance(key, str) for key in value):
            raise TypeError(f"keys of a configuration are strings, not {list(value)}")
        return {key: _canonical(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_canonical(entry) for entry in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if value is None or isinstance(value, str | bool | int | float):
        return value
    raise TypeError(f"a configuration holds plain scalars, not {type(value).__name__}")
