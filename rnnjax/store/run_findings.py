"""What is wrong with run directories: damage, attempts without an end, doubles."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from rnnjax.errors import UserError
from rnnjax.store.findings import Finding, moved_aside, remove
from rnnjax.store.index import row_of
from rnnjax.store.leases import leased
from rnnjax.store.pool import by_rank
from rnnjax.store.quarantine import damage, set_aside
from rnnjax.store.rundir import NEXT, RunDir, identity_in
from rnnjax.store.writing import settle


def identity_of(run: RunDir) -> str:
    """That of the manifest, or of a damaged one by the name of the folder."""
    try:
        return run.manifest().identity
    except UserError:
        return identity_in(run.path.name)


def rank_of(run: RunDir) -> tuple[bool, str]:
    """Of several directories of one run the largest counts."""
    return by_rank(row_of(run))


def _aside(run: RunDir, pool: Path, why: str, still: Callable[[], object]) -> None:
    """Move a run to quarantine if nobody has begun or mended it since it was seen."""
    if identity_of(run) not in leased(pool) and still():
        set_aside(run.path, pool, why)


def damaged(run: RunDir, pool: Path, why: str) -> Finding:
    """A run of which a file is lost, or is not what was written."""
    mend = partial(_aside, run, pool, why, partial(damage, run))
    return Finding("damaged", f"{why.rstrip('.')}; repair moves it to quarantine", mend)


def attempts(run: RunDir, pool: Path) -> Iterator[Finding]:
    """What a launch left in a run that is whole, as it was killed."""
    attempt = run.path / NEXT
    if not attempt.is_dir():
        return
    # The run was found whole: files of a sealed attempt that are not in its folder any
    # more are in their places already.
    if run.later_manifest() is not None:
        text = f"a later result of '{run.path}' is sealed and not in its place"
        yield Finding("unsettled", f"{text}; repair moves it", partial(settle, run))
        return
    if _is_sealed(RunDir(attempt)):
        yield moved_aside(attempt, pool, f"'{attempt}' is another run, copied there")
        return
    text = f"'{attempt}' is an attempt that did not end; repair removes it"

    def clear() -> None:
        if identity_of(run) not in leased(pool) and not _is_sealed(RunDir(attempt)):
            remove(attempt, pool)

    yield Finding("leftover", text, clear)


def _is_sealed(attempt: RunDir) -> bool:
    try:
        return attempt.manifest().is_finished
    except UserError:
        return False


def twice(run: RunDir, other: RunDir, pool: Path) -> Finding:
    """A second directory of a run, by which `other` counts."""
    why = f"'{run.path}' is the run of '{other.path}' once more"
    mend = partial(_aside, run, pool, why, lambda: rank_of(other) >= rank_of(run))
    return Finding("leftover", f"{why}; repair moves it to quarantine", mend)
