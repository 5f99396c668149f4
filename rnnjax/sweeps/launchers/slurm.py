"""Launchers that use submitit: packs as one Slurm job array, or as processes."""

from pathlib import Path
from typing import Any

import submitit  # pyright: ignore[reportMissingImports]

from rnnjax.counting import count
from rnnjax.errors import UserError
from rnnjax.sweeps.assignment import Assignment
from rnnjax.sweeps.copies import Copies
from rnnjax.sweeps.launchers import compute
from rnnjax.sweeps.progress import Progress


LOGS = "submitit"
"""Folder in the pool for submitit's files: pickles and logs."""


class Requeued(submitit.helpers.Checkpointable):
    """A task that Slurm may stop and queue again; it resumes from its checkpoint."""

    def __init__(self, share: Assignment) -> None:
        self.share = share

    def __call__(self) -> int:
        return compute(self.share)


def submitit_slurm(assignment: Assignment, progress: Progress, copies: Copies) -> int:
    """Submit a task per pack, as a job array or as processes, and wait for them.

    Raises:
        UserError: Slurm is not available.
    """
    chosen = assignment.settings.launcher
    cluster = chosen.name.removeprefix("submitit_")
    folder = Path(assignment.settings.out).absolute() / LOGS / assignment.group
    try:
        executor: Any = submitit.AutoExecutor(folder, cluster=cluster)
    except RuntimeError as error:
        raise UserError(f"launcher={chosen.name}: {error}") from None
    executor.update_parameters(
        name=assignment.group, timeout_min=chosen.minutes, cpus_per_task=chosen.cpus
    )
    if chosen.partition:
        executor.update_parameters(slurm_partition=chosen.partition)
    if chosen.workers:
        executor.update_parameters(slurm_array_parallelism=chosen.workers)
    shares = assignment.shares(devices=chosen.cpus)
    progress.begin([share.size for share in shares], assignment.done)
    failed = 0
    with progress:
        with executor.batch():
            jobs = [executor.submit(Requeued(share)) for share in shares]
        for job, share in zip(jobs, shares, strict=True):
            try:
                failed += job.result()
            except Exception as error:  # from submitit, or raised by the job
                failed += len(share.jobs)
                reason = str(error).strip().splitlines()[-1]
                progress.warn(f"{count(len(share.jobs), 'run')} failed: {reason}")
            progress.advance(share.updates, len(share.jobs))
    return failed


submitit_local = submitit_slurm
