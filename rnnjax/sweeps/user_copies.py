"""A run's copies of the user's files in ``source/``, which are code.

A run folder from someone else can contain any code. Therefore a copy is executed only
if the user allows it, or has named a file with identical bytes in this process.
"""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rnnjax.errors import UserError
from rnnjax.store.run_id import digest, file_digest
from rnnjax.store.rundir import RunDir
from rnnjax.sweeps.user_files import KINDS, UserFile, is_named, reference, register


@dataclass(frozen=True)
class Copy:
    """The copy of one user's file in a run.

    Attributes:
        kind: ``cell`` or ``task``.
        name: name of the class in the file.
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
        """Whether the user named a file with this content in this process."""
        return is_named(self.digest)

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
        file = UserFile(self.kind, self.name, self.place, content)
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
    for kind in KINDS:
        if kind not in paths:
            continue
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
