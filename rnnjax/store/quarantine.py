"""What is damaged is named and moved aside: one bad run costs one run."""

import os
from collections.abc import Callable
from pathlib import Path

import yaml

from rnnjax.errors import UserError
from rnnjax.store.atomic import make_folder, writable
from rnnjax.store.identity import file_digest
from rnnjax.store.manifest import OtherFormat
from rnnjax.store.rundir import CONFIG, MANIFEST, RunDir


QUARANTINE = "quarantine"
"""The folder of a pool that receives it."""


def damage(run: RunDir) -> str | None:
    """Why the record of a run cannot be read, in a sentence; None: it can be.

    Looks at its manifest, and at its configuration by its digest: a fraction of a
    millisecond. Arrays are checked where they are read.

    Raises:
        OtherFormat: the record is of another version.
    """
    if not run.has(MANIFEST):
        return None
    try:
        known = run.manifest().files.get(CONFIG)
        if known is None:  # of a run that has not ended
            run.config().items()
        elif known != file_digest(run.path / CONFIG):
            return f"'{run.path / CONFIG}' is not what the run left"
    except OtherFormat:
        raise
    except UserError as error:
        return str(error)
    except (yaml.YAMLError, OSError, ValueError, TypeError, AttributeError) as error:
        return f"the configuration of '{run.path}' cannot be read: {error!r}"
    return None


def set_aside(path: Path, pool: Path, why: str, tell: Callable[[str], object]) -> None:
    """Move a damaged folder of a pool into its quarantine, and say so.

    Raises:
        UserError: it cannot be moved.
    """
    room = pool / QUARANTINE
    make_folder(room)
    place, number = room / path.name, 1
    while place.exists():
        number += 1
        place = room / f"{path.name}.{number}"
    with writable(place):
        os.rename(path, place)
    tell(f"{why.rstrip('.')}; moved to '{place}'")
