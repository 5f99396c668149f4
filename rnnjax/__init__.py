"""Vanishing and exploding gradients in recurrent networks, made measurable.

Start with `rnnjax.train`, `rnnjax.probe`, `rnnjax.results.load`, `rnnjax.cells.Cell`;
the command line is ``rnnjax --help``. Nothing is imported before it is used.
"""

import importlib
from typing import TYPE_CHECKING, Any

import rnnjax.loaded  # noqa: F401  first of all, before any file can change


if TYPE_CHECKING:
    from rnnjax import results
    from rnnjax.analysis.any_model import probe
    from rnnjax.run import Run, open_run, train

_PUBLIC = {
    "Run": "rnnjax.run",
    "open_run": "rnnjax.run",
    "probe": "rnnjax.analysis.any_model",
    "train": "rnnjax.run",
}

__all__ = ["Run", "open_run", "probe", "results", "train"]


def __getattr__(name: str) -> Any:
    if name == "results":
        return importlib.import_module("rnnjax.results")
    if name in _PUBLIC:
        return getattr(importlib.import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'rnnjax' has no attribute {name!r}")
