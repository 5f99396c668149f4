"""Launchers: which processes compute the runs of a sweep.

A launcher takes an `Assignment`, works until each of its runs is sealed or has failed,
and returns the number of failures. All launchers pass runs to
`rnnjax.sweeps.worker.Worker`, in this process or in others, so a run has the same bits
whichever launcher computes it.
"""

import importlib
from collections.abc import Callable

from rnnjax.errors import UserError
from rnnjax.sweeps.copies import Copies
from rnnjax.sweeps.launchers.assignment import Assignment
from rnnjax.sweeps.progress import Progress
from rnnjax.sweeps.worker import Worker


Launcher = Callable[[Assignment, Progress, Copies], int]
"""The argument `Copies` makes the W&B copies of this process; others have their own."""

_MODULES = {
    "packed": "",
    "basic": "",
    "joblib": ".processes",
    "ray": ".ray_cluster",
    "submitit_local": ".slurm",
    "submitit_slurm": ".slurm",
}

_EXTRAS = {"ray": "ray", "submitit": "slurm"}
"""Optional libraries, with the extra that installs each."""


def launcher_of(name: str) -> Launcher:
    """The launcher called `name`.

    Raises:
        UserError: the library that it needs is not installed.
    """
    try:
        module = importlib.import_module(f"{__name__}{_MODULES[name]}")
    except ImportError as error:
        extra = _EXTRAS.get(error.name or "")
        if extra is None:
            raise
        raise UserError(
            f"launcher={name} needs {error.name}: pip install 'rnnjax[{extra}]'"
        ) from None
    return getattr(module, name)


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
