"""Vanishing and exploding gradients in recurrent networks, made measurable.

- `train` a network, `open_run` what it left, `results.load` tables of many runs;
- `probe` the gradient flow of any JAX program, `value_and_flow` that of each update;
- `intervene` in its states, or see which inputs it depends on: `input_influence`;
- `Recurrent` runs a `Cell` over a sequence, `SequenceModel` is a whole network;
- `register_cell`, `register_task` give a class of yours a name in configurations.

The command line is ``rnnjax --help``. Nothing is imported before it is used.
"""

import importlib
from typing import TYPE_CHECKING, Any

import rnnjax.loaded  # noqa: F401  first of all, before any file can change


if TYPE_CHECKING:
    from rnnjax import results
    from rnnjax.analysis.flow_in_training import value_and_flow
    from rnnjax.analysis.front import probe
    from rnnjax.analysis.input_influence import input_influence
    from rnnjax.analysis.interventions import intervene
    from rnnjax.cells import Cell, register_cell
    from rnnjax.errors import UserError
    from rnnjax.models.sequence import SequenceModel
    from rnnjax.probes.programs.folding import associative_scan
    from rnnjax.recurrence.layer import Recurrent
    from rnnjax.run import Run, open_run, train
    from rnnjax.tasks import Task, register_task

__all__ = [
    "Cell",
    "Recurrent",
    "Run",
    "SequenceModel",
    "Task",
    "UserError",
    "associative_scan",
    "input_influence",
    "intervene",
    "open_run",
    "probe",
    "register_cell",
    "register_task",
    "results",
    "train",
    "value_and_flow",
]

_HOMES = {
    "Cell": "cells",
    "Recurrent": "recurrence.layer",
    "Run": "run",
    "SequenceModel": "models.sequence",
    "Task": "tasks",
    "UserError": "errors",
    "associative_scan": "probes.programs.folding",
    "input_influence": "analysis.input_influence",
    "intervene": "analysis.interventions",
    "open_run": "run",
    "probe": "analysis.front",
    "register_cell": "cells",
    "register_task": "tasks",
    "train": "run",
    "value_and_flow": "analysis.flow_in_training",
}


def __getattr__(name: str) -> Any:
    if name == "results":
        return importlib.import_module("rnnjax.results")
    if name in _HOMES:
        return getattr(importlib.import_module(f"rnnjax.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'rnnjax' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
