"""Whether an imported module runs other code than its file holds now."""

import ast
import inspect
import os
import struct
import sys
from collections.abc import Iterator
from contextlib import suppress
from importlib.util import MAGIC_NUMBER
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any


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
