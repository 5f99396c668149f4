"""Detect source files of this package that changed after this process imported it.

Python keeps running the code that it imported even if the files change later; a digest
of the changed files would then describe code that did not run.
"""

import os
from pathlib import Path

from rnnjax.errors import UserError


def _stamp(file: str) -> tuple[int, int] | None:
    """Modification time in ns, and size; None if there is no file."""
    try:
        found = os.stat(file)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size


def _stamps(folder: str) -> dict[str, tuple[int, int] | None]:
    return {
        file: _stamp(file)
        for place, _, names in os.walk(folder)
        for name in names
        if name.endswith(".py")
        for file in [os.path.join(place, name)]
    }


PACKAGE = os.path.dirname(os.path.abspath(__file__))

_STAMPS = _stamps(PACKAGE)


def check_unchanged(file: Path) -> None:
    """Make sure that a file of this package has not changed since the import.

    Files outside of the package always pass.

    Raises:
        UserError: the file has changed.
    """
    name = os.path.abspath(file)
    if name.startswith(PACKAGE + os.sep) and _STAMPS.get(name) != _stamp(name):
        raise UserError(
            f"{name} has changed since this process imported rnnjax, and Python still "
            "runs the old version; restart Python"
        )
