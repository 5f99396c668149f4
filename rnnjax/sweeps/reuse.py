"""Which runs of a pool need not be computed again."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from rnnjax.errors import UserError
from rnnjax.store.index import Row
from rnnjax.store.pool import Pool
from rnnjax.store.quarantine import damage
from rnnjax.store.rundir import RunDir
from rnnjax.sweeps.jobs import Job


READERS = 4
"""Runs that are checked side by side."""


def without_twins(jobs: Sequence[Job]) -> list[Job]:
    """The runs without those that are another one, such as of a copy of its data.

    Raises:
        UserError: two of them differ in their probes alone; they have one directory.
    """
    known: dict[str, Job] = {}
    for one in jobs:
        other = known.setdefault(one.identity, one)
        if other.config.probe != one.config.probe:
            raise UserError(
                f"'{other.name}' and '{one.name}' are one run: jobs of a sweep "
                "cannot differ in the probe alone"
            )
    return list(known.values())


def finished(
    pool: Pool, rows: Mapping[str, Row], jobs: Sequence[Job], stale: str
) -> tuple[set[str], int]:
    """Identities that need no work, and how many of them other code made.

    Args:
        pool: where they would be.
        rows: of the pool, by identity.
        jobs: the runs of a launch.
        stale: what to do with runs of other code, ``error``, ``accept`` or ``rerun``.

    Raises:
        UserError: there are stale ones and nothing says what to do with them.
    """
    good, old = held(rows, jobs)
    if old and stale == "error":
        raise UserError(
            f"{len(old)} of the runs in '{pool.path}' were made by other numeric code; "
            "stale=accept keeps them, stale=rerun runs them again"
        )
    return (good | old, len(old)) if stale == "accept" else (good, 0)


def without_damaged(pool: Pool, rows: Mapping[str, Row]) -> dict[str, Row]:
    """The rows of runs that are whole, by identity.

    A damaged one is left out, so that it is computed again; who begins that moves its
    folder to quarantine (`rnnjax.sweeps.worker`).

    Args:
        pool: where they are.
        rows: of runs that a launch needs.

    Raises:
        OtherFormat: a record is of another version.
    """
    with ThreadPoolExecutor(READERS) as readers:
        folders = [RunDir(pool.path / row.folder) for row in rows.values()]
        found = readers.map(damage, folders, [r.is_finished for r in rows.values()])
        checked = zip(rows.values(), found, strict=True)
        return {row.identity: row for row, why in checked if not why}


def held(rows: Mapping[str, Row], jobs: Sequence[Job]) -> tuple[set[str], set[str]]:
    """Identities that a pool holds: made by this numeric code, and by other code."""
    good: set[str] = set()
    old: set[str] = set()
    for one in jobs:
        row = rows.get(one.identity)
        if row is None or not row.is_finished or not covers(row, one):
            continue
        fresh = row.facts.get("source_digest") == one.source
        (good if fresh else old).add(one.identity)
    return good, old


def covers(row: Row, job: Job) -> bool:
    """Whether a finished run holds the probes that are asked for."""
    config = job.config
    if config.probe.preset == "off":
        return True
    # as it is stored: with the keys of its preset alone
    asked = dict(job.resolved["probe"])
    held = {key: row.config.get(f"probe.{key}") for key in asked}
    steps = {step for step in asked.pop("steps") if step <= config.steps}
    return steps <= set(held.pop("steps") or ()) and asked == held
