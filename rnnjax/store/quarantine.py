"""Find damage in a run and move it to quarantine, so that one bad run costs one run."""

import os
from pathlib import Path

from rnnjax.errors import UserError
from rnnjax.store.atomic import make_folder, no_link, writable
from rnnjax.store.manifest import OtherFormat
from rnnjax.store.rundir import CONFIG, MANIFEST, METRICS, PARAMS, RunDir


QUARANTINE = "quarantine"
"""The folder in a pool to which damaged runs and files are moved."""


def damage(run: RunDir, ended: bool = False, parse: bool = True) -> str | None:
    """One sentence that says what is wrong with a run; None if it is intact.

    Reads the manifest and the configuration, and compares every file that the manifest
    lists with its digest.

    Args:
        run: the directory; a missing directory counts as undamaged.
        ended: whether the index lists the run as finished. Then a missing manifest is
            damage, as it always is if there are results.
        parse: whether to parse a configuration whose digest is right. That takes longer
            than all the rest, and only a file that we did not write can fail.

    Raises:
        OtherFormat: the manifest was written in another format version.
    """
    if not run.has(MANIFEST):
        left = any((run.path / file).exists() for file in (METRICS, PARAMS))
        lost = run.path.is_dir() and (ended or left)
        return f"'{run.path / MANIFEST}' is missing" if lost else None
    try:
        manifest = run.check()
        if parse or CONFIG not in manifest.files:
            run.config()
    except OtherFormat:
        raise
    except UserError as error:
        return str(error)
    return None


def set_aside(path: Path, pool: Path, why: str) -> str:
    """Move a damaged file or folder of a pool into the pool's quarantine.

    Returns:
        A sentence for the user that says so.

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
