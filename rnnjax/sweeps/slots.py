"""How many runs share a pack, depending on their computation and the devices."""

import dataclasses
from collections.abc import Sequence

from jax.sharding import Mesh

from rnnjax.store.manifest import Slot
from rnnjax.sweeps.jobs import Job
from rnnjax.sweeps.settings import PackConfig
from rnnjax.training.capacity import places_for
from rnnjax.training.loop import PackTraining
from rnnjax.training.pack import RUNS, TOLERANCE, how_for, mesh_for
from rnnjax.training.program import Signature
from rnnjax.training.sizes import state_bytes


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
