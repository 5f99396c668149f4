"""What may be wrong with a pool, and how each of it is mended."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from rnnjax.store.atomic import no_link, writable
from rnnjax.store.quarantine import set_aside


Kind = Literal["damaged", "index", "unsettled", "leftover", "note"]


@dataclass(frozen=True)
class Finding:
    """Something that is wrong with a pool.

    Attributes:
        kind: ``damaged``: a result or a checkpoint is lost or not to be trusted;
            ``index``: the table of runs; ``unsettled``: a result that was sealed and
            not moved to its place; ``leftover``: what a killed process left; ``note``:
            nothing can be done about it here.
        text: a sentence.
        mend: does what `text` says of a repair; None for notes.
    """

    kind: Kind
    text: str
    mend: Callable[[], object] | None = None


def moved_aside(path: Path, pool: Path, why: str) -> Finding:
    """What is in the way and may be somebody's: repair keeps it, elsewhere."""
    text = f"{why}; repair moves it to quarantine"
    return Finding("leftover", text, partial(set_aside, path, pool, why))


def remove(path: Path, pool: Path) -> None:
    """Remove a file of a pool, or a folder with all that is in it; of a link itself.

    Raises:
        UserError: it cannot be removed, or lies behind a link.
    """
    no_link(path.parent, pool)
    with writable(path):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
