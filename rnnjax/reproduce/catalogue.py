"""Finding the figures: every module of `experiments/` that contains one."""

import importlib
import sys
from pathlib import Path
from types import ModuleType

from rnnjax.errors import unknown
from rnnjax.paths import shipped_folder
from rnnjax.reproduce.figure import Figure


ROOM = "rnnjax.experiments"
"""The package name of the modules, both in a wheel and in a checkout."""


def experiments_folder() -> Path:
    """The folder of the figures."""
    return shipped_folder("experiments")


def names() -> list[str]:
    """Names of all figures, sorted; found without importing them."""
    files = experiments_folder().glob("[a-z]*.py")
    return sorted(file.stem for file in files)


def find(name: str) -> Figure:
    """The figure with this name.

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
    """The module, imported only once, under the same name wherever its file is."""
    if ROOM not in sys.modules:
        package = ModuleType(ROOM)
        package.__path__ = [str(experiments_folder())]
        sys.modules[ROOM] = package
    return importlib.import_module(f"{ROOM}.{name}")
