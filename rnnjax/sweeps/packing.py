"""Which runs share a program, and which share a pack."""

import dataclasses
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence, Set
from pathlib import Path

from rnnjax.errors import UserError
from rnnjax.store.checkpoint import PACKS, PackCheckpoint
from rnnjax.store.environment import deciding
from rnnjax.store.index import Row
from rnnjax.store.manifest import Damaged
from rnnjax.store.pool import Pool
from rnnjax.store.quarantine import set_aside
from rnnjax.sweeps.jobs import Job


@dataclasses.dataclass(frozen=True)
class JobPack:
    """Runs that go through one compiled program side by side."""

    members: tuple[Job, ...]
    checkpoint: PackCheckpoint

    @property
    def identities(self) -> tuple[str, ...]:
        """Identities in the order of the slots."""
        return tuple(member.identity for member in self.members)


def make_packs(
    jobs: Sequence[Job],
    unfinished: Set[str],
    pool: Path,
    slots: Callable[[Job], int],
) -> list[JobPack]:
    """Packs for the unfinished runs: interrupted ones first, as they were.

    A pack that left a checkpoint goes on with the same members, so that its state
    fits; members that have been sealed meanwhile are not written again. The rest is
    grouped by what a pack shares and cut into packs of at most `slots` runs, a number
    that is asked for once a group.
    """
    known = {one.identity: one for one in jobs}
    left = [one for one in jobs if one.identity in unfinished]
    packs: list[JobPack] = []
    taken: set[str] = set()
    for folder in sorted((pool / PACKS).glob("*")):
        checkpoint = PackCheckpoint(folder)
        try:
            members = checkpoint.members()
        except Damaged:
            continue
        fits = members and all(identity in known for identity in members)
        fits = fits and len(members) <= slots(known[members[0]])
        if not fits or not unfinished & set(members) or taken & set(members):
            continue
        chosen = tuple(known[identity] for identity in members)
        if folder.name == _pack_name(chosen):
            packs.append(JobPack(chosen, PackCheckpoint(folder, members)))
            taken |= set(members)
    groups: dict[object, list[Job]] = {}
    for one in left:
        if one.identity not in taken:
            groups.setdefault(one.shared, []).append(one)
    for group in groups.values():
        size = slots(group[0])
        for start in range(0, len(group), size):
            packs.append(pack_of(group[start : start + size], pool))
    return packs


def set_aside_checkpoints(pool: Path, tell: Callable[[str], object]) -> None:
    """Move checkpoints that cannot be read into quarantine: their packs begin again.

    Raises:
        UserError: one cannot be moved.
    """
    for folder in sorted((pool / PACKS).glob("*")):
        try:
            PackCheckpoint(folder).members()
        except UserError as error:
            tell(set_aside(folder, pool, str(error)))


def pack_of(members: Sequence[Job], pool: Path) -> JobPack:
    """A pack of these runs, with the place of its checkpoint."""
    folder = pool / PACKS / _pack_name(members)
    identities = [one.identity for one in members]
    return JobPack(tuple(members), PackCheckpoint(folder, identities))


def clear_leftovers(pool: Pool, rows: Mapping[str, Row]) -> None:
    """Remove checkpoints of which no run is unfinished any more.

    A process that was killed while it sealed runs leaves one, and so does a pack whose
    runs were made by other packs after all.
    """
    done = {identity for identity, row in rows.items() if row.is_finished}
    for folder in (pool.path / PACKS).glob("*"):
        checkpoint = PackCheckpoint(folder)
        try:
            members = checkpoint.members()
        except Damaged:  # of another launch, which sets it aside
            continue
        if members and done.issuperset(members):
            checkpoint.clear()


def _pack_name(members: Sequence[Job]) -> str:
    """A name that holds the members, how far they go, the code and the environment."""
    record = [[one.identity, one.schedule.steps, one.source] for one in members]
    probe = dataclasses.asdict(members[0].config.probe)
    text = json.dumps([record, probe, deciding()])
    return hashlib.sha256(text.encode()).hexdigest()[:12]
