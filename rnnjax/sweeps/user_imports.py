"""Find the user's own modules that a cell or task file imports, for their digests.

Installed packages are not followed; the manifest records their versions.
"""

import ast
import inspect
import os
import struct
import sys
import sysconfig
import warnings
from collections.abc import Iterator
from contextlib import suppress
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import MAGIC_NUMBER
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any
from weakref import WeakKeyDictionary

from rnnjax.errors import UserError
from rnnjax.paths import PACKAGE_FOLDER
from rnnjax.store.dynamic_imports import called_imports
from rnnjax.store.run_id import digest
from rnnjax.store.source_facts import imported, parsed


INSTALLED = frozenset({"site-packages", "dist-packages"})
"""Folders of installed packages."""

_OTHERS = sysconfig.get_path("stdlib"), PACKAGE_FOLDER
_SEEN: WeakKeyDictionary[ModuleType, str] = WeakKeyDictionary()
"""Digests of the files of imported modules, as far as they were asked for."""
_AHEAD: dict[str, str] = {}
"""The same of modules that were not imported yet, by name."""


def own_imports(content: bytes, path: Path) -> tuple[tuple[str, str], ...]:
    """Name and SHA-256 of the local modules that an executed file imports.

    Returns:
        The modules sorted by name, including those that they import in turn, even if
        inside of functions.

    Warns:
        UserWarning: the file executes code that no import statement names.

    Raises:
        UserError: a module's file has changed since a cell or task imported it, but
            Python still runs the old version.
    """
    found: dict[str, str] = {}
    waiting = _imported(content, path, "")
    while waiting:
        name = waiting.pop()
        spec = _spec(name.removesuffix(".*"))
        if name in found or spec is None:
            continue
        if name.endswith(".*"):  # its `__all__` may name any of its modules
            waiting += _inside(spec)
            continue
        if package := name.rpartition(".")[0]:
            waiting.append(package)  # `import a.b` also executes a
        place = _own_source(spec)
        if place is not None:
            source = place.read_bytes()
            found[name] = _digest(name, place, source)
            waiting += _imported(source, place, spec.parent or "")
    return tuple(sorted(found.items()))


def _imported(source: bytes, place: Path, package: str) -> list[str]:
    """What a file imports, with a warning if that cannot be told from its text."""
    tree = parsed(source)
    if called_imports(tree, package)[1]:
        warnings.warn(
            f"{place} executes code that no import statement names; runs do not become "
            "stale when that code changes",
            stacklevel=3,
        )
    return imported(tree, package)


def _inside(package: ModuleSpec) -> list[str]:
    """The modules in the folder of a package of the user's own."""
    if _own_source(package) is None:
        return []
    folders = map(Path, package.submodule_search_locations or ())
    stems = [file.stem for folder in folders for file in folder.glob("*.py")]
    return [f"{package.name}.{stem}" for stem in stems if stem != "__init__"]


def _spec(name: str) -> ModuleSpec | None:
    """Find a module without executing it; None if there is no such module."""
    if name in sys.modules:
        return getattr(sys.modules[name], "__spec__", None)
    parent = name.rpartition(".")[0]
    if not parent:
        return PathFinder.find_spec(name)
    above = _spec(parent)
    folders = above.submodule_search_locations if above else None
    return PathFinder.find_spec(name, folders) if folders else None


def _own_source(spec: ModuleSpec) -> Path | None:
    """The source of a module, unless it is installed or part of Python or rnnjax."""
    if not spec.has_location or not (spec.origin or "").endswith(".py"):
        return None
    place = Path(spec.origin or "").resolve()
    others = any(place.is_relative_to(Path(folder).resolve()) for folder in _OTHERS)
    return None if others or INSTALLED & {*place.parts} else place


def _digest(name: str, place: Path, source: bytes) -> str:
    """The digest of a module's file, which must be the code that Python runs."""
    now = digest(source)
    module = sys.modules.get(name)
    if module is None:
        _AHEAD[name] = now  # a function may import it during the run
        return now
    if module not in _SEEN:
        other = name not in _AHEAD and runs_other_code(module, place, source)
        _SEEN[module] = "" if other else _AHEAD.pop(name, now)
    if _SEEN[module] != now:
        raise UserError(
            f"{place} has changed since it was imported, but Python still runs the old "
            "version; restart Python"
        )
    return now


def runs_other_code(module: ModuleType, place: Path, source: bytes) -> bool:
    """Whether the file of a module was changed after Python imported it.

    Python stores the time and size of a source file in its compiled file, and updates
    them when it imports a changed source. Where it may not write there, as in many
    containers, the functions and constants of the module are compared with the file.
    """
    spec = getattr(module, "__spec__", None)
    cached = Path(getattr(spec, "cached", None) or "")
    with suppress(OSError):
        header, found = cached.read_bytes()[:16], place.stat()
        timed = header[:8] == MAGIC_NUMBER + bytes(4)
        if timed and not sys.dont_write_bytecode and os.access(cached, os.W_OK):
            times = int(found.st_mtime) & 0xFFFFFFFF, found.st_size & 0xFFFFFFFF
            return struct.unpack("<II", header[8:]) != times
    return _differs(module, place, source)


def _differs(module: ModuleType, place: Path, source: bytes) -> bool:
    written = set(_codes(compile(source, str(place), "exec", dont_inherit=True)))
    if any(code not in written for code in _functions(module, place)):
        return True
    known = vars(module)
    return any(
        name in known and (type(known[name]), known[name]) != (type(value), value)
        for name, value in _constants(ast.parse(source))
    )


def _codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)


def _functions(module: ModuleType, place: Path) -> Iterator[CodeType]:
    """The code of the functions and methods that a module has from its file."""
    for value in vars(module).values():
        own = isinstance(value, type) and value.__module__ == module.__name__
        for entry in vars(value).values() if own else (value,):
            function: Any = getattr(entry, "__func__", entry)
            if callable(function):
                code = getattr(inspect.unwrap(function), "__code__", None)
                if isinstance(code, CodeType) and Path(code.co_filename) == place:
                    yield code


def _constants(tree: ast.Module) -> Iterator[tuple[str, Any]]:
    """Names to which a file binds a literal, and nothing else, at its top level."""
    nodes = list(ast.walk(tree))
    bound = [
        x.id for x in nodes if isinstance(x, ast.Name) and isinstance(x.ctx, ast.Store)
    ]
    shared = {name for x in nodes if isinstance(x, ast.Global) for name in x.names}
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            name = node.targets[0].id
            if bound.count(name) == 1 and name not in shared:
                try:
                    yield name, ast.literal_eval(node.value)
                except ValueError:  # not a literal
                    continue
