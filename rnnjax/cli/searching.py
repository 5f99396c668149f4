"""The command `rnnjax search`: run trials in packs and show the best ones."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rnnjax.errors import UserError


SEARCHES = "searches"
"""Folder in the pool for tables of trials."""

SHOWN = 10


def search(
    overrides: Sequence[str],
    options: Mapping[str, Any],
    config_dir: str | None,
    command: str,
) -> int:
    """Search, print the best trials and write a table of all of them.

    Returns:
        0, or 1 if every trial failed.

    Raises:
        UserError: optuna is not installed, or the search is invalid.
    """
    from rnnjax.cli.tables import print_table
    from rnnjax.devices import use_every_core
    from rnnjax.store.atomic import make_folder, write_bytes
    from rnnjax.store.frames import csv_bytes
    from rnnjax.sweeps.progress import LiveProgress
    from rnnjax.terminal import error_screen

    try:
        from rnnjax.sweeps import search as searching
        from rnnjax.sweeps.search_space import SearchConfig
    except ImportError as error:
        if error.name != "optuna":
            raise
        raise UserError("search needs optuna: pip install 'rnnjax[search]'") from None
    use_every_core()
    found = searching.search(
        overrides,
        SearchConfig(**options),
        config_dir,
        command,
        LiveProgress(error_screen()),
    )
    made = found.settings
    settings = " ".join([*sorted(overrides), *map(str, options.items())])
    digest = hashlib.sha256(settings.encode()).hexdigest()[:12]
    folder = Path(made.out) / SEARCHES
    make_folder(folder)
    file = folder / f"{made.name or 'search'}-{digest}.csv"
    write_bytes(file, csv_bytes(found.trials))
    count = len(found.trials)
    print_table(found.trials.head(SHOWN), f"the best of {count} trials; all: {file}")
    return 0 if found.trials["value"].count() else 1
