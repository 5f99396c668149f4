"""Many runs in one compiled program.

On a CPU there is one XLA device per core, and each device computes its runs one after
the other in a loop, so that the compiled code of a run does not depend on the other
runs. The number of runs on a device is a traced trip count over a fixed capacity ≥ 2,
because a loop of constant length 1 would be compiled differently and might differ in
the last bits. Other devices use `vmap`, where a packed run agrees with the same run
computed by itself only up to `TOLERANCE`.
"""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import jax
import numpy as np
from jax import lax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from rnnjax.training.flat import Form
from rnnjax.training.shards import SHARDS


RUNS = "runs"

PLACES = 8
"""Default number of slots for runs on a device."""

How = Literal["loop", "vmap"]
"""How the runs on one device are computed: one after the other, or vectorised."""

TOLERANCE: dict[How, float] = {"loop": 0.0, "vmap": 1e-4}
"""How much packing may change a run within a dozen updates: the difference of each
parameter and metric, relative to the largest entry of its array. With `loop` a run is
bitwise identical whether packed or not. With `vmap` the reduction order differs, and
further updates amplify that like any other difference."""


def how_for(mesh: Mesh, asked: How | None = None) -> How:
    """The requested mapping, or by default the one that suits the devices of a mesh."""
    on_cpu = mesh.devices.flat[0].platform == "cpu"
    return asked or ("loop" if on_cpu else "vmap")


def run_mesh(devices: int | None = None) -> Mesh:
    """A mesh over the local devices, along which runs are distributed."""
    found = jax.local_devices()
    return Mesh(np.array(found[: devices or len(found)]), (RUNS,))


def mesh_for(mesh: Mesh, runs: int, shards: int) -> Mesh:
    """`mesh`; for a single run, a mesh that gives each of its shards a device."""
    if runs > 1 or not 1 < shards <= mesh.devices.size:
        return mesh
    return Mesh(mesh.devices[:shards].reshape(1, shards), (RUNS, SHARDS))


def over_runs(
    run: Callable[..., Any], mesh: Mesh, how: How | None = None
) -> Callable[..., Any]:
    """Map `run(one, shared)` over stacked runs; each device computes the runs it holds.

    Returns a function ``(counts, runs, shared)`` to be jitted: `counts` ``(devices,)``
    is the number of used slots on each device, `runs` a pytree with a leading axis of
    length devices × capacity, `shared` the same for all runs. Results in unused slots
    are meaningless.
    """

    def on_device(counts: Any, runs: Any, shared: Any) -> Any:
        form = Form.of(runs, leading=1)
        rows = form.join(runs)
        once = jax.jit(run, inline=True)  # so that it is traced only once

        def at(i: Any) -> Any:
            row = lambda x: lax.dynamic_index_in_dim(x, i, keepdims=False)
            return form.split(jax.tree.map(row, rows))

        result = Form.of(jax.eval_shape(lambda: once(at(0), shared)))
        capacity = jax.tree.leaves(runs)[0].shape[0]

        def body(i: Any, out: Any) -> Any:
            made = result.join(once(at(i), shared))
            put = lambda o, r: lax.dynamic_update_index_in_dim(o, r, i, 0)
            return jax.tree.map(put, out, made)

        return result.split(
            lax.fori_loop(0, counts[0], body, result.vectors((capacity,)))
        )

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
    """Runs of one signature, distributed over the devices.

    Args:
        mesh: from `run_mesh` or `mesh_for`.
        runs: number of runs.
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
        # runs are dealt to the devices in turn; entry r is the slot of run r
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
        """Shape and sharding of the result of `stack` for arrays like this one."""
        shape = (self.mesh.shape[RUNS] * self.capacity, *one.shape)
        place = NamedSharding(self.mesh, PartitionSpec(RUNS))
        return jax.ShapeDtypeStruct(shape, one.dtype, sharding=place)

    def shared(self, one: Any) -> jax.ShapeDtypeStruct:
        """Shape and sharding of the result of `share` for an array like this one."""
        place = NamedSharding(self.mesh, PartitionSpec())
        return jax.ShapeDtypeStruct(one.shape, one.dtype, sharding=place)

    def share(self, tree: Any) -> Any:
        """Copy the same arrays to every device."""
        return jax.device_put(tree, NamedSharding(self.mesh, PartitionSpec()))

    def gather(self, stacked: Any) -> Any:
        """A stacked pytree as NumPy arrays with a leading axis of runs, not slots."""
        return jax.tree.map(lambda x: np.asarray(x)[self.slots], stacked)

    def unstack(self, stacked: Any) -> list[Any]:
        """The runs of a stacked pytree, as NumPy arrays, in the order given."""
        return self.split(self.gather(stacked))

    def split(self, gathered: Any) -> list[Any]:
        """Split the result of `gather` into its runs."""
        return [jax.tree.map(lambda x, r=r: x[r], gathered) for r in range(self.runs)]
