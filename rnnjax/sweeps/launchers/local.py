"""Launchers that compute runs in this process."""

from rnnjax.sweeps.copies import Copies
from rnnjax.sweeps.launchers.assignment import Assignment
from rnnjax.sweeps.progress import Progress
from rnnjax.sweeps.worker import Worker


def packed(assignment: Assignment, progress: Progress, copies: Copies) -> int:
    """Compute packs, each spread over the devices; one program per signature."""
    worker = Worker(assignment.settings, assignment.group, progress, copies=copies)
    return worker.compute(assignment.jobs, assignment.rows, assignment.unfinished)


def basic(assignment: Assignment, progress: Progress, copies: Copies) -> int:
    """Compute one run after another, in the order of the jobs; programs are shared."""
    worker = Worker(assignment.settings, assignment.group, progress, copies=copies)
    packs = [
        pack
        for job in assignment.left
        for pack in worker.packs([job], assignment.rows, {job.run_id})
    ]
    return worker.compute_packs(packs, assignment.unfinished, assignment.done)
