"""Which run is this: a hash of what decides its numbers, and of the code behind it."""

import hashlib
import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import rnnjax
from rnnjax.errors import UserError


SCHEMA_VERSION = 1

COSMETIC = frozenset(
    "out paths probe tracker sweep launcher pack progress name variant".split()
)
"""Top-level keys that change where and how a run is kept, never its numbers."""

EXTENDABLE = frozenset({"steps"})
"""Top-level keys that lengthen a run without making it another one."""

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

NUMERIC_SOURCE = (
    "activations.py",
    "initializers.py",
    *(
        f"{room}/**/*.py"
        for room in "cells recurrence models tasks probes remedies training".split()
    ),
)

DIGITS = 12


def identity(
    config: Mapping[str, Any],
    data_hashes: Mapping[str, str],
    schema_version: int = SCHEMA_VERSION,
) -> str:
    """The name of a run among all others: 12 hexadecimal digits.

    Args:
        config: the resolved configuration, nested mappings of scalars and lists.
        data_hashes: digests of the data and user files that the run reads, by role
            (see `file_digest`); the role counts, the place of the file does not.
        schema_version: version of the configuration schema.

    Returns:
        The first 12 hexadecimal digits of a SHA-256 over canonical JSON. Order of keys,
        the spelling of a number (1 or 1.0), `COSMETIC` and `EXTENDABLE` top-level keys
        and what is `IMPLIED` do not matter; everything else does.

    Raises:
        TypeError: a value is neither a mapping, a list nor a plain scalar.

    >>> one = identity({"seed": 1, "optimizer": {"lr": 1e-3}}, {})
    >>> one == identity({"optimizer": {"lr": 0.001}, "seed": 1.0, "out": "here"}, {})
    True
    >>> one == identity({"optimizer": {"lr": 2e-3}, "seed": 1}, {})
    False
    """
    ignored = COSMETIC | EXTENDABLE
    record = {
        "schema": schema_version,
        "config": {
            key: _without_implied(key, value)
            for key, value in config.items()
            if key not in ignored and not (key in IMPLIED and value == IMPLIED[key])
        },
        "data": data_hashes,
    }
    text = json.dumps(_canonical(record), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:DIGITS]


def _without_implied(key: str, value: Any) -> Any:
    """What counts of the value of a top-level key."""
    implied = IMPLIED_WITHIN.get(key)
    if implied is None or not isinstance(value, Mapping):
        return value
    return {k: v for k, v in value.items() if k not in implied or v != implied[k]}


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


def source_digest(root: str | Path | None = None) -> str:
    """Digest of the code that decides numbers, 12 hexadecimal digits.

    A run whose manifest holds another digest was made by other code: it is shown as
    stale and never silently reused.

    Args:
        root: the package folder; by default the one that is imported.
    """
    return _source_digest(Path(root or Path(rnnjax.__file__).parent))


@cache
def _source_digest(root: Path) -> str:
    files = {file for pattern in NUMERIC_SOURCE for file in root.glob(pattern)}
    digest = hashlib.sha256()
    for name, file in sorted(
        (file.relative_to(root).as_posix(), file) for file in files
    ):
        content = hashlib.sha256(file.read_bytes()).hexdigest()
        digest.update(f"{name} {content}\n".encode())
    return digest.hexdigest()[:DIGITS]


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
