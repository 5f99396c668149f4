"""Launchers: which processes compute the runs of a sweep.

A launcher takes an `Assignment`, works until each of its runs is sealed or has failed,
and returns the number of failures. All launchers pass runs to
`rnnjax.sweeps.worker.Worker`, in this process or in others, so a run has the same bits
whichever launcher computes it.
"""

import dataclasses
import importlib
import itertools
import os
from collections.abc import Callable

from rnnjax.devices import use_devices
from rnnjax.errors import UserError
from rnnjax.executables.folder import keep_programs
from rnnjax.sweeps.assignment import Assignment
from rnnjax.sweeps.copies import Copies
from rnnjax.sweeps.job_data import check_loaded
from rnnjax.sweeps.progress import Progress, Warnings
from rnnjax.sweeps.user_files import register
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
    worker = Worker(assignment, progress, copies)
    return worker.compute(worker.packs(assignment.jobs, assignment.unfinished))


def basic(assignment: Assignment, progress: Progress, copies: Copies) -> int:
    """Compute one run after another, in the order of the jobs; programs are shared."""
    worker = Worker(assignment, progress, copies)
    packs = (worker.packs([job], {job.run_id}) for job in assignment.left)
    return worker.compute([*itertools.chain(*packs)])


def compute(share: Assignment) -> int:
    """Compute a share, in another process; returns the number of failed runs.

    The process has to see the pool under the same path. This may be called again after
    an interruption: sealed runs are skipped, and a pack resumes from its checkpoint.
    """
    keep_programs()
    use_devices(share.settings.pack.devices or 1)
    os.chdir(share.folder)
    for job in share.jobs:
        for file in job.files:
            if register(file).digests != file.digests:
                raise UserError(
                    f"'{file.path}' imports a module that has changed since the launch "
                    "began; launch it again"
                )
    check_loaded(share.jobs)
    # computed in this process: its code and precision decide the run ids
    unfinished = frozenset(job.run_id for job in share.jobs)
    here = dataclasses.replace(share, unfinished=unfinished)
    return packed(here, Warnings(), Copies())
