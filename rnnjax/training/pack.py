"""Many runs in one compiled program.

CPU: one XLA device per core; each maps its runs one after the other, which keeps the
code of a run the same whatever stands beside it. The number of runs on a device is a
traced trip count over a fixed capacity ≥ 2, because a loop of constant length 1 is
compiled differently and may differ in the last bits. Other devices: `vmap`, where a run
in company agrees with the same run alone up to `TOLERANCE`.
"""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from rnnjax.training.shards import SHARDS


RUNS = "runs"

PLACES = 8
"""For runs on a device, where nothing else decides."""

How = Literal["loop", "vmap"]
"""How the runs of one device are mapped: one after the other, or side by side."""

TOLERANCE: dict[How, float] = {"loop": 0.0, "vmap": 1e-4}
"""What company may change of a run in a dozen updates: each number relatively to the
largest of its array, of parameters and of metrics. Zero: no bit. `vmap` adds products
in another order; later updates carry that on like any other difference."""


def how_for(mesh: Mesh, asked: How | None = None) -> How:
    """As asked, or what suits the devices of a mesh."""
    on_cpu = mesh.devices.flat[0].platform == "cpu"
    return asked or ("loop" if on_cpu else "vmap")


def run_mesh(devices: int | None = None) -> Mesh:
    """A mesh over the local devices along which runs are spread."""
    found = jax.local_devices()
    return Mesh(np.array(found[: devices or len(found)]), (RUNS,))


def mesh_for(mesh: Mesh, runs: int, shards: int) -> Mesh:
    """`mesh`, or where one run is alone its first devices along the axis of shards."""
    if runs > 1 or not 1 < shards <= mesh.devices.size:
        return mesh
    return Mesh(mesh.devices[:shards].reshape(1, shards), (RUNS, SHARDS))


def over_runs(
    run: Callable[..., Any], mesh: Mesh, how: How | None = None
) -> Callable[..., Any]:
    """Map `run(one, shared)` over stacked runs, each device those that it holds.

    Returns a function ``(counts, runs, shared)`` to be jitted: `counts` ``(devices,)``
    runs in use on each device, `runs` a pytree with a leading axis of devices ×
    capacity, `shared` the same for all runs. What comes back in slots beyond the count
    means nothing.
    """

    def on_device(counts: Any, runs: Any, shared: Any) -> Any:
        def at(i: Any) -> Any:
            return jax.tree.map(
                lambda x: lax.dynamic_index_in_dim(x, i, keepdims=False), runs
            )

        shapes = jax.eval_shape(lambda: run(at(0), shared))
        capacity = jax.tree.leaves(runs)[0].shape[0]
        out = jax.tree.map(lambda s: jnp.zeros((capacity, *s.shape), s.dtype), shapes)

        def body(i: Any, out: Any) -> Any:
            result = run(at(i), shared)
            return jax.tree.map(
                lambda o, r: lax.dynamic_update_index_in_dim(o, r, i, 0), out, result
            )

        return lax.fori_loop(0, counts[0], body, out)

    def side_by_side(counts: Any, runs: Any, shared: Any) -> Any:
        return jax.vmap(lambda one: run(one, shared))(runs)

    inner = on_device if how_for(mesh, how) == "loop" else side_by_side
    split, whole = PartitionSpec(RUNS), PartitionSpec()
    return jax.shard_map(
        inner,
        mesh=mesh,
        in_specs=(split, split, whole),
        out_specs=split,
        check_vma=False,
    )


class Pack:
    """Runs of one signature, spread over the devices.

    Args:
        mesh: from `run_mesh` or `mesh_for`.
        runs: how many runs there are.
        capacity: slots per device, at least 2.
    """

    def __init__(self, mesh: Mesh, runs: int, capacity: int) -> None:
        devices = mesh.shape[RUNS]
        if runs > devices * capacity:
            raise ValueError(
                f"{runs} runs do not fit into {devices} × {capacity} slots"
            )
        self.mesh, self.runs, self.capacity = mesh, runs, capacity
        per_device = [len(range(d, runs, devices)) for d in range(devices)]
        self.counts = jax.device_put(
            np.array(per_device, np.int32), NamedSharding(mesh, PartitionSpec(RUNS))
        )
        # runs are dealt to the devices in turn; slot of run r
        self.slots = np.array(
            [(r % devices) * capacity + r // devices for r in range(runs)], np.int64
        )

    def stack(self, runs: Sequence[Any]) -> Any:
        """One pytree with a leading axis of slots, on the devices."""
        slots = self.mesh.shape[RUNS] * self.capacity
        sharding = NamedSharding(self.mesh, PartitionSpec(RUNS))

        def join(*leaves: Any) -> Any:
            first = np.asarray(leaves[0])
            out = np.zeros((slots, *first.shape), first.dtype)
            for slot, leaf in zip(self.slots, leaves, strict=True):
                out[slot] = np.asarray(leaf)
            return jax.device_put(out, sharding)

        return jax.tree.map(join, *runs)

    def stacked(self, one: Any) -> jax.ShapeDtypeStruct:
        """The shape that `stack` gives arrays like this one."""
        shape = (self.mesh.shape[RUNS] * self.capacity, *one.shape)
        place = NamedSharding(self.mesh, PartitionSpec(RUNS))
        return jax.ShapeDtypeStruct(shape, one.dtype, sharding=place)

    def shared(self, one: Any) -> jax.ShapeDtypeStruct:
        """The shape that `share` gives an array like this one."""
        place = NamedSharding(self.mesh, PartitionSpec())
        return jax.ShapeDtypeStruct(one.shape, one.dtype, sharding=place)

    def share(self, tree: Any) -> Any:
        """The same arrays on every device."""
        return jax.device_put(tree, NamedSharding(self.mesh, PartitionSpec()))

    def gather(self, stacked: Any) -> Any:
        """A stacked pytree as NumPy arrays with a leading axis of runs, not slots."""
        return jax.tree.map(lambda x: np.asarray(x)[self.slots], stacked)

    def unstack(self, stacked: Any) -> list[Any]:
        """The runs of a stacked pytree, as NumPy arrays, in the order given."""
        return self.split(self.gather(stacked))

    def split(self, gathered: Any) -> list[Any]:
        """The runs of what `gather` returns."""
        return [jax.tree.map(lambda x, r=r: x[r], gathered) for r in range(self.runs)]
