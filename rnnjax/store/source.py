"""A digest of the code that determines the numbers of a run.

It covers the modules that the computation of this run imports, so that an edit to one
cell does not affect runs of other cells. It is computed from their syntax trees without
docstrings, comments, positions and error messages, so that rewording makes no run
stale. `rnnjax.sweeps.jobs.Job.source` says which modules it starts from.
"""

import ast
import contextlib
import hashlib
import threading
from collections.abc import Iterable, Iterator
from functools import cache
from importlib.util import resolve_name
from pathlib import Path

from rnnjax.loaded import check_unchanged
from rnnjax.paths import PACKAGE_FOLDER
from rnnjax.store.dynamic_imports import called_imports


PACKAGE = "rnnjax"

NUMERIC = frozenset(
    "activations cells checks choice clipping initializers models penalties probes "
    "recurrence registry tasks training types".split()
)
"""Modules and packages in `PACKAGE` that affect numbers; others are not followed."""

CATALOGUES = frozenset(
    f"rnnjax.{name}"
    for name in "cells penalties probes tasks training.optimizers".split()
)
"""Packages whose ``__init__`` imports modules only to collect their names."""

PROSE = frozenset(
    "lineno col_offset end_lineno end_col_offset ctx kind type_comment type_params "
    "type_ignores".split()
)
"""Fields of a syntax tree that are ignored; some of them are new in Python 3.12."""

DIGITS = 12


def source_digest(roots: Iterable[str], folder: Path | None = None) -> str:
    """Digest of some modules and of all numeric modules that they import.

    A run whose manifest has a different digest was computed by different code: it is
    shown as stale and never silently reused.

    Args:
        roots: names of numeric modules, such as ``rnnjax.cells.gru``; any other name is
            ignored.
        folder: the package folder; by default that of the imported package.

    Returns:
        12 hexadecimal digits, the same under Python 3.11 and 3.12.

    Raises:
        UserError: a file has changed since this process imported rnnjax.
    """
    return _digest(frozenset(roots), folder or PACKAGE_FOLDER)


@cache
def _digest(roots: frozenset[str], folder: Path) -> str:
    total = hashlib.sha256()
    for name, file in sorted(numeric_modules(roots, folder).items()):
        total.update(f"{name} {_module_digest(file)}\n".encode())
    return total.hexdigest()[:DIGITS]


def numeric_modules(roots: Iterable[str], folder: Path) -> dict[str, Path]:
    """The numeric modules among `roots`, and all that they import, with their files."""
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
        # without a file it is a function or class; its module is in `waiting` as well
        if name not in found and file is not None:
            found[name] = file
            waiting += _imports(file)
    return found


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


@cache
def _catalogue(package: str, folder: Path) -> dict[str, str]:
    """The module from which a catalogue imports each of its names."""
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
    """The syntax tree of a source text, parsed by one thread at a time.

    Python 3.11 raises SystemError (its recursion depth counter gets out of step) if two
    threads parse at the same time.
    """
    with _PARSING:
        return ast.parse(source)


@cache
def _module_digest(file: Path) -> str:
    text = "".join(normalised(_tree(file)))
    return hashlib.sha256(text.encode()).hexdigest()


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
