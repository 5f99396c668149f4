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


Launcher = Callable[[Assignment, Progress, Copies], int]
"""The argument `Copies` makes the W&B copies of this process; others have their own."""

_MODULES = {
    "packed": "local",
    "basic": "local",
    "joblib": "processes",
    "ray": "ray_cluster",
    "submitit_local": "slurm",
    "submitit_slurm": "slurm",
}

_EXTRAS = {"ray": "ray", "submitit": "slurm"}
"""Optional libraries, with the extra that installs each."""


def launcher_of(name: str) -> Launcher:
    """The launcher called `name`.

    Raises:
        UserError: the library that it needs is not installed.
    """
    try:
        module = importlib.import_module(f"{__name__}.{_MODULES[name]}")
    except ImportError as error:
        extra = _EXTRAS.get(error.name or "")
        if extra is None:
            raise
        raise UserError(
            f"launcher={name} needs {error.name}: pip install 'rnnjax[{extra}]'"
        ) from None
    return getattr(module, name)
