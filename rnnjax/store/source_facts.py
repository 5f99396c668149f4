"""What the text of a source file says: its digest without prose, and its imports.

The digest is computed from the syntax tree without docstrings, comments, positions and
error messages, so that rewording changes nothing. Parsing all files of a run takes half
a second, so what was found can be remembered between processes (`remember_in`).
"""

import ast
import atexit
import contextlib
import hashlib
import json
import os
import stat
import threading
from collections.abc import Iterator
from functools import cache
from importlib.util import resolve_name
from pathlib import Path
from typing import NamedTuple

from rnnjax.errors import UserError
from rnnjax.loaded import check_unchanged
from rnnjax.store import dynamic_imports
from rnnjax.store.atomic import write_bytes
from rnnjax.store.dynamic_imports import called_imports


PROSE = frozenset(
    "lineno col_offset end_lineno end_col_offset ctx kind type_comment type_params "
    "type_ignores".split()
)
"""Fields of a syntax tree that are ignored; some of them are new in Python 3.12."""


class Facts(NamedTuple):
    """What the text of a file says.

    Attributes:
        digest: SHA-256 of its syntax tree without prose.
        imports: see `imported`; relative imports are ignored.
        names: the module from which it imports each name.
    """

    digest: str
    imports: list[str]
    names: dict[str, str]


@cache
def facts_of(file: Path) -> Facts:
    """The facts about a file.

    Raises:
        UserError: it belongs to this package, and has changed since the import.
    """
    check_unchanged(file)
    return _MEMORY.facts(file)


class _Memory:
    """Facts about files by their path, time of modification and size."""

    def __init__(self) -> None:
        self.place: Path | None = None
        self.known: dict[str, list] = {}

    def facts(self, file: Path) -> Facts:
        found = os.stat(file)
        # a copied time of modification does not hide a change: ctime cannot be set
        times = found.st_mtime_ns, found.st_ctime_ns
        stamp = [*times, found.st_size, found.st_ino]
        known = self.known.get(str(file))
        if known is None or known[0] != stamp:
            known = self.known[str(file)] = [stamp, *_facts(file.read_bytes())]
            if self.place is not None:
                _save_at_exit()
        return Facts(*known[1:])

    def load(self) -> dict[str, list]:
        if self.place is None:
            return {}
        with contextlib.suppress(OSError, ValueError, MemoryError):
            if not stat.S_ISREG(self.place.lstat().st_mode):
                return {}
            seal, _, content = self.place.read_bytes().partition(b"\n")
            if seal == _seal(content):
                return json.loads(content)
        return {}

    def save(self) -> None:
        if self.place is not None:
            files = self.load() | self.known
            files = {
                name: entry for name, entry in files.items() if os.path.exists(name)
            }
            content = json.dumps(files).encode()
            with contextlib.suppress(UserError):
                sealed = _seal(content) + b"\n" + content
                write_bytes(self.place, sealed, durable=False)


_MEMORY = _Memory()


def remember_in(place: Path | None) -> None:
    """Read the facts in a file, if it exists, and write new ones to it at exit.

    Only its owner may be able to write to it.
    """
    _MEMORY.place = place
    _MEMORY.known = _MEMORY.load() | _MEMORY.known


@cache
def _save_at_exit() -> None:
    atexit.register(_MEMORY.save)


def _seal(content: bytes) -> bytes:
    """The first line of the file, for its content and the code that wrote it."""
    return hashlib.sha256(_code() + content).hexdigest().encode()


@cache
def _code() -> bytes:
    """The code that finds the facts."""
    files = Path(__file__), Path(dynamic_imports.__file__)
    return b"".join(file.read_bytes() for file in files)


def _facts(source: bytes) -> Facts:
    tree = parsed(source)
    text = "".join(normalised(tree))
    names = {
        alias.name: node.module
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module
        for alias in node.names
    }
    return Facts(hashlib.sha256(text.encode()).hexdigest(), imported(tree), names)


def imported(tree: ast.AST, package: str = "") -> list[str]:
    """Every dotted name that may be an imported module, at any depth of a file.

    Args:
        tree: the syntax tree of the file.
        package: the package to which a leading dot refers; if empty, relative imports
            are ignored.

    >>> imported(ast.parse("from .gates import soft"), "mine.cells")
    ['mine.cells.gates', 'mine.cells.gates.soft']
    """
    names: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and (node.level == 0 or package):
            with contextlib.suppress(ImportError):  # more dots than packages
                base = resolve_name("." * node.level + (node.module or ""), package)
                names += [base, *(f"{base}.{alias.name}" for alias in node.names)]
    return names + called_imports(tree, package)[0]


_PARSING = threading.Lock()


def parsed(source: bytes) -> ast.Module:
    """The syntax tree of a source text, parsed by one thread at a time.

    Python 3.11 raises SystemError (its recursion depth counter gets out of step) if two
    threads parse at the same time.
    """
    with _PARSING:
        return ast.parse(source)


def normalised(node: object) -> Iterator[str]:
    """The text of a syntax tree without the parts that cannot change a number.

    Left out are docstrings and other statements that are only a string, positions, the
    content of ``raise`` statements, and empty fields.
    """
    if isinstance(node, ast.Raise):
        yield "raise;"
    elif isinstance(node, ast.JoinedStr):
        yield "f"
        # Python 3.12 adds an empty string to some f-strings
        yield from normalised([x for x in node.values if not _is_empty(x)])
    elif isinstance(node, ast.AST):
        yield f"{type(node).__name__}("
        for name, value in ast.iter_fields(node):
            if name not in PROSE and value is not None and value != []:
                yield f"{name}="
                yield from normalised(value)
        yield ")"
    elif isinstance(node, list):
        yield "["
        for entry in node:
            if not _is_text(entry):
                yield from normalised(entry)
        yield "]"
    else:
        yield f"{node!r};"


def _is_empty(node: object) -> bool:
    """Whether a node is the constant empty string."""
    return isinstance(node, ast.Constant) and node.value == ""


def _is_text(node: object) -> bool:
    """Whether a node is a statement that is only a string."""
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )
