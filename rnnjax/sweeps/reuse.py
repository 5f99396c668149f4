"""Which runs of a pool need not be computed again."""

from collections.abc import Callable, Mapping, Sequence

from rnnjax.errors import UserError
from rnnjax.store.index import Row
from rnnjax.store.pool import Pool
from rnnjax.store.quarantine import damage, set_aside
from rnnjax.store.rundir import RunDir, run_path
from rnnjax.sweeps.packing import Planned


def without_twins(planned: Sequence[Planned]) -> list[Planned]:
    """The runs without those that are another one, such as of a copy of its data.

    Raises:
        UserError: two of them differ in their probes alone; they have one directory.
    """
    known: dict[str, Planned] = {}
    for one in planned:
        other = known.setdefault(one.identity, one)
        if other.job.config.probe != one.job.config.probe:
            raise UserError(
                f"'{other.job.name}' and '{one.job.name}' are one run: jobs of a sweep "
                "cannot differ in the probe alone"
            )
    return list(known.values())


def finished(
    pool: Pool, rows: Mapping[str, Row], planned: Sequence[Planned], stale: str
) -> tuple[set[str], int]:
    """Identities that need no work, and how many of them other code made.

    Args:
        pool: where they would be.
        rows: of the pool, by identity.
        planned: the runs of a launch.
        stale: what to do with runs of other code, ``error``, ``accept`` or ``rerun``.

    Raises:
        UserError: there are stale ones and nothing says what to do with them.
    """
    good, old = held(rows, planned)
    if old and stale == "error":
        raise UserError(
            f"{len(old)} of the runs in '{pool.path}' were made by other numeric code; "
            "stale=accept keeps them, stale=rerun runs them again"
        )
    return (good | old, len(old)) if stale == "accept" else (good, 0)


def without_damaged(
    pool: Pool,
    rows: Mapping[str, Row],
    planned: Sequence[Planned],
    tell: Callable[[str], object],
) -> dict[str, Row]:
    """The rows without planned runs whose record cannot be read.

    Their folders go to quarantine, so that they are computed again.

    Raises:
        UserError: a folder cannot be moved, or a record is of another format.
    """
    known = dict(rows)
    for one in planned:
        row = known.get(one.identity)
        own = run_path(pool.path, one.job.name, one.identity)
        for folder in {own, pool.path / row.folder if row else own}:
            if why := damage(RunDir(folder)):
                set_aside(folder, pool.path, why, tell)
                known.pop(one.identity, None)
    return known


def held(
    rows: Mapping[str, Row], planned: Sequence[Planned]
) -> tuple[set[str], set[str]]:
    """Identities that a pool holds: made by this numeric code, and by other code."""
    good: set[str] = set()
    old: set[str] = set()
    for one in planned:
        row = rows.get(one.identity)
        if row is None or not row.is_finished or not covers(row, one):
            continue
        fresh = row.facts.get("source_digest") == one.source
        (good if fresh else old).add(one.identity)
    return good, old


def covers(row: Row, planned: Planned) -> bool:
    """Whether a finished run holds the probes that are asked for."""
    config = planned.job.config
    if config.probe.preset == "off":
        return True
    # as it is stored: with the keys of its preset alone
    asked = dict(planned.job.resolved["probe"])
    held = {key: row.config.get(f"probe.{key}") for key in asked}
    steps = {step for step in asked.pop("steps") if step <= config.steps}
    return steps <= set(held.pop("steps") or ()) and asked == held
