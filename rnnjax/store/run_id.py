"""The run id: a hash of everything that determines the numbers of a run."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rnnjax.errors import UserError


HASH_VERSION = 2
"""Version of what is hashed. Version 1 gave runs of all lengths one id, and identified
data by the path of its file."""

COSMETIC = frozenset(
    "out paths probe tracker sweep launcher pack progress name variant".split()
)
"""Top-level keys that affect where and how a run is stored, but never its numbers."""

IMPLIED = {
    "backprop": {"name": "exact"},
    "lr_schedule": {"name": "constant", "warmup": 0},
    "pairs": False,
    "penalty": {"name": "none"},
}
"""Top-level keys that are left out of the hash at these values, which have the same
effect as leaving out the key."""

IMPLIED_WITHIN = {
    "model": {"engine": "scan", "remat": None},
    "optimizer": {"eps_in_sqrt": True, "initial_scale": 0.0},
}
"""The same for keys one level further down."""

LENGTH = "steps"
"""The top-level key in which runs of one lineage may differ."""

DIGITS = 12


def run_id_of(
    config: Mapping[str, Any],
    digests: Mapping[str, str],
    *,
    numerics: Mapping[str, Any] | None = None,
    version: int = HASH_VERSION,
) -> str:
    """The id of a run: 12 hexadecimal digits.

    Args:
        config: the resolved configuration: nested mappings of scalars and lists.
        digests: digests of the data and user files that the run reads, by role (see
            `file_digest`). If there is a digest for the role ``data``, it replaces the
            path of the data file (``task.path``), which is then ignored.
        numerics: settings of JAX that determine numbers (`environment.numerics`).
        version: see `HASH_VERSION`.

    Returns:
        The first 12 hexadecimal digits of a SHA-256 over canonical JSON. The order of
        keys, the spelling of a number (1 or 1.0), `COSMETIC` top-level keys and
        `IMPLIED` values do not matter; everything else does.

    Raises:
        TypeError: a value is neither a mapping, a list nor a plain scalar.

    >>> one = run_id_of({"seed": 1, "optimizer": {"lr": 1e-3}}, {})
    >>> one == run_id_of({"optimizer": {"lr": 0.001}, "seed": 1.0, "out": "here"}, {})
    True
    >>> one == run_id_of({"optimizer": {"lr": 2e-3}, "seed": 1}, {})
    False
    """
    record = {
        "schema": version,
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
    """The hash shared by all runs that differ only in their number of updates.

    Among these, a longer run can resume from the end of a shorter one. Arguments,
    result and errors are those of `run_id_of`.
    """
    rest = {key: value for key, value in config.items() if key != LENGTH}
    return run_id_of(rest, digests, numerics=numerics)


def _counting(key: str, value: Any, digests: Mapping[str, str]) -> Any:
    """The part of the value of a top-level key that enters the hash."""
    if not isinstance(value, Mapping):
        return value
    implied = IMPLIED_WITHIN.get(key, {})
    kept = {k: v for k, v in value.items() if k not in implied or v != implied[k]}
    if key == "task" and "data" in digests:
        kept.pop("path", None)
    return kept


def digest(content: bytes) -> str:
    """SHA-256 of bytes, in hexadecimal.

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
    """The value in canonical form: whole floats as integers, tuples as lists."""
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return int(value) if value.is_integer() else value
    if isinstance(value, Mapping):
        if not all(isinstance(key, str) for key in value):
            raise TypeError(
                f"keys of a configuration must be strings, not {list(value)}"
            )
        return {key: _canonical(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_canonical(entry) for entry in value]
    raise TypeError(
        f"a configuration may contain plain scalars only, not {type(value).__name__}"
    )
