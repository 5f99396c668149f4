"""Cells and tasks of the user's own: ``cell=path/file.py:MyCell`` on a command line.

Such a value holds characters that Hydra's grammar reads otherwise, so it is replaced by
the plain name of the class before Hydra sees it; the class is registered under it.
"""

import dataclasses
import hashlib
import re
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

from rnnjax.cells import CELLS
from rnnjax.cells.base import Cell
from rnnjax.errors import UserError, unknown
from rnnjax.registry import Registry
from rnnjax.tasks import TASKS
from rnnjax.tasks.base import Task
from rnnjax.tasks.user import execute_file


_REFERENCE = r"""(?P<path>[^,'"()\[\]{}]+\.py):(?P<name>[^,'"()\[\]{}\s]+)"""
_KINDS: dict[str, tuple[Registry[Any], type]] = {
    "cell": (CELLS, Cell),
    "task": (TASKS, Task),
}


@dataclasses.dataclass(frozen=True)
class UserFile:
    """A class that came from a file.

    Attributes:
        kind: ``cell`` or ``task``.
        name: of the class, and in the registry.
        path: the file, absolute.
        content: its bytes, as they were executed.
    """

    kind: str
    name: str
    path: Path
    content: bytes = dataclasses.field(repr=False)

    @property
    def digest(self) -> str:
        """SHA-256 of the content."""
        return hashlib.sha256(self.content).hexdigest()

    @property
    def reference(self) -> str:
        """As it can be written on a command line."""
        return f"{self.path}:{self.name}"


def rewrite(
    overrides: Iterable[str],
) -> tuple[list[str], dict[tuple[str, str], UserFile]]:
    """Overrides with plain names, and the files by (kind, name), classes registered.

    Raises:
        UserError: no such file or class, not a cell or task, an error in the file, or
            a name that is taken.
    """
    found: dict[tuple[str, str], UserFile] = {}
    plain = []
    for override in overrides:
        key, equals, value = override.partition("=")
        for kind, pattern in _patterns(key.strip().lstrip("+")).items():

            def register(match: re.Match[str], kind: str = kind) -> str:
                file = load(kind, match["path"].strip(), match["name"].strip())
                known = found.setdefault((kind, file.name), file)
                if known.path != file.path:
                    raise UserError(
                        f"{known.path} and {file.path} both define {kind} {file.name}; "
                        "give one of them another name"
                    )
                return f"{match['before']}{file.name}"

            value = pattern.sub(register, value)
        plain.append(f"{key}{equals}{value}")
    return plain, found


def _patterns(key: str) -> dict[str, re.Pattern[str]]:
    """How references to cells and tasks look like in the value of a key, by kind."""
    if key == "zip":
        before = {kind: rf"(?P<before>\b{kind}\s*:\s*)" for kind in _KINDS}
    else:
        before = {kind: "(?P<before>)" for kind in _KINDS if kind == key}
    return {kind: re.compile(text + _REFERENCE) for kind, text in before.items()}


def load(kind: str, path: str, name: str) -> UserFile:
    """Read and execute a file, and register its class `name` as a cell or task.

    Raises:
        UserError: see `rewrite`.
    """
    place = Path(path).expanduser().resolve()
    if not place.is_file():
        raise UserError(f"{kind}={path}:{name}: there is no file {path}")
    file = UserFile(kind, name, place, place.read_bytes())
    register(file)
    return file


def register(file: UserFile, known_as: str | None = None) -> None:
    """Execute the content of a file and register its class as a cell or task.

    Args:
        file: see `UserFile`.
        known_as: the name in the registry; None: that of the class.

    Raises:
        UserError: no such class, not a cell or task, an error in the file, or a name
            that is taken.
    """
    kind, name, path = file.kind, file.name, file.path
    registry, base = _KINDS[kind]
    known_as = known_as or name
    if known_as in registry and not _is_users(registry[known_as]):
        raise UserError(f"{path}: a {kind} {name} exists; give yours another name")
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
    registry.replace(known_as, found)


def _classes(module: ModuleType, base: type) -> list[str]:
    return [
        name
        for name, thing in vars(module).items()
        if isinstance(thing, type) and issubclass(thing, base) and _is_users(thing)
    ]


def _is_users(kind: type) -> bool:
    return kind.__module__.startswith("rnnjax_user_")
