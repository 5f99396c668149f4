"""How many runs fit on a device at a time.

Each run has a slot for its state: the parameters and the state of the optimizer. Runs
that are computed one after the other share the working memory of an update. Runs that
are vectorised each need their own, which limits how many fit on a device.
"""

from typing import Any

from jax.sharding import Mesh

from rnnjax.training.compiled import Compiled
from rnnjax.training.config import RunConfig
from rnnjax.training.pack import PLACES, RUNS
from rnnjax.training.program import Signature
from rnnjax.training.rehearsal import prepare


MAX_RUNS = 256
"""Most runs vectorised on a device: with more, runs would mostly wait for the longest
one."""

SHARE = 0.5
"""Share of a device's memory to use; the rest is for waiting packs and for gaps."""


def memory_of(device: Any) -> int | None:
    """Bytes that JAX may use on a device; None where unknown, as on a CPU."""
    return (device.memory_stats() or {}).get("bytes_limit")


def bytes_of_a_run(config: RunConfig, signature: Signature, mesh: Mesh) -> int:
    """Bytes of device memory per vectorised run, as reported by XLA.

    A program for two runs is compiled to find out; the data that both read counts half
    for each.
    """
    small = Compiled(signature, Mesh(mesh.devices.flat[:1], (RUNS,)), 2, "vmap")
    prepare(small, config)
    return max(1, small.memory() // 2)


def places_for(config: RunConfig, signature: Signature, mesh: Mesh) -> int:
    """How many vectorised runs of a signature fit on one device of a mesh."""
    limit = memory_of(mesh.devices.flat[0])
    if limit is None:
        return PLACES
    fitting = int(SHARE * limit) // bytes_of_a_run(config, signature, mesh)
    return max(2, min(MAX_RUNS, fitting))
