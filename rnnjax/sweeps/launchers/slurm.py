"""Launchers that use submitit: packs as one Slurm job array, or as processes."""

from pathlib import Path
from typing import Any

import submitit  # pyright: ignore[reportMissingImports]

from rnnjax.counting import count
from rnnjax.errors import UserError
from rnnjax.sweeps.copies import Copies
from rnnjax.sweeps.launchers.assignment import Assignment
from rnnjax.sweeps.progress import Progress


LOGS = "submitit"
"""Folder in the pool for submitit's files: pickles and logs."""


class Requeued:
    """A task that Slurm may stop and queue again; it resumes from its checkpoint."""

    def __init__(self, share: Assignment) -> None:
        self.share = share

    def __call__(self) -> int:
        return self.share.compute()

    def checkpoint(self) -> Any:
        """The task that submitit queues again after a timeout or preemption."""
        return submitit.helpers.DelayedSubmission(Requeued(self.share))


def submitit_slurm(assignment: Assignment, progress: Progress, copies: Copies) -> int:
    """Submit one job array with a task per pack, and wait until all are done.

    Raises:
        UserError: Slurm is not available.
    """
    return _carry_out(assignment, progress, "slurm")


def submitit_local(assignment: Assignment, progress: Progress, copies: Copies) -> int:
    """Run one process per pack, all at the same time."""
    return _carry_out(assignment, progress, "local")


def _carry_out(assignment: Assignment, progress: Progress, cluster: str) -> int:
    executor = _executor(assignment, cluster)
    shares = assignment.shares(devices=assignment.settings.launcher.cpus)
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


def _executor(assignment: Assignment, cluster: str) -> Any:
    chosen = assignment.settings.launcher
    folder = Path(assignment.settings.out).absolute() / LOGS / assignment.group
    try:
        executor = submitit.AutoExecutor(folder, cluster=cluster)
    except RuntimeError as error:
        raise UserError(f"launcher={chosen.name}: {error}") from None
    executor.update_parameters(
        name=assignment.group, timeout_min=chosen.minutes, cpus_per_task=chosen.cpus
    )
    if cluster == "slurm":
        if chosen.partition:
            executor.update_parameters(slurm_partition=chosen.partition)
        if chosen.workers:
            executor.update_parameters(slurm_array_parallelism=chosen.workers)
    return executor
