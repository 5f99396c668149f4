"""Reading a user's sequences from .npz and .csv files."""

import zipfile
from pathlib import Path

import numpy as np
import polars as pl

from rnnjax.errors import UserError, unknown
from rnnjax.tasks.files import read_bytes, read_text


def read_npz(path: Path, target: str | None) -> dict[str, np.ndarray]:
    """The arrays ``inputs``, ``targets`` and, if there, ``lengths``.

    Args:
        path: an archive written by `numpy.savez`.
        target: name of the targets, ``targets`` if None.
    """
    read_bytes(path)
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except (OSError, ValueError, EOFError, AttributeError, zipfile.BadZipFile) as error:
        raise UserError(f"{path} is not a readable .npz file: {error}") from None
    name = target or "targets"
    for wanted in ("inputs", name):
        if wanted not in arrays:
            raise unknown(f"array in {path}", wanted, arrays)
    found = {"inputs": arrays["inputs"], "targets": arrays[name]}
    return found | {"lengths": arrays["lengths"]} if "lengths" in arrays else found


def read_csv(path: Path, target: str | None) -> dict[str, np.ndarray]:
    """One sequence a row: columns ``x0`` … ``x{T−1}`` and the target.

    Args:
        path: a comma-separated file with a header.
        target: name of the column with the target, ``target`` if None.
    """
    read_text(path)
    try:
        table = pl.read_csv(path, infer_schema_length=None)
    except pl.exceptions.PolarsError as error:
        reason = str(error).partition("\n")[0]
        raise UserError(f"{path} is not a readable .csv file: {reason}") from None
    name = target or "target"
    if not table.height:
        raise UserError(f"{path} is empty: it has a header and no rows")
    if name not in table.columns:
        raise unknown(f"column in {path}", name, table.columns)
    steps = [f"x{step}" for step in range(table.width - 1)]
    for column in (*steps, name):
        if column not in table.columns:
            raise UserError(
                f"{path} has no column {column}; its columns must be x0 to "
                f"x{len(steps) - 1} and {name}"
            )
        values = table[column]
        if values.null_count():
            line = values.is_null().arg_true()[0] + 2
            raise UserError(f"{path}, line {line}: column {column} has no value")
        if not values.dtype.is_numeric():
            raise UserError(f"{path}: column {column} holds text, not numbers")
    if not steps:
        raise UserError(f"{path} has no input column x0")
    return {"inputs": table.select(steps).to_numpy(), "targets": table[name].to_numpy()}


def checked(path: Path, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The same arrays as int32 or float32, with lengths, or an error.

    Inputs: ``(N, T)`` whole numbers are tokens; ``(N, T, m)`` or ``(N, T)`` floats are
    vectors. Targets: ``(N,)`` whole numbers are classes, floats ``(N,)`` or ``(N, q)``
    values.

    Raises:
        UserError: shapes that do not fit, negative or non-finite numbers, bad lengths.
    """
    inputs, targets = arrays["inputs"], arrays["targets"]
    whole = {name: np.issubdtype(a.dtype, np.integer) for name, a in arrays.items()}
    for name, array in arrays.items():
        if not whole[name] and not np.issubdtype(array.dtype, np.floating):
            raise UserError(f"{path}: {name} has dtype {array.dtype}, not numbers")
        if not np.isfinite(array).all():
            raise UserError(f"{path}: {name} holds NaN or infinity")
        if whole[name] and array.min(initial=0) < 0:
            raise UserError(
                f"{path}: {name} are whole numbers and must not be negative"
            )
        if not array.ndim or len(array) != len(inputs):
            raise UserError(f"{path}: {name} and inputs differ in their first axis")
    if inputs.ndim not in ((2,) if whole["inputs"] else (2, 3)) or inputs.shape[1] < 1:
        raise UserError(
            f"{path}: inputs have shape {inputs.shape}; permitted: tokens (N, T) or "
            "floats (N, T, m)"
        )
    if targets.ndim not in ((1,) if whole["targets"] else (1, 2)):
        raise UserError(
            f"{path}: targets have shape {targets.shape}; permitted: classes (N,) or "
            "floats (N,) or (N, q)"
        )
    steps = inputs.shape[1]
    lengths = arrays.get("lengths", np.full(len(inputs), steps, np.int32))
    counts = lengths.ndim == 1 and np.issubdtype(lengths.dtype, np.integer)
    if not counts or lengths.min(initial=1) < 1 or lengths.max(initial=1) > steps:
        raise UserError(f"{path}: lengths must be whole numbers from 1 to {steps}")
    vectors = inputs if inputs.ndim == 3 else inputs[:, :, None]
    values = targets if targets.ndim == 2 else targets[:, None]
    return {
        "inputs": inputs.astype(np.int32) if whole["inputs"] else vectors.astype("f4"),
        "targets": targets.astype(np.int32)
        if whole["targets"]
        else values.astype("f4"),
        "lengths": lengths.astype(np.int32),
    }
