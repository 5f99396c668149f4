"""Changes to a file: of its bytes, of its JSON, and of what stands in its place."""

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from rnnjax.store import sealed_json
from rnnjax.store.rundir import MANIFEST


Rng = np.random.Generator

ODD_JSON: tuple[Any, ...] = (
    None,
    True,
    -1,
    0,
    10**400,
    2**63,
    1e308,
    float("nan"),
    float("inf"),
    "",
    "nan",
    "../../up",
    "a\x00b",
    "\x1b[31mred\u202e",
    "é" * 300,
    "$x^2$ <script>alert(1)</script>",
    [],
    {},
    [[]],
    {"": {"": 1}},
    {"$float": "many"},
    {"$float": [1]},
    {"name": {"name": "lstm"}},
    ["a", 1, None, {"b": 2}],
)
"""Values of every kind that JSON has, and some that no writer here would write."""


def pick(rng: Rng, options: Any) -> Any:
    """One of some options, whatever their types."""
    return options[int(rng.integers(len(options)))]


def changed(rng: Rng, content: bytes) -> bytes:
    """Bytes that were flipped, cut off, doubled, put in or exchanged, 1 to 3 times."""
    for _ in range(int(rng.integers(1, 4))):
        content = pick(rng, _CHANGES)(rng, content)
    return content


def changed_json(rng: Rng, content: bytes) -> bytes:
    """A record with another value, key or type somewhere, sealed as its writer would.

    What is no record is changed as bytes; so is one in four.
    """
    if rng.random() < 0.25:
        return changed(rng, content)
    try:
        record = sealed_json.opened(content)
    except ValueError:
        return changed(rng, content)
    for _ in range(int(rng.integers(1, 3))):
        _change_tree(rng, record)
    try:
        text = sealed_json.sealed(record) if record else "{}"
    except ValueError:  # a letter that JSON does not keep
        text = json.dumps(record)
    if rng.random() < 0.1:
        text = text.replace("}", "," + '"a":[' * 50_000, 1)
    return text.encode("utf-8", "surrogatepass") + b"\n"


def forge(run: Path, name: str) -> None:
    """Enter the present content of a file into the manifest, as a forger would."""
    file, manifest = run / name, run / MANIFEST
    try:
        record = sealed_json.opened(manifest.read_bytes())
        record["files"][name] = hashlib.sha256(file.read_bytes()).hexdigest()
    except (OSError, ValueError, KeyError, TypeError):
        return
    manifest.write_text(sealed_json.sealed(record, indent=1) + "\n", encoding="utf-8")


def replaced(rng: Rng, file: Path) -> None:
    """Something in the place of a file that is no file, or none that can be read."""
    if file.is_dir():
        return
    file.unlink(missing_ok=True)
    pick(rng, _INSTEAD)(file)


def _flip(rng: Rng, content: bytes) -> bytes:
    if not content:
        return content
    found = bytearray(content)
    for _ in range(int(rng.integers(1, 9))):
        found[int(rng.integers(len(found)))] ^= 1 << int(rng.integers(8))
    return bytes(found)


def _cut(rng: Rng, content: bytes) -> bytes:
    return content[: int(rng.integers(len(content) + 1))]


def _behead(rng: Rng, content: bytes) -> bytes:
    return content[int(rng.integers(len(content) + 1)) :]


def _double(rng: Rng, content: bytes) -> bytes:
    low, high = sorted(rng.integers(len(content) + 1, size=2).tolist())
    return content[:high] + content[low:high] * int(rng.integers(1, 4)) + content[high:]


def _insert(rng: Rng, content: bytes) -> bytes:
    at = int(rng.integers(len(content) + 1))
    return content[:at] + pick(rng, _PIECES) + content[at:]


def _numbers(rng: Rng, content: bytes) -> bytes:
    """A digit becomes a number of many digits, a sign or a letter."""
    places = [i for i, c in enumerate(content[:4096]) if 48 <= c < 58]
    if not places:
        return _flip(rng, content)
    at = pick(rng, places)
    odd = (b"-", b"99999999999999999999", b"1e400", b"nan", b"", b"x", b"0x")
    return content[:at] + pick(rng, odd) + content[at + 1 :]


def _wide(rng: Rng, content: bytes) -> bytes:
    """The same text in another encoding."""
    text = content.decode("utf-8", "replace")
    return text.encode(pick(rng, ("utf-16", "utf-32", "utf-7", "cp037")), "replace")


def _zeros(rng: Rng, content: bytes) -> bytes:
    """What a power cut leaves: the length of the file, and nothing in it."""
    return bytes(len(content))


def _nothing(rng: Rng, content: bytes) -> bytes:
    return pick(rng, (b"", b"\n", b" " * 100, b"\x00"))


_CHANGES: tuple[Callable[[Rng, bytes], bytes], ...] = (
    *(_flip, _flip, _cut, _behead, _double, _insert, _insert),
    *(_numbers, _numbers, _wide, _zeros, _nothing),
)
_PIECES = (
    *(b"\x00", b"\xff\xfe", b"\xef\xbb\xbf", b"\r", b"\n\n", b"\t", b",", b'"', b"'"),
    *(
        b"\xc2\x85",
        b"\xe2\x80\xae",
        b"\xf0\x9f\x98\x80",
        b"\xed\xa0\x80",
        b"${oc.env:A}",
    ),
    *(b"{", b"}", b"[" * 3000, b"&a [*a]", b"!!python/object/apply:os.abort []", b"%"),
    *(b"1e999", b"NaN", b"-0", b"1" * 5000, b"x" * 3000),
)


def _loop(file: Path) -> None:
    file.symlink_to(file.name)


def _dangling(file: Path) -> None:
    file.symlink_to("nowhere")


def _endless(file: Path) -> None:
    file.symlink_to("/dev/zero")


def _null(file: Path) -> None:
    file.symlink_to("/dev/null")


_INSTEAD: tuple[Callable[[Path], object], ...] = (
    *(Path.mkdir, os.mkfifo, _loop, _dangling, _endless, _null),
    lambda file: None,
)


def _change_tree(rng: Rng, tree: Any) -> None:
    """Change one entry, at a depth that is drawn."""
    keys = list(tree) if isinstance(tree, dict) else list(range(len(tree)))
    if not keys:
        return
    key = pick(rng, keys)
    if isinstance(tree[key], dict | list) and tree[key] and rng.random() < 0.6:
        return _change_tree(rng, tree[key])
    way = rng.random()
    if way < 0.6:
        tree[key] = pick(rng, ODD_JSON)
    elif way < 0.8:
        del tree[key]
    elif isinstance(tree, dict):
        tree[pick(rng, ("", "é", "a.b", "schema", "name", "\x07"))] = tree.pop(key)
    else:
        tree.insert(0, pick(rng, ODD_JSON))
