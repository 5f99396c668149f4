"""How many runs a device takes at a time.

Each run has a place for its state: parameters and what the optimizer keeps. Runs that
are mapped one after the other share the memory of an update; side by side each needs
its own of that too, and a device is full sooner or later.
"""

from typing import Any

from jax.sharding import Mesh

from rnnjax.training.compiled import Compiled
from rnnjax.training.config import RunConfig
from rnnjax.training.pack import PLACES, RUNS
from rnnjax.training.program import Signature
from rnnjax.training.rehearsal import prepare


MOST = 256
"""Side by side on a device: more would only make runs wait for the longest of them."""

SHARE = 0.5
"""Of the memory of a device; the rest is for packs that wait, and for gaps."""


def memory_of(device: Any) -> int | None:
    """Bytes that JAX may take on a device; None where it does not say, as on a CPU."""
    return (device.memory_stats() or {}).get("bytes_limit")


def bytes_of_a_run(config: RunConfig, signature: Signature, mesh: Mesh) -> int:
    """What one more run takes of a device side by side with others, by XLA's account.

    A program for two is compiled for that; data that both read count half for each.
    """
    small = Compiled(signature, Mesh(mesh.devices.flat[:1], (RUNS,)), 2, "vmap")
    prepare(small, config)
    return max(1, small.memory() // 2)


def places_for(config: RunConfig, signature: Signature, mesh: Mesh) -> int:
    """How many runs of a signature fit side by side on one device of a mesh."""
    limit = memory_of(mesh.devices.flat[0])
    if limit is None:
        return PLACES
    fitting = int(SHARE * limit) // bytes_of_a_run(config, signature, mesh)
    return max(2, min(MOST, fitting))
