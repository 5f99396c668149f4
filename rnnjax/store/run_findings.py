"""Problems of run directories: damage, unfinished attempts, duplicates."""

import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from rnnjax.errors import UserError
from rnnjax.store.atomic import writable
from rnnjax.store.attempts import discard, is_attempt
from rnnjax.store.findings import Finding, moved_aside
from rnnjax.store.index import row_of
from rnnjax.store.lease_files import leased
from rnnjax.store.locks import locked
from rnnjax.store.pool import by_rank
from rnnjax.store.quarantine import damage, set_aside
from rnnjax.store.rundir import NEXT, RunDir, run_id_in
from rnnjax.store.writing import settle


def named_run_id(run: RunDir) -> str:
    """The run id in the manifest; if that is damaged, the one in the folder's name."""
    try:
        return run.manifest().run_id
    except UserError:
        return run_id_in(run.path.name)


def rank_of(run: RunDir) -> tuple[bool, str, bool]:
    """Sort key: if a run has several directories, the one with the largest counts.

    Of two equal ones it is the one with the name that a launch gives.
    """
    row = row_of(run)
    named = run.path.name == f"{row.facts['name']}-{row.run_id}"
    return *by_rank(row), named


def _aside(run: RunDir, pool: Path, why: str, still: Callable[[], object]) -> None:
    """Move a run to quarantine unless it was restarted or repaired in the meantime."""
    with writable(run.path), locked(run.path):
        if named_run_id(run) not in leased(pool) and still():
            set_aside(run.path, pool, why)


def damaged(run: RunDir, pool: Path, why: str) -> Finding:
    """The finding for a run with a missing or changed file."""
    mend = partial(_aside, run, pool, why, partial(damage, run))
    return Finding("damaged", f"{why.rstrip('.')}; repair moves it to quarantine", mend)


def attempts(run: RunDir, pool: Path) -> Iterator[Finding]:
    """What a killed launch left behind in a run that is intact."""
    attempt = run.path / NEXT
    if not attempt.is_dir():
        if os.path.lexists(attempt):
            yield moved_aside(attempt, pool, f"'{attempt}' is not a folder")
        return
    # The run was found intact, so files that are missing from the folder of a sealed
    # attempt have already been moved to their places.
    if run.later_manifest() is not None:
        text = f"a later result of '{run.path}' is sealed but not yet in its place"
        yield Finding("unsettled", f"{text}; repair moves it", partial(settle, run))
        return
    if not is_attempt(RunDir(attempt)):
        why = f"'{attempt}' is not an unfinished attempt at this run"
        yield moved_aside(attempt, pool, why)
        return
    text = f"'{attempt}' is an unfinished attempt; repair removes it"

    def clear() -> None:
        with writable(run.path), locked(run.path):
            if named_run_id(run) not in leased(pool) and is_attempt(RunDir(attempt)):
                discard(RunDir(attempt))

    yield Finding("leftover", text, clear)


def twice(run: RunDir, other: RunDir, pool: Path) -> Finding:
    """The finding for a duplicate directory of a run, of which `other` counts."""
    why = f"'{run.path}' is a duplicate of the run in '{other.path}'"
    mend = partial(_aside, run, pool, why, lambda: rank_of(other) >= rank_of(run))
    return Finding("leftover", f"{why}; repair moves it to quarantine", mend)
