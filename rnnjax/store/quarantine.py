"""What is damaged is named and moved aside: one bad run costs one run."""

import os
from pathlib import Path

from rnnjax.errors import UserError
from rnnjax.store.atomic import make_folder, no_link, writable
from rnnjax.store.manifest import OtherFormat
from rnnjax.store.rundir import MANIFEST, METRICS, PARAMS, RunDir


QUARANTINE = "quarantine"
"""The folder of a pool that receives it."""


def damage(run: RunDir, ended: bool = False) -> str | None:
    """What is wrong with a run, in a sentence; None: nothing.

    Its manifest and configuration are read, and every file that it knows is compared
    with its digest.

    Args:
        run: the directory; one that is not there has no damage.
        ended: whether the index has it as finished, so that a manifest must be there;
            it must beside results, too.

    Raises:
        OtherFormat: the record is of another version.
    """
    if not run.has(MANIFEST):
        left = any((run.path / file).exists() for file in (METRICS, PARAMS))
        lost = run.path.is_dir() and (ended or left)
        return f"'{run.path / MANIFEST}' is missing" if lost else None
    try:
        run.check()
        run.config()
    except OtherFormat:
        raise
    except UserError as error:
        return str(error)
    return None


def set_aside(path: Path, pool: Path, why: str) -> str:
    """Move something damaged in a pool into its quarantine.

    Returns:
        A sentence that says so, for the user.

    Raises:
        UserError: it cannot be moved, or a link is in the way.
    """
    room = pool / QUARANTINE
    make_folder(room, pool)
    no_link(path.parent, pool)
    place, number = room / path.name, 1
    while os.path.lexists(place):
        number += 1
        place = room / f"{path.name}.{number}"
    with writable(place):
        os.rename(path, place)
    return f"{why.rstrip('.')}; moved to '{place}'"
