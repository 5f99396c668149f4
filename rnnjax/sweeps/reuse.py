"""Decide which runs of a pool need not be computed again."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from rnnjax.errors import UserError
from rnnjax.store.index import Row
from rnnjax.store.pool import Pool
from rnnjax.store.quarantine import damage
from rnnjax.store.rundir import RunDir
from rnnjax.sweeps.jobs import Job


READERS = 4
"""Number of runs that are checked at the same time."""


def without_twins(jobs: Sequence[Job]) -> list[Job]:
    """The jobs without duplicates, such as jobs that read copies of the same data.

    Raises:
        UserError: two jobs differ only in their probes, so they share a directory.
    """
    known: dict[str, Job] = {}
    for one in jobs:
        other = known.setdefault(one.run_id, one)
        if other.config.probe != one.config.probe:
            raise UserError(
                f"'{other.name}' and '{one.name}' are the same run: jobs of a sweep "
                "cannot differ only in the probe"
            )
    return list(known.values())


def finished(
    pool: Pool, rows: Mapping[str, Row], jobs: Sequence[Job], stale: str
) -> tuple[set[str], int]:
    """Ids of the runs that need no work, and how many were made by different code.

    Args:
        pool: the pool of the launch.
        rows: the rows of the pool, by run id.
        jobs: the runs of a launch.
        stale: what to do with runs made by different numeric code: ``error``,
            ``accept`` or ``rerun``.

    Raises:
        UserError: there are such runs, and `stale` is ``error``.
    """
    good, old = held(rows, jobs)
    if old and stale == "error":
        raise UserError(
            f"{len(old)} of the runs in '{pool.path}' were made by different numeric "
            "code; stale=accept keeps them, stale=rerun runs them again"
        )
    return (good | old, len(old)) if stale == "accept" else (good, 0)


def without_damaged(pool: Pool, rows: Mapping[str, Row]) -> dict[str, Row]:
    """The rows of undamaged runs, by run id.

    Damaged runs are left out, so that they are computed again; the process that begins
    one moves the damaged folder to quarantine (`rnnjax.sweeps.pack_run`).

    Args:
        pool: the pool that holds the runs.
        rows: rows of the runs that a launch needs.

    Raises:
        OtherFormat: a record was written in the format of another version.
    """
    with ThreadPoolExecutor(READERS) as readers:
        folders = [RunDir(pool.path / row.folder) for row in rows.values()]
        found = readers.map(damage, folders, [r.is_finished for r in rows.values()])
        checked = zip(rows.values(), found, strict=True)
        return {row.run_id: row for row, why in checked if not why}


def held(rows: Mapping[str, Row], jobs: Sequence[Job]) -> tuple[set[str], set[str]]:
    """Ids of finished runs: those made by the present numeric code, and all others."""
    good: set[str] = set()
    old: set[str] = set()
    for one in jobs:
        row = rows.get(one.run_id)
        if row is None or not row.is_finished or not covers(row, one):
            continue
        fresh = row.facts.get("source_digest") == one.source
        (good if fresh else old).add(one.run_id)
    return good, old


def covers(row: Row, job: Job) -> bool:
    """Whether a finished run has the probes that the job requests."""
    config = job.config
    if config.probe.preset == "off":
        return True
    # as it is stored: only with the keys of its preset
    asked = dict(job.resolved["probe"])
    held = {key: row.config.get(f"probe.{key}") for key in asked}
    steps = {step for step in asked.pop("steps") if step <= config.steps}
    return steps <= set(held.pop("steps") or ()) and asked == held
