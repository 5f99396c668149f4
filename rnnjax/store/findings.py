"""What can be wrong with a pool, and how each problem is repaired."""

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rnnjax.store.atomic import no_link, writable
from rnnjax.store.quarantine import set_aside


Kind = Literal["damaged", "index", "unsettled", "leftover", "note"]


@dataclass(frozen=True)
class Finding:
    """A problem of a pool.

    Attributes:
        kind: ``damaged``: a result or a checkpoint is lost or cannot be trusted;
            ``index``: the index is wrong; ``unsettled``: a result was sealed but not
            yet moved to its place; ``leftover``: files that a killed process left
            behind, or that block a launch; ``note``: nothing can be done about it here.
        text: a sentence that describes it.
        mend: does the repair that `text` announces; None for notes.
    """

    kind: Kind
    text: str
    mend: Callable[[], object] | None = None


def moved_aside(
    path: Path, pool: Path, why: str, still: Callable[[], bool] = lambda: True
) -> Finding:
    """The finding for an entry in the way that may be a user's.

    Repair moves it, if it is `still` in the way.
    """

    def mend() -> None:
        if os.path.lexists(path) and still():
            set_aside(path, pool, why)

    return Finding("leftover", f"{why}; repair moves it to quarantine", mend)


def remove(path: Path, pool: Path) -> None:
    """Remove a file, a folder with everything in it, or a link (not its target).

    Raises:
        UserError: it cannot be removed, or the path to it contains a link.
    """
    no_link(path.parent, pool)
    with writable(path):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
