"""The idx file format of MNIST, plain or gzipped."""

import gzip
import io
import math
import zlib
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from rnnjax.errors import UserError
from rnnjax.tasks.readers.text_files import check_room, read_bytes


BYTES = 8
"""Type code of unsigned bytes, the type that MNIST uses."""


def read_idx(path: Path, axes: int) -> UInt8[np.ndarray, "..."]:
    """Read an array of unsigned bytes with `axes` axes.

    Format: two zero bytes, a type code, the number of axes, the size of each axis as
    a big-endian 32-bit integer, then the bytes.

    Raises:
        UserError: the file is missing, truncated, or not such an array.
    """
    content = read_bytes(path)
    start = 4 + 4 * axes
    packed = content[:2] == b"\x1f\x8b"
    head = _unpacked(path, content, start) if packed else content
    if len(head) < start or head[:4] != bytes([0, 0, BYTES, axes]):
        raise UserError(f"{path} is not an idx file of bytes with {axes} axes")
    shape = tuple(np.frombuffer(head, ">u4", axes, 4).tolist())
    size = math.prod(shape)
    if packed:  # unpack only as much as declared, as a file could unpack endlessly
        check_room(path, size)
        content = _unpacked(path, content, start + size + 1)
    if len(content) - start != size:
        more = "more" if packed and len(content) - start > size else None
        raise UserError(
            f"{path} declares {size} bytes of data but contains "
            f"{more or len(content) - start}"
        )
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)


def _unpacked(path: Path, content: bytes, size: int) -> bytes:
    """At most `size` bytes from the beginning of the unpacked gzip file."""
    try:
        with gzip.open(io.BytesIO(content)) as file:
            return file.read(size)
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path} is a damaged gzip file: {error}") from None
