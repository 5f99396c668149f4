"""What a report wrote into a folder that is not its own: that alone it may replace.

A pool is also a place where people keep figures, tables and notes. The report notes
the digest of every file that it wrote; what is not noted, or has changed since, is
somebody else's.
"""

import hashlib
import json
import os
from pathlib import Path

from rnnjax.errors import UserError
from rnnjax.paths import read_file
from rnnjax.store.atomic import write_text


RECORD = ".report.json"
"""Digests of the files of the last report, by their place in the folder."""

MARK = b"Does the loss at the end of a sequence still reach its beginning?"
"""In every page of a report, also of versions that noted nothing."""


class Owned:
    """The files of a report in a folder.

    Args:
        folder: the folder of the report.
        page: name of the page, by which a report of an earlier version is recognised.
    """

    def __init__(self, folder: Path, page: str):
        self.folder = folder
        try:
            noted = json.loads(read_file(folder / RECORD))
            files = {str(k): str(v) for k, v in noted["files"].items()}
            self.known = {k: v for k, v in files.items() if self._is_inside(k)}
            self.begun = set(filter(self._is_inside, map(str, noted["writing"])))
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            self.known, self.begun = {}, set()
        self.unnoted = not self.known and _is_page(folder / page)

    def begin(self, names: list[str]) -> None:
        """Make sure that nothing of somebody else is overwritten, and note the plan.

        Raises:
            UserError: a file is there that no report left so, or the record cannot be
                written.
        """
        for name in names:
            file = self.folder / name
            if not os.path.lexists(file) or self._is_ours(name) or self.unnoted:
                continue
            what = "changed after" if name in self.known else "not written by"
            raise UserError(
                f"'{file}' was {what} the last report of this folder; move it away or "
                "remove it"
            )
        self._note(self.known, names)

    def settle(self, names: list[str]) -> None:
        """Note what was written, and remove what only the last report wrote.

        Raises:
            UserError: the record cannot be written.
        """
        for name in self.known:
            if name not in names and self._is_ours(name):
                (self.folder / name).unlink(missing_ok=True)
        self._note({name: _digest(self.folder / name) for name in names}, [])

    def _note(self, files: dict[str, str], writing: list[str]) -> None:
        text = json.dumps({"files": files, "writing": writing}, indent=1)
        write_text(self.folder / RECORD, text + "\n")

    def _is_inside(self, name: str) -> bool:
        """Whether a file is of this folder: a record may come from somebody else."""
        try:
            place = (self.folder / name).parent.resolve()
        except (OSError, ValueError, RuntimeError):  # a loop of links, no name at all
            return False
        return place.is_relative_to(self.folder.resolve())

    def _is_ours(self, name: str) -> bool:
        file = self.folder / name
        # what a report that was interrupted had begun may be anything
        known = name in self.begun or self.known.get(name)
        return file.is_file() and (known is True or known == _digest(file))


def _is_page(file: Path) -> bool:
    try:
        return MARK in read_file(file)
    except OSError:
        return False


def _digest(file: Path) -> str:
    return hashlib.sha256(read_file(file)).hexdigest()
