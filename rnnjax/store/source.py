"""A digest of the code that decides the numbers of a run.

It covers the modules that the computation of this run imports, so that an edit to one
cell leaves runs of other cells alone, and it is taken of their syntax trees without
docstrings, comments, positions and error messages, so that prose makes no run stale.
"""

import ast
import contextlib
import hashlib
import threading
from collections.abc import Iterable, Iterator
from functools import cache
from importlib.util import resolve_name
from pathlib import Path

import rnnjax
from rnnjax.loaded import check_unchanged


PACKAGE = "rnnjax"

NUMERIC = frozenset(
    "activations cells checks choice clipping initializers models penalties probes "
    "recurrence registry tasks training types".split()
)
"""Modules and packages below `PACKAGE` that decide numbers; others are not followed."""

CATALOGUES = frozenset(
    f"rnnjax.{name}"
    for name in "cells penalties probes tasks training.optimizers".split()
)
"""Packages that import their modules only to collect names."""

PROSE = frozenset(
    "lineno col_offset end_lineno end_col_offset ctx kind type_comment type_params "
    "type_ignores".split()
)
"""Fields of a syntax tree that do not count, some of them new in Python 3.12."""

DIGITS = 12


def source_digest(roots: Iterable[str], folder: Path | None = None) -> str:
    """Digest of some modules and of all numeric modules that they import.

    A run whose manifest holds another digest was made by other code: it is shown as
    stale and never silently reused.

    Args:
        roots: names of modules, such as ``rnnjax.cells.gru``; others do not count.
        folder: the package folder; by default the one that is imported.

    Returns:
        12 hexadecimal digits, the same under Python 3.11 and 3.12.

    Raises:
        UserError: a file has changed since this process imported rnnjax.
    """
    return _digest(frozenset(roots), folder or Path(rnnjax.__file__).parent)


@cache
def _digest(roots: frozenset[str], folder: Path) -> str:
    total = hashlib.sha256()
    for name, file in sorted(numeric_modules(roots, folder).items()):
        total.update(f"{name} {_module_digest(file)}\n".encode())
    return total.hexdigest()[:DIGITS]


def numeric_modules(roots: Iterable[str], folder: Path) -> dict[str, Path]:
    """The numeric modules among `roots` and all that they import, with their files."""
    found: dict[str, Path] = {}
    waiting = list(roots)
    while waiting:
        name = waiting.pop()
        if name in CATALOGUES or not _counts(name):
            continue
        package, _, entry = name.rpartition(".")
        if package in CATALOGUES and entry in (known := _catalogue(package, folder)):
            name = known[entry]
        file = _file(name, folder)
        # without a file it is a function or class of a module that is waiting, too
        if name not in found and file is not None:
            found[name] = file
            waiting += _imports(file)
    return found


def imported(tree: ast.AST, package: str = "") -> list[str]:
    """Every dotted name that may be an imported module, at any depth of a file.

    Args:
        tree: the syntax tree of the file.
        package: what a leading dot stands for; without one, such imports do not count.

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
    return names


@cache
def _catalogue(package: str, folder: Path) -> dict[str, str]:
    """The modules that a catalogue imports its names from."""
    file = _file(package, folder)
    nodes = ast.walk(_tree(file)) if file else ()
    return {
        alias.name: node.module
        for node in nodes
        if isinstance(node, ast.ImportFrom) and node.module
        for alias in node.names
    }


def _counts(name: str) -> bool:
    package, _, rest = name.partition(".")
    return package == PACKAGE and rest.partition(".")[0] in NUMERIC


def _file(name: str, folder: Path) -> Path | None:
    path = folder.joinpath(*name.split(".")[1:])
    candidates = (path.with_suffix(".py"), path / "__init__.py")
    return next((file for file in candidates if file.is_file()), None)


@cache
def _imports(file: Path) -> list[str]:
    return imported(_tree(file))


@cache
def _tree(file: Path) -> ast.Module:
    check_unchanged(file)
    return parsed(file.read_bytes())


_PARSING = threading.Lock()


def parsed(source: bytes) -> ast.Module:
    """The syntax tree of a file.

    Python 3.11 loses count of its depth if two threads parse at a time (SystemError).
    """
    with _PARSING:
        return ast.parse(source)


@cache
def _module_digest(file: Path) -> str:
    text = "".join(normalised(_tree(file)))
    return hashlib.sha256(text.encode()).hexdigest()


def normalised(node: object) -> Iterator[str]:
    """The text of a syntax tree without what cannot change a number.

    Left out are docstrings and all other strings that stand alone, positions, what an
    error says, and fields that are empty.
    """
    if isinstance(node, ast.Raise):
        yield "raise;"
    elif isinstance(node, ast.JoinedStr):
        yield "f"
        # Python 3.12 adds an empty text to some
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
    """Whether it is the empty text."""
    return isinstance(node, ast.Constant) and node.value == ""


def _is_text(node: object) -> bool:
    """Whether a statement is nothing but a string."""
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )
