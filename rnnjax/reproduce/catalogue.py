"""Where the figures are: every module of `experiments/` that holds one."""

import importlib
import importlib.resources
import sys
from pathlib import Path
from types import ModuleType

import rnnjax
from rnnjax.errors import unknown
from rnnjax.reproduce.figure import Figure


ROOM = "rnnjax.experiments"
"""The name that the modules go by, in a wheel and in a checkout alike."""


def experiments_folder() -> Path:
    """Inside the package, or on top of a checkout."""
    inside = Path(str(importlib.resources.files(rnnjax) / "experiments"))
    beside = Path(rnnjax.__file__).parents[1] / "experiments"
    return inside if inside.is_dir() else beside


def names() -> list[str]:
    """Names of all figures, sorted; nothing is imported."""
    files = experiments_folder().glob("[a-z]*.py")
    return sorted(file.stem for file in files)


def find(name: str) -> Figure:
    """The figure of this name.

    Raises:
        UserError: there is none.
    """
    known = names()
    if name not in known:
        raise unknown("figure", name, known)
    return _module(name).FIGURE


def figures() -> list[Figure]:
    """All figures, in the order of the gallery."""
    return sorted((find(name) for name in names()), key=_place)


def _place(figure: Figure) -> tuple[int, str]:
    digits = "".join(filter(str.isdigit, figure.place))
    return int(digits), figure.place


def _module(name: str) -> ModuleType:
    """The module, imported once under one name wherever its file lies."""
    if ROOM not in sys.modules:
        package = ModuleType(ROOM)
        package.__path__ = [str(experiments_folder())]
        sys.modules[ROOM] = package
    return importlib.import_module(f"{ROOM}.{name}")
