"""Data files that are made to hurt whoever unpacks, unpickles or trusts them."""

import io
import pickle
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from scripts.soak.generated_case import MARKER
from scripts.soak.generated_values import odd
from scripts.soak.mutations import Rng, pick, replaced


ROWS, STEPS = 60, 5

Maker = Callable[[Rng], list[str]]
"""Writes files into the present folder; returns the overrides that name them."""


class _Execute:
    """Unpickled, it writes a file."""

    def __reduce__(self) -> Any:
        return Path.touch, (Path(MARKER),)


def trap(rng: Rng) -> list[str]:
    """Files that are made to hurt whoever unpacks, unpickles or trusts them."""
    return pick(rng, _TRAPS)(rng)


def _pickled(rng: Rng) -> list[str]:
    """Objects, which only unpickling could read."""
    objects = np.array([_Execute()] * ROWS, dtype=object)
    np.savez("a.npz", inputs=objects, targets=objects)
    if rng.random() < 0.5:
        Path("a.npz").write_bytes(pickle.dumps({"inputs": _Execute()}))
    return ["task=arrays", "task.path=a.npz"]


def _bare(rng: Rng) -> list[str]:
    """One array, or a pickle, under the name of an archive."""
    with open("a.npz", "wb") as file:
        np.save(file, rng.integers(0, 3, (ROWS, STEPS)))
    return ["task=arrays", f"task.path={pick(rng, ('a.npz', './a.npz'))}"]


def _zip_bomb(rng: Rng) -> list[str]:
    """An archive of few bytes that unpacks to gigabytes."""
    size = int(pick(rng, (2**31, 3 * 2**30)))
    head = io.BytesIO()
    row = {"descr": "|u1", "fortran_order": False, "shape": (size // 8, 8)}
    np.lib.format.write_array_header_1_0(head, row)
    packed = _deflated(head.getvalue(), size)
    name = b"inputs.npy"
    total = size + len(head.getvalue())
    fixed = struct.pack("<HHHHIIIHH", 20, 0, 8, 0, 0, len(packed), total, len(name), 0)
    local = b"PK\x03\x04" + fixed + name + packed
    entry = struct.pack("<HHHHHHIII", 20, 20, 0, 8, 0, 0, 0, len(packed), total)
    entry = b"PK\x01\x02" + entry + struct.pack("<HHHHHII", len(name), 0, 0, 0, 0, 0, 0)
    entry += name
    end = struct.pack("<HHHHIIH", 0, 0, 1, 1, len(entry), len(local), 0)
    Path("a.npz").write_bytes(local + entry + b"PK\x05\x06" + end)
    return ["task=arrays", "task.path=a.npz", "task.target=inputs"]


def _deflated(head: bytes, zeros: int) -> bytes:
    """A raw deflate stream of a head and many zeros, made without those zeros."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    first = packer.compress(head) + packer.flush(zlib.Z_FULL_FLUSH)
    block = packer.compress(bytes(2**20)) + packer.flush(zlib.Z_FULL_FLUSH)
    return first + block * (zeros // 2**20) + packer.flush()


def _gzip_bomb(rng: Rng) -> list[str]:
    """Pictures that are announced and there, gigabytes of them, in a small file."""
    count = pick(rng, (2**22, 2**32 - 1))
    size = int(pick(rng, (2**31, 3 * 2**30)))
    head = bytes([0, 0, 8, 3]) + struct.pack(">III", count, 28, 28)
    packed = b"\x1f\x8b\x08" + bytes(7) + _deflated(head, size) + bytes(8)
    Path("t10k-images-idx3-ubyte.gz").write_bytes(packed)
    Path("t10k-labels-idx1-ubyte").write_bytes(
        bytes([0, 0, 8, 1]) + struct.pack(">I", ROWS) + bytes(ROWS)
    )
    return ["task=mnist", "task.path=."]


def _other_things(rng: Rng) -> list[str]:
    """No file at the path, or one that has no end or no beginning."""
    task, name = pick(
        rng,
        (
            ("arrays", "a.npz"),
            ("arrays", "a.csv"),
            ("reviews", "a.tsv"),
            ("text", "a.txt"),
        ),
    )
    replaced(rng, Path(name))
    return [f"task={task}", f"task.path={name}"]


def _spelled(rng: Rng) -> list[str]:
    """A path that is odd itself."""
    task = pick(rng, ("arrays", "reviews", "text", "mnist"))
    Path("sub.csv").mkdir()
    odds = (
        "sub.csv",
        "/dev/stdin",
        "/proc/self/mem",
        "/proc/self/environ",
        "",
        "a.npz/b",
    )
    value = pick(rng, odds) if rng.random() < 0.5 else odd(rng)
    return [f"task={task}", f"task.path={value}"]


def _wide(rng: Rng) -> list[str]:
    """A table with more columns or longer cells than anybody would write."""
    count = int(pick(rng, (3000, 20_000)))
    head = ",".join([f"x{i}" for i in range(count)] + ["target"])
    body = ",".join(["1"] * (count + 1))
    Path("a.csv").write_text(f"{head}\n{body}\n{body}\n{body}\n" + "9" * 5000 + "\n")
    return ["task=arrays", "task.path=a.csv"]


_TRAPS: tuple[Maker, ...] = (
    *(_pickled, _bare, _zip_bomb, _gzip_bomb, _wide),
    *(_other_things, _other_things, _spelled, _spelled),
)
