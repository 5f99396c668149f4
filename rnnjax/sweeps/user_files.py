"""Cells and tasks from users' files: ``cell=path/file.py:MyCell`` on a command line.

The class is registered under its plain name, which refers to it from then on; that of a
run's own copy (`Copy`) as ``NAME@digest``.
"""

import dataclasses
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rnnjax.cells import CELLS
from rnnjax.cells.base import Cell
from rnnjax.errors import UserError, unknown
from rnnjax.paths import user_path
from rnnjax.registry import Registry
from rnnjax.store.run_id import digest, file_digest
from rnnjax.store.rundir import RunDir
from rnnjax.sweeps.user_imports import own_imports
from rnnjax.tasks import TASKS
from rnnjax.tasks.base import Task
from rnnjax.user_code import MODULE, execute_file


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
        return {self.kind: digest(self.content), **imports}

    @property
    def reference(self) -> str:
        """The class as it can be written on a command line."""
        return f"{self.path}:{self.name}"


_LOADED: dict[tuple[str, str], UserFile] = {}

_NAMED: dict[str, Path] = {}
"""SHA-256 digests of the files that the user named in this process."""


def reference(value: Any) -> tuple[str, str] | None:
    """Path and name of ``path/file.py:Name``; None for any other value.

    >>> reference("my cells/a,b.py:Mine"), reference("lstm")
    (('my cells/a,b.py', 'Mine'), None)
    """
    found = _REFERENCE.fullmatch(value.strip()) if isinstance(value, str) else None
    return (found["path"], found["name"]) if found else None


def loaded_files(cell: str, task: str) -> tuple[UserFile, ...]:
    """The files from which a cell and a task were loaded; none for our own."""
    found = _LOADED.get(("cell", cell)), _LOADED.get(("task", task))
    return tuple(filter(None, found))


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
    _NAMED[file.digests[kind]] = place
    return file


def register(file: UserFile, known_as: str | None = None) -> UserFile:
    """Execute a file and register its class; returns it with its imports filled in.

    `known_as` is the name in the registry; by default, the name of the class.

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
        kinds = {k: v for k, v in vars(module).items() if isinstance(v, type)}
        own = [k for k, v in kinds.items() if issubclass(v, base) and _is_users(v)]
        raise unknown(f"{kind} in {path}", name, own)
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


def _is_users(kind: type) -> bool:
    return kind.__module__.startswith(MODULE)


@dataclasses.dataclass(frozen=True)
class Copy:
    """A run's copy of the user's file, in ``source/``.

    A run folder from someone else can contain any code, so a copy is executed only if
    the user allows it, or has named a file with identical bytes in this process.

    Attributes:
        kind, name: see `UserFile`.
        original: path of the user's file when the run was made.
        place: path of the copy.
        digests: SHA-256 of the file and its imports, as in `UserFile.digests`,
            according to the manifest of the run.
    """

    kind: str
    name: str
    original: Path
    place: Path
    digests: Mapping[str, str]

    @property
    def digest(self) -> str:
        """The SHA-256 that the copy must have."""
        return self.digests[self.kind]

    @property
    def known_as(self) -> str:
        """The name under which the class is registered; it differs between versions."""
        return f"{self.name}@{self.digest[:8]}"

    @property
    def is_named(self) -> bool:
        """Whether the user named a file with this content in this process (`load`)."""
        return self.digest in _NAMED

    def refused(self) -> UserError:
        """The error if the copy may not be executed."""
        return UserError(
            f"the {self.kind} {self.name} of this run is code, '{self.place}', which "
            "is not executed unless you allow it: read it, then use "
            "open_run(…, run_code=True), or rnnjax probe … run_code=true"
        )

    def use(self) -> None:
        """Execute the copy and register its class as `known_as`.

        Warns:
            UserWarning: the user's file has changed since the run.

        Raises:
            UserError: the copy, or a module that it imports, differs from what the run
                was made with.
        """
        content = self.place.read_bytes() if self.place.is_file() else b""
        if digest(content) != self.digest:
            raise UserError(
                f"the {self.kind} {self.name} cannot be used: '{self.place}' is not "
                "the file that the run was made with"
            )
        if self.original.is_file() and file_digest(self.original) != self.digest:
            warnings.warn(
                f"{self.original} has changed since the run; the run's copy of "
                f"{self.name} is used ({self.place})",
                stacklevel=4,
            )
        # A neighbour of the copy is anybody's; that of the named file is the user's.
        path = _NAMED.get(self.digest, self.place)
        file = UserFile(self.kind, self.name, path, content)
        used = register(file, self.known_as).digests
        if changed := {role for role, _ in self.digests.items() ^ used.items()}:
            module = min(changed).removeprefix(f"{self.kind} imports ")
            raise UserError(
                f"the {self.kind} {self.name} cannot be used: the module {module} that "
                "it imports is not what the run was made with; restore it, or train "
                "again"
            )


def copies_of(run: RunDir) -> dict[str, Copy]:
    """The copies in a run by kind, according to its configuration and manifest.

    Raises:
        UserError: configuration and manifest contradict each other.
    """
    paths, known = run.config().get("paths") or {}, run.manifest().digests
    found = {}
    for kind in [kind for kind in KINDS if kind in paths]:
        place = reference(paths[kind])
        digests = {role: sha for role, sha in known.items() if role.split()[0] == kind}
        if place is None or kind not in digests:
            raise UserError(
                f"the configuration in '{run.path}' says that its {kind} comes from "
                f"the file {paths[kind]}, but the manifest has no digest of it"
            )
        original, name = place
        found[kind] = Copy(kind, name, Path(original), run.source(kind), digests)
    return found
