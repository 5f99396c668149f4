"""The source files of this package as they were when this process imported it.

Python goes on running what it has imported, whatever is written to the files later; a
digest of the files would then be of code that did not run.
"""

import os
from pathlib import Path

from rnnjax.errors import UserError


def _stamp(file: str) -> tuple[int, int] | None:
    """Time of change in ns and size; None: there is no file."""
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
    """Make sure that a file of this package is the one that was there at import.

    Files elsewhere are not known, and pass.

    Raises:
        UserError: it has changed since.
    """
    name = os.path.abspath(file)
    if name.startswith(PACKAGE + os.sep) and _STAMPS.get(name) != _stamp(name):
        raise UserError(
            f"{name} has changed since this process imported rnnjax, and Python still "
            "runs the old version; restart Python"
        )
