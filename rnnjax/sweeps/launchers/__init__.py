"""Launchers: which processes compute the runs of a sweep.

Each takes an `Assignment` and works until every run of it is sealed or failed; it
returns how many failed. All of them hand runs to `rnnjax.sweeps.worker.Worker`, in this
process or in others, so a run has the same bits whoever computes it.
"""

import importlib
from collections.abc import Callable

from rnnjax.errors import UserError
from rnnjax.sweeps.copies import Copies
from rnnjax.sweeps.launchers.assignment import Assignment
from rnnjax.sweeps.progress import Progress


Launcher = Callable[[Assignment, Progress, Copies], int]
"""The copies are those to W&B of this process; other processes have their own."""

_MODULES = {
    "packed": "local",
    "basic": "local",
    "joblib": "processes",
    "ray": "ray_cluster",
    "submitit_local": "slurm",
    "submitit_slurm": "slurm",
}

_EXTRAS = {"ray": "ray", "submitit": "slurm"}
"""Libraries that an installation need not have, and the extra that brings them."""


def launcher_of(name: str) -> Launcher:
    """The launcher of that name.

    Raises:
        UserError: its library is not installed.
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
