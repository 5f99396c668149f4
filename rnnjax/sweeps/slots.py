"""How many runs share a pack, by what they compute and the devices there are."""

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
"""Bytes of the states of all places of a mesh, up to which they may stand empty."""

ROOM = 2**30
"""Bytes of the states on a device that are mapped one after the other. Training holds
about four times as much."""


@dataclasses.dataclass(frozen=True)
class Slots:
    """The sizes of packs on some devices; called with a run, the most that join it.

    Attributes:
        mesh: the devices.
        config: what was asked for.
    """

    mesh: Mesh
    config: PackConfig
    _found: dict[Signature, int] = dataclasses.field(default_factory=dict)

    @property
    def side_by_side(self) -> bool:
        """Whether the runs of a device each take memory, and time where none is."""
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
        """The devices that a pack is spread over, and the places on each of them.

        Empty places of small runs cost nothing, and one program serves packs of any
        size then. A large run that is alone has two places on one device.
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
    """Where and how each run of a pack is computed."""
    compiled, size = training.compiled, len(training.configs)
    how, devices = compiled.mapped, compiled.mesh.shape[RUNS]
    return [Slot(size, i, how, devices, TOLERANCE[how]) for i in range(size)]
