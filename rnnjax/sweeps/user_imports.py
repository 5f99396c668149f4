"""Find the user's own modules that a cell or task file imports, for their digests.

Installed packages are not followed; the manifest records their versions.
"""

import os
import struct
import sys
import sysconfig
import warnings
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import MAGIC_NUMBER
from pathlib import Path
from types import ModuleType
from weakref import WeakKeyDictionary

import rnnjax
from rnnjax.errors import UserError
from rnnjax.store.run_id import digest
from rnnjax.store.source import executes_unknown, imported, parsed


INSTALLED = frozenset({"site-packages", "dist-packages"})
"""Folders of installed packages."""

_OTHERS = sysconfig.get_path("stdlib"), Path(rnnjax.__file__).parent
_SEEN: WeakKeyDictionary[ModuleType, str] = WeakKeyDictionary()


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
    tree = parsed(content)
    if executes_unknown(tree):
        warnings.warn(
            f"{path} executes code that no import statement names; runs do not become "
            "stale when that code changes",
            stacklevel=2,
        )
    waiting = imported(tree)
    while waiting:
        name = waiting.pop()
        spec = _spec(name)
        if name in found or spec is None:
            continue
        if package := name.rpartition(".")[0]:
            waiting.append(package)  # `import a.b` also executes a
        place = _own_source(spec)
        if place is not None:
            source = place.read_bytes()
            found[name] = _digest(name, place, source)
            waiting += imported(parsed(source), spec.parent or "")
    return tuple(sorted(found.items()))


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
    now = digest(source)
    module = sys.modules.get(name)
    if module is None:
        return now
    is_new = module not in _SEEN
    changed = _SEEN.setdefault(module, now) != now
    if changed or (is_new and _is_older(module, place)):
        raise UserError(
            f"{place} has changed since it was imported, but Python still runs the old "
            "version; restart Python"
        )
    return now


def _is_older(module: ModuleType, place: Path) -> bool:
    """Whether a module was imported from an older version of its file.

    Python stores the time and size of a source file in its compiled file, and updates
    them when it imports a changed source, if it may write there. If that information is
    missing, the answer is no.
    """
    spec = getattr(module, "__spec__", None)
    cached = Path(getattr(spec, "cached", None) or "")
    if sys.dont_write_bytecode or not os.access(cached, os.W_OK):
        return False
    try:
        header = cached.read_bytes()[:16]
        found = place.stat()
    except OSError:
        return False
    times = int(found.st_mtime) & 0xFFFFFFFF, found.st_size & 0xFFFFFFFF
    is_timed = header[:8] == MAGIC_NUMBER + bytes(4)
    return is_timed and struct.unpack("<II", header[8:]) != times
