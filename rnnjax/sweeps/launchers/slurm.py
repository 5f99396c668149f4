"""Packs as one job array of Slurm, through submitit; or as its local processes."""

from pathlib import Path
from typing import Any

import submitit  # pyright: ignore[reportMissingImports]

from rnnjax.errors import UserError
from rnnjax.sweeps.launchers.order import Order, Parcel


LOGS = "submitit"
"""Folder of the pool that holds what submitit writes: pickles and logs."""


class Requeued:
    """A parcel that Slurm may stop: it is queued again, and goes on from its saves."""

    def __init__(self, parcel: Parcel) -> None:
        self.parcel = parcel

    def __call__(self) -> int:
        return self.parcel()

    def checkpoint(self) -> Any:
        """What submitit queues when the time is up or the node is wanted."""
        return submitit.helpers.DelayedSubmission(Requeued(self.parcel))


def submitit_slurm(order: Order) -> int:
    """One array over all packs; waits until they are done.

    Raises:
        UserError: Slurm is not there.
    """
    return _carry_out(order, "slurm")


def submitit_local(order: Order) -> int:
    """A process for each pack, all at once."""
    return _carry_out(order, "local")


def _carry_out(order: Order, cluster: str) -> int:
    executor = _executor(order, cluster)
    parcels = order.parcels(devices=order.settings.launcher.cpus)
    order.progress.begin([parcel.size for parcel in parcels], order.there)
    failed = 0
    with order.progress:
        with executor.batch():
            jobs = [executor.submit(Requeued(parcel)) for parcel in parcels]
        for job, parcel in zip(jobs, parcels, strict=True):
            try:
                failed += job.result()
            except (
                Exception
            ) as error:  # of submitit's own kinds, or what the job raised
                failed += len(parcel.jobs)
                reason = str(error).strip().splitlines()[-1]
                order.progress.warn(f"{len(parcel.jobs)} runs failed: {reason}")
            order.progress.advance(parcel.updates, len(parcel.jobs))
    return failed


def _executor(order: Order, cluster: str) -> Any:
    chosen = order.settings.launcher
    folder = Path(order.settings.out).absolute() / LOGS / order.group
    try:
        executor = submitit.AutoExecutor(folder, cluster=cluster)
    except RuntimeError as error:
        raise UserError(f"launcher={chosen.name}: {error}") from None
    executor.update_parameters(
        name=order.group, timeout_min=chosen.minutes, cpus_per_task=chosen.cpus
    )
    if cluster == "slurm":
        if chosen.partition:
            executor.update_parameters(slurm_partition=chosen.partition)
        if chosen.workers:
            executor.update_parameters(slurm_array_parallelism=chosen.workers)
    return executor
