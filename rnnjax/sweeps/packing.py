"""Decide which runs share a program and which share a pack, and how many fit in one."""

import dataclasses
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence, Set
from pathlib import Path

from jax.sharding import Mesh

from rnnjax.errors import UserError
from rnnjax.store.checkpoint import PACKS, PackCheckpoint
from rnnjax.store.environment import deciding
from rnnjax.store.index import Row
from rnnjax.store.lease_files import leased
from rnnjax.store.manifest import Damaged, Slot
from rnnjax.store.pool import Pool
from rnnjax.store.quarantine import set_aside
from rnnjax.sweeps.jobs import Job
from rnnjax.sweeps.settings import PackConfig
from rnnjax.training.capacity import places_for
from rnnjax.training.loop import PackTraining
from rnnjax.training.pack import RUNS, TOLERANCE, how_for, mesh_for
from rnnjax.training.program import Signature
from rnnjax.training.sizes import state_bytes


@dataclasses.dataclass(frozen=True)
class JobPack:
    """Runs that one compiled program trains together."""

    members: tuple[Job, ...]
    checkpoint: PackCheckpoint

    @property
    def run_ids(self) -> tuple[str, ...]:
        """Run ids, in the order of the slots."""
        return tuple(member.run_id for member in self.members)


def make_packs(
    jobs: Sequence[Job], unfinished: Set[str], pool: Path, slots: Callable[[Job], int]
) -> list[JobPack]:
    """Packs for the unfinished runs, beginning with interrupted packs.

    A pack that left a checkpoint resumes with the same members, because its saved state
    holds exactly these; members that have been sealed since are not written again. The
    other runs are grouped by `Job.pack_key` and cut into packs of at most `slots` runs;
    `slots` is called once per group.
    """
    known = {one.run_id: one for one in jobs}
    left = [one for one in jobs if one.run_id in unfinished]
    packs: list[JobPack] = []
    taken: set[str] = set()
    for folder in sorted((pool / PACKS).glob("*")):
        checkpoint = PackCheckpoint(folder)
        try:
            members = checkpoint.members()
        except Damaged:
            continue
        fits = members and all(run_id in known for run_id in members)
        fits = fits and len(members) <= slots(known[members[0]])
        if not fits or not unfinished & set(members) or taken & set(members):
            continue
        chosen = tuple(known[run_id] for run_id in members)
        if folder.name == _pack_name(chosen):
            packs.append(JobPack(chosen, PackCheckpoint(folder, members)))
            taken |= set(members)
    groups: dict[object, list[Job]] = {}
    for one in left:
        if one.run_id not in taken:
            groups.setdefault(one.pack_key, []).append(one)
    for group in groups.values():
        size = slots(group[0])
        for start in range(0, len(group), size):
            packs.append(pack_of(group[start : start + size], pool))
    return packs


def set_aside_checkpoints(pool: Path, tell: Callable[[str], object]) -> None:
    """Move unreadable checkpoints to quarantine; their packs start from the beginning.

    Raises:
        UserError: a checkpoint cannot be moved.
    """
    for folder in sorted((pool / PACKS).glob("*")):
        try:
            PackCheckpoint(folder).members()
        except UserError as error:
            tell(set_aside(folder, pool, str(error)))


def pack_of(members: Sequence[Job], pool: Path) -> JobPack:
    """A pack of these runs, with the location of its checkpoint."""
    folder = pool / PACKS / _pack_name(members)
    run_ids = [one.run_id for one in members]
    return JobPack(tuple(members), PackCheckpoint(folder, run_ids))


def clear_leftovers(pool: Pool, rows: Mapping[str, Row]) -> None:
    """Remove checkpoints whose runs are all finished.

    They are left by a process that was killed while it sealed runs, and by a pack whose
    runs were finished in other packs. A finished run may be in training again, with
    other probes or changed code; its checkpoint stays while a process works on it.
    """
    done = {key for key, row in rows.items() if row.is_finished} - leased(pool.path)
    for folder in (pool.path / PACKS).glob("*"):
        checkpoint = PackCheckpoint(folder)
        try:
            members = checkpoint.members()
        except Damaged:  # belongs to another launch, which sets it aside
            continue
        if members and done.issuperset(members):
            checkpoint.clear()


def _pack_name(members: Sequence[Job]) -> str:
    """A digest of the members, their numbers of steps, the code and the environment."""
    record = [[one.run_id, one.schedule.steps, one.source] for one in members]
    probe = dataclasses.asdict(members[0].config.probe)
    text = json.dumps([record, probe, deciding()])
    return hashlib.sha256(text.encode()).hexdigest()[:12]


SPARE = 2**27
"""If the states of all places of a mesh take at most this many bytes, places may
stay empty."""

ROOM = 2**30
"""Most bytes of states on a device that maps runs one after another. Training uses
about four times as much memory."""


@dataclasses.dataclass(frozen=True)
class Slots:
    """The sizes of packs on some devices.

    Calling it with a job returns the largest number of runs in a pack of such jobs.

    Attributes:
        mesh: the devices.
        config: the settings of packs.
    """

    mesh: Mesh
    config: PackConfig
    _found: dict[Signature, int] = dataclasses.field(default_factory=dict)

    @property
    def side_by_side(self) -> bool:
        """Whether a device computes all its places at once, so that empty ones cost."""
        return how_for(self.mesh, self.config.how) == "vmap"

    def __call__(self, job: Job) -> int:
        known, signature = self._found, job.signature
        if signature not in known:
            places = self.config.places
            if self.config.capacity is None:
                if self.side_by_side:
                    places = places_for(job.config, signature, self.mesh)
                else:
                    places = min(places, max(2, ROOM // state_bytes(signature)))
            known[signature] = places * self.mesh.devices.size
        return known[signature]

    def places(self, members: Sequence[Job]) -> tuple[Mesh, int]:
        """The devices over which a pack is spread, and the number of places on each.

        For small runs, empty places cost nothing, so all places are provided and one
        program serves packs of any size. A large run that is the only one of its pack
        has two places on one device.
        """
        first, mesh = members[0], self.mesh
        whole = self.config.places * mesh.devices.size
        spare = not self.side_by_side and (
            self.config.capacity is not None
            or whole * state_bytes(first.signature) <= SPARE
        )
        if not spare and len(members) == 1:
            mesh = Mesh(mesh.devices[:1], (RUNS,))
        if first.signature.shards > 1:
            mesh = mesh_for(self.mesh, len(members), first.signature.shards)
        fewest = max(2, -(-len(members) // mesh.shape[RUNS]))
        return mesh, max(fewest, self.config.places) if spare else fewest


def slots_of(training: PackTraining) -> list[Slot]:
    """For each run of a pack, where and how it is computed."""
    compiled, size = training.compiled, len(training.configs)
    how, devices = compiled.mapped, compiled.mesh.shape[RUNS]
    return [Slot(size, i, how, devices, TOLERANCE[how]) for i in range(size)]
