"""Cells and tasks from users' files: ``cell=path/file.py:MyCell`` on a command line.

The class is registered under its plain name, which refers to it from then on.
"""

import dataclasses
import hashlib
import re
from pathlib import Path
from types import ModuleType
from typing import Any

from rnnjax.cells import CELLS
from rnnjax.cells.base import Cell
from rnnjax.errors import UserError, unknown
from rnnjax.paths import user_path
from rnnjax.registry import Registry
from rnnjax.sweeps.user_imports import own_imports
from rnnjax.tasks import TASKS
from rnnjax.tasks.base import Task
from rnnjax.tasks.user_task import MODULE, execute_file


KINDS: dict[str, tuple[Registry[Any], type]] = {
    "cell": (CELLS, Cell),
    "task": (TASKS, Task),
}
"""Keys that may name a user's file, with the registry and base class of its class."""

_REFERENCE = re.compile(r"(?P<path>.+\.py):(?P<name>\w+)", re.DOTALL)


@dataclasses.dataclass(frozen=True)
class UserFile:
    """A class from a user's file.

    Attributes:
        kind: ``cell`` or ``task``.
        name: name of the class.
        path: absolute path of the file.
        content: bytes of the file, as they were executed.
        imports: name and SHA-256 of each of the user's own modules that the file
            imports; empty until it was executed.
    """

    kind: str
    name: str
    path: Path
    content: bytes = dataclasses.field(repr=False)
    imports: tuple[tuple[str, str], ...] = ()

    @property
    def digests(self) -> dict[str, str]:
        """SHA-256 of the content, and of each import as ``cell imports NAME``.

        >>> UserFile("cell", "Mine", Path("mine.py"), b"", (("gates", "1f"),)).digests
        {'cell': 'e3b0c4...', 'cell imports gates': '1f'}
        """
        imports = {f"{self.kind} imports {name}": sha for name, sha in self.imports}
        return {self.kind: hashlib.sha256(self.content).hexdigest(), **imports}

    @property
    def reference(self) -> str:
        """The class as it can be written on a command line."""
        return f"{self.path}:{self.name}"


_LOADED: dict[tuple[str, str], UserFile] = {}

_NAMED: set[str] = set()
"""SHA-256 digests of the files that the user named in this process."""


def reference(value: Any) -> tuple[str, str] | None:
    """Path and name of ``path/file.py:Name``; None for any other value.

    >>> reference("my cells/a,b.py:Mine"), reference("lstm")
    (('my cells/a,b.py', 'Mine'), None)
    """
    found = _REFERENCE.fullmatch(value.strip()) if isinstance(value, str) else None
    return (found["path"], found["name"]) if found else None


def file_of(kind: str, name: str) -> UserFile | None:
    """The file from which a registered cell or task was loaded; None for our own."""
    registry, _ = KINDS[kind]
    return _LOADED.get((kind, name)) if _is_users(registry[name]) else None


def is_named(digest: str) -> bool:
    """Whether the user named a file with this SHA-256 in this process (see `load`)."""
    return digest in _NAMED


def load(kind: str, path: str, name: str) -> UserFile:
    """Read and execute a file, and register its class `name` as a cell or task.

    Raises:
        UserError: the file or class does not exist, is not a cell or task, contains an
            error, or has a name that is already taken.
    """
    place = user_path(path, f"{kind}={path}:{name}").resolve()
    if not place.is_file():
        raise UserError(f"{kind}={path}:{name}: there is no file {path}")
    file = register(UserFile(kind, name, place, place.read_bytes()))
    _NAMED.add(file.digests[kind])
    return file


def register(file: UserFile, known_as: str | None = None) -> UserFile:
    """Execute the content of a file and register its class as a cell or task.

    Args:
        file: see `UserFile`.
        known_as: the name in the registry; None: the name of the class.

    Returns:
        The file, with its imports filled in.

    Raises:
        UserError: the class does not exist, is not a cell or task, or has a name that
            is already taken; the file contains an error; or an imported file has
            changed since it was imported.
    """
    kind, name, path = file.kind, file.name, file.path
    registry, base = KINDS[kind]
    known_as = known_as or name
    if known_as in registry and not _is_users(registry[known_as]):
        raise UserError(
            f"{path}: a {kind} {name} already exists; give yours another name"
        )
    module = execute_file(path, file.content)
    found = getattr(module, name, None)
    if found is None:
        raise unknown(f"{kind} in {path}", name, _classes(module, base))
    if not (isinstance(found, type) and issubclass(found, base)):
        raise UserError(
            f"{path}: {name} is not a subclass of rnnjax.{kind}s.{base.__name__}"
        )
    if base is Task and not dataclasses.is_dataclass(found):
        raise UserError(f"{path}: {name} must be a frozen dataclass, as tasks are")
    loaded = dataclasses.replace(file, imports=own_imports(file.content, path))
    registry.replace(known_as, found)
    _LOADED[kind, known_as] = loaded
    return loaded


def _classes(module: ModuleType, base: type) -> list[str]:
    return [
        name
        for name, thing in vars(module).items()
        if isinstance(thing, type) and issubclass(thing, base) and _is_users(thing)
    ]


def _is_users(kind: type) -> bool:
    return kind.__module__.startswith(MODULE)
