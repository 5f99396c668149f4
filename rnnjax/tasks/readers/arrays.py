"""Read a user's sequences from .npz and .csv files."""

import io
import math
import re
import zipfile
from pathlib import Path

import numpy as np
import polars as pl

from rnnjax.errors import UserError, unknown
from rnnjax.tasks.readers.numbers import check_kind, ids, refuse_where, values
from rnnjax.tasks.readers.text_files import check_room, read_bytes, read_text


def read_npz(path: Path, target: str | None) -> dict[str, np.ndarray]:
    """Read the arrays ``inputs``, ``targets`` and, if present, ``lengths``.

    Args:
        path: an archive written by `numpy.savez`.
        target: name of the array of targets; None: ``targets``.
    """
    content = io.BytesIO(read_bytes(path))
    name = target or "targets"
    try:
        with zipfile.ZipFile(content) as archive:
            members = {m.filename.removesuffix(".npy"): m for m in archive.infolist()}
            for wanted in ("inputs", name):
                if wanted not in members:
                    raise unknown(f"array in {path}", wanted, members)
            named = {"inputs": "inputs", "targets": name, "lengths": "lengths"}
            chosen = {k: members[n] for k, n in named.items() if n in members}
            check_room(path, sum(member.file_size for member in chosen.values()))
            return {key: _array(archive, member) for key, member in chosen.items()}
    except (UserError, MemoryError):
        raise
    except Exception as error:  # zipfile, its decoders and NumPy raise many types
        reason = re.sub("<.* at 0x.*>", "…", str(error).partition("\n")[0])
        kind = f": {reason}" if reason else ""
        raise UserError(f"{path} is not a readable .npz file{kind}") from None


def _array(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> np.ndarray:
    """Read one array; allocates nothing if its header declares more than there is.

    Raises:
        ValueError: header and content do not match, or the array contains objects.
    """
    with archive.open(member) as file:
        version = np.lib.format.read_magic(file)
        if version not in _HEADERS:
            raise ValueError(f"'{member.filename}' has unsupported format {version}")
        shape, _, dtype = _HEADERS[version](file)
        if dtype.hasobject:
            raise ValueError(
                f"'{member.filename}' contains Python objects, not numbers"
            )
        size = math.prod(shape) * dtype.itemsize
        if min(shape, default=0) < 0 or file.tell() + size != member.file_size:
            raise ValueError(
                f"'{member.filename}' declares {size} bytes of data but contains "
                f"{member.file_size - file.tell()}"
            )
    with archive.open(member) as file:
        return np.lib.format.read_array(file, allow_pickle=False)


_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}
"""Header readers by format version; 3.0 is only for records with non-ASCII names."""


def read_csv(path: Path, target: str | None) -> dict[str, np.ndarray]:
    """Read one sequence per row: columns ``x0`` … ``x{T−1}`` and the target.

    Args:
        path: a comma-separated file with a header.
        target: name of the column with the target; None: ``target``.
    """
    # pass the text: polars would treat [ ] and * in a path as a pattern
    content = read_text(path).encode()
    try:
        table = pl.read_csv(content, infer_schema_length=None)
    except pl.exceptions.PolarsError as error:
        reason = str(error).partition("\n")[0]
        raise UserError(f"{path} is not a readable .csv file: {reason}") from None
    name = target or "target"
    if not table.height:
        raise UserError(f"{path} is empty: it has a header but no rows")
    if name not in table.columns:
        raise unknown(f"column in {path}", name, table.columns)
    steps = [f"x{step}" for step in range(table.width - 1)]
    for column in (*steps, name):
        if column not in table.columns:
            raise UserError(
                f"{path} has no column {column}; its columns must be x0 to "
                f"x{len(steps) - 1} and {name}"
            )
        cells = table[column]
        if cells.null_count():
            line = cells.is_null().arg_true()[0] + 2
            raise UserError(f"{path}, line {line}: column {column} has no value")
        if not cells.dtype.is_numeric():
            raise UserError(f"{path}: column {column} contains text, not numbers")
        if cells.dtype == pl.Int128:
            beyond = cells.cast(pl.Int64, strict=False).is_null().arg_true()[0]
            raise UserError(
                f"{path}, line {beyond + 2}: column {column} contains {cells[beyond]}, "
                "a whole number that does not fit into 64 bits"
            )
    if not steps:
        raise UserError(f"{path} has no input column x0")
    return {"inputs": table.select(steps).to_numpy(), "targets": table[name].to_numpy()}


def checked(path: Path, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The arrays as int32 or float32, with lengths, after checking them.

    Inputs: integers ``(N, T)`` are tokens; floats ``(N, T, m)`` or ``(N, T)`` are
    vectors. Targets: integers ``(N,)`` are classes; floats ``(N,)`` or ``(N, q)`` are
    values. Entries beyond the length of an example are padding and are set to 0,
    whatever they were.

    Raises:
        UserError: shapes that do not match, invalid lengths, or numbers that
            `numbers.ids` or `numbers.values` rejects.
    """
    where, inputs, targets = str(path), arrays["inputs"], arrays["targets"]
    for name, array in arrays.items():
        check_kind(where, name, array)
        if not array.ndim or array.shape[:1] != inputs.shape[:1]:
            raise UserError(f"{path}: {name} and inputs differ in their first axis")
    if not len(inputs):
        raise UserError(f"{path} has 0 examples; a split needs at least 3")
    tokens, classes = (array.dtype.kind in "iu" for array in (inputs, targets))
    if inputs.ndim not in ((2,) if tokens else (2, 3)) or not all(inputs.shape):
        raise UserError(
            f"{path}: inputs have shape {inputs.shape}; permitted: tokens (N, T) or "
            "floats (N, T, m)"
        )
    if targets.ndim not in ((1,) if classes else (1, 2)) or not all(targets.shape):
        raise UserError(
            f"{path}: targets have shape {targets.shape}; permitted: classes (N,) or "
            "floats (N,) or (N, q)"
        )
    lengths = checked_lengths(where, arrays.get("lengths"), *inputs.shape[:2])
    valid = np.arange(inputs.shape[1]) < lengths[:, None]
    inputs = np.where(valid.reshape(*valid.shape, *[1] * (inputs.ndim - 2)), inputs, 0)
    of_inputs, of_targets = ("example", "step", "entry"), ("example", "entry")
    read = (ids if tokens else values)(where, "inputs", inputs, of_inputs)
    wanted = (ids if classes else values)(where, "targets", targets, of_targets)
    return {
        "inputs": read if tokens or read.ndim == 3 else read[:, :, None],
        "targets": wanted if classes or wanted.ndim == 2 else wanted[:, None],
        "lengths": lengths,
    }


def checked_lengths(
    where: str, lengths: np.ndarray | None, examples: int, steps: int
) -> np.ndarray:
    """Lengths ``(N,)`` as int32; if None, all of them are `steps`.

    Raises:
        UserError: they are not one integer from 1 to `steps` for each example.
    """
    if lengths is None:
        return np.full(examples, steps, np.int32)
    rule = f"{where}: lengths must be whole numbers from 1 to {steps}, one per example"
    if lengths.dtype.kind not in "iu" or lengths.shape != (examples,):
        raise UserError(f"{rule}, not {lengths.dtype} of shape {lengths.shape}")
    refuse_where(
        (lengths < 1) | (lengths > steps),
        lambda place, value: f"{rule} ({place}: {value})",
        lengths,
        ("example",),
    )
    return lengths.astype(np.int32)
