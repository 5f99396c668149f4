"""Data files of the tasks that read some: right ones, changed ones, and traps."""

import gzip
import io
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from scripts.soak.generated_case import MARKER, Input
from scripts.soak.generated_traps import ROWS, STEPS, trap
from scripts.soak.generated_values import odd
from scripts.soak.mutations import Rng, changed, pick, replaced


def command(rng: Rng, ground: Path) -> Input:
    """A dry run of a task, which reads and checks its data."""
    makers = (_npz, _npz, _csv, _csv, _labelled, _labelled, _text, _mnist, trap, trap)
    words = pick(rng, makers)(rng)
    if rng.random() < 0.15:
        words.append(f"task.{pick(rng, ('split', 'length', 'target'))}={odd(rng)}")
    return Input("data files", ["train", "-n", *words])


def _write(rng: Rng, name: str, content: bytes) -> str:
    """Write a file: changed more often than not, at times replaced by another thing."""
    way = rng.random()
    Path(name).write_bytes(changed(rng, content) if way < 0.7 else content)
    if way > 0.93:
        replaced(rng, Path(name))
    return name


def _npz(rng: Rng) -> list[str]:
    members = {
        "inputs": _array(rng, pick(rng, ((ROWS, STEPS), (ROWS, STEPS, 2)))),
        "targets": _array(rng, (ROWS,)),
    }
    if rng.random() < 0.4:
        members["lengths"] = _array(rng, (ROWS,), low=1)
    if rng.random() < 0.1:
        members[pick(rng, ("", "../up", "é", "inputs/", "a" * 300))] = b"not an array"
    if rng.random() < 0.05:
        members.pop(pick(rng, [*members]))
    packed = pick(rng, (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA))
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", packed) as archive:
        for name, array in members.items():
            archive.writestr(f"{name}.npy", array)
    kept = _write(rng, "a.npz", content.getvalue())
    return ["task=arrays", f"task.path={kept}"]


def _array(rng: Rng, shape: tuple[int, ...], low: int = 0) -> bytes:
    """A .npy file: mostly of numbers, at times with a header that does not fit."""
    values: Any = rng.integers(low, STEPS + 1, shape)
    if rng.random() < 0.3:
        values = values.astype(pick(rng, _DTYPES))
    elif rng.random() < 0.15:
        values = values.astype(float)
        values.flat[0] = pick(rng, (np.nan, np.inf, 1e300, -1e-320, 2.0**63, -1))
    content = io.BytesIO()
    np.save(content, values, allow_pickle=True)
    if rng.random() < 0.75:
        return content.getvalue()
    told = str(pick(rng, _HEADERS)).replace("SHAPE", str(shape))
    head = (told + "\n").encode("latin-1", "replace")
    return (
        b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head) % 2**16) + head + bytes(99)
    )


_DTYPES = "f2 f4 f8 f16 u1 i2 i8 u8 c8 c16 bool S3 U2 O V5 M8[s] m8[D] >i4 >f8".split()

_HEADERS: tuple[str, ...] = (
    *(
        f"{{'descr': '{kind}', 'fortran_order': {order}, 'shape': {shape}, }}"
        for kind, order, shape in (
            ("<i8", False, (2**40, 4)),
            ("<i8", False, (2**62, 2**62)),
            ("<i8", True, (60, 10**12)),
            ("<i8", False, (-1, 5)),
            ("<i8", False, (10**30,)),
            ("<i8", "True and 1", (60, 5)),
            ("<i8", False, "(60,)*9"),
            ("<i8", False, (True, False)),
            ("<i8", False, (6.0, 5)),
            ("<i8", False, ()),
            ("<U1000000000", False, (60,)),
            ("|V0", False, (60, 5)),
            ("|S0", False, (60, 5)),
            ("|O", False, (60, 5)),
            ("<q9", False, (60,)),
            ("", False, (60,)),
            ("<i8,<f8", False, (60,)),
        )
    ),
    "{'descr': [('a','<i8'),('a','<f8')], 'shape': SHAPE}",
    "{" * 500 + "SHAPE",
    f"__import__('pathlib').Path('{MARKER}').touch()",
    "[]",
    "x" * 30_000,
    "-" * 20_000 + "1",
)


def _csv(rng: Rng) -> list[str]:
    rows = rng.integers(0, 4, (ROWS, STEPS)).astype(object)
    targets = rng.integers(0, 2, ROWS).astype(object)
    if rng.random() < 0.5:
        rows[int(rng.integers(ROWS)), int(rng.integers(STEPS))] = pick(rng, _CELLS)
    if rng.random() < 0.2:
        targets[int(rng.integers(ROWS))] = pick(rng, _CELLS)
    heads = [f"x{step}" for step in range(STEPS)] + ["target"]
    if rng.random() < 0.2:
        heads[int(rng.integers(len(heads)))] = pick(
            rng, ("x0", "", "é", "target", "x9")
        )
    comma, end = pick(rng, (",", ",", ",", ";", "\t")), pick(rng, ("\n", "\r\n", "\r"))
    lines = [
        heads,
        *([*row, target] for row, target in zip(rows, targets, strict=True)),
    ]
    text = end.join(comma.join(map(str, line)) for line in lines)
    return ["task=arrays", f"task.path={_write(rng, 'a.csv', text.encode())}"]


_CELLS = (
    *(
        "",
        "nan",
        "inf",
        "-1",
        "1e400",
        "1.5",
        "9" * 40,
        "x",
        '"',
        '"a\nb"',
        "=1+1",
        "1,2",
    ),
    *(
        "true",
        "2001-01-01",
        "é",
        "\x00",
        "0x1",
        "1_0",
        " 3",
        "+3",
        "-0",
        "4294967296",
        "1e38",
    ),
)


def _labelled(rng: Rng) -> list[str]:
    name = pick(rng, ("a.tsv", "a.csv", "a.txt", "folder/a.tsv", "a"))
    comma = "," if name.endswith("csv") else "\t"
    labels = pick(
        rng, (("0", "1"), ("bad", "good"), ("0", "good"), ("1", "1"), ("a", ""))
    )
    lines = [
        f"{' '.join(pick(rng, _WORDS) for _ in range(int(rng.integers(1, 6))))}"
        f"{comma}{labels[row % 2]}"
        for row in range(int(pick(rng, (1, 3, ROWS, ROWS, ROWS))))
    ]
    if name.startswith("folder"):
        Path("folder").mkdir()
    path = _write(rng, name, "\n".join(lines).encode("utf-8", "surrogatepass"))
    path = path.partition("/")[0]
    more = (
        *([], [], [], ["task.pad=3"], ["task.length=2"], ["task.max_vocabulary=11"]),
        *(["task.skip_empty=true"], ["task.files=imdb"], ["task.pad=1000000"]),
    )
    return ["task=reviews", f"task.path={path}", *pick(rng, more)]


_WORDS = (
    *(
        "good",
        "bad",
        "film",
        "the",
        "größe",
        "日本",
        "10/10",
        "a-b",
        "don't",
        "...",
        "",
    ),
    *(
        '"',
        '"quoted"',
        "\u200b",
        "\ud800",
        "\x00",
        "\x85",
        "e\u0301",
        "\U0001f600",
        ",",
    ),
    *("x" * 3000, "(and)", "<unk>", "\r", "\x1b[31m", "\u202e"),
)


def _text(rng: Rng) -> list[str]:
    words = [pick(rng, _WORDS) for _ in range(int(pick(rng, (0, 5, 400, 4000))))]
    path = _write(rng, "a.txt", " ".join(words).encode("utf-8", "surrogatepass"))
    more = (["task.unit=word"], ["task.length=3"], ["task.max_vocabulary=4"], [])
    return ["task=text", f"task.path={path}", *pick(rng, more), *pick(rng, more)[:1]]


def _mnist(rng: Rng) -> list[str]:
    """Pictures of a user's, plain or packed; headers that fit them or not."""
    parts = pick(rng, (("t10k",), ("t10k", "train"), ("train",)))
    for part in parts:
        side = pick(rng, (28, 28, 28, 1, 0))
        count = int(pick(rng, (ROWS, ROWS, 1, 0)))
        for name, shape in (
            (f"{part}-images-idx3-ubyte", (count, side, side)),
            (f"{part}-labels-idx1-ubyte", (count,)),
        ):
            content = _idx(rng, shape)
            if rng.random() < 0.3:
                name, content = f"{name}.gz", gzip.compress(content)
            _write(rng, name, content)
    return ["task=mnist", "task.path=.", *pick(rng, ([], ["task.permuted=true"]))]


def _idx(rng: Rng, shape: tuple[int, ...]) -> bytes:
    told = [
        pick(rng, (0, 2**32 - 1, 2**31)) if rng.random() < 0.1 else n for n in shape
    ]
    head = bytes([0, 0, pick(rng, (8, 8, 8, 8, 13)), len(shape)])
    body = rng.integers(0, 10, shape).astype(np.uint8).tobytes()
    return head + b"".join(struct.pack(">I", n) for n in told) + body
