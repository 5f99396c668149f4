"""The idx file format of MNIST, plain or gzipped."""

import gzip
import math
import zlib
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from rnnjax.errors import UserError
from rnnjax.tasks.files import read_bytes


BYTES = 8
"""Type code of unsigned bytes, the one that MNIST uses."""


def read_idx(path: Path, axes: int) -> UInt8[np.ndarray, "..."]:
    """An array of unsigned bytes with `axes` axes.

    Format: two zero bytes, a type code, the number of axes, the size of each axis as
    a big-endian 32-bit integer, then the bytes.

    Raises:
        UserError: the file is missing, cut off, or something else.
    """
    content = read_bytes(path)
    if content[:2] == b"\x1f\x8b":
        try:
            content = gzip.decompress(content)
        except (OSError, EOFError, zlib.error) as error:
            raise UserError(f"{path} is a broken gzip file: {error}") from None
    start = 4 + 4 * axes
    if len(content) < start or content[:4] != bytes([0, 0, BYTES, axes]):
        raise UserError(f"{path} is not an idx file of bytes with {axes} axes")
    shape = tuple(np.frombuffer(content, ">u4", axes, 4).tolist())
    if len(content) - start != math.prod(shape):
        raise UserError(
            f"{path} announces {math.prod(shape)} bytes of data and holds "
            f"{len(content) - start}"
        )
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)
