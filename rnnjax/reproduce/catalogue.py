"""Where the figures are: every module of `experiments/` that holds one."""

import importlib.resources
import importlib.util
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
    full = f"{ROOM}.{name}"
    if full not in sys.modules:
        file = experiments_folder() / f"{name}.py"
        spec = importlib.util.spec_from_file_location(full, file)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[full] = module
        try:
            spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[full]
            raise
    return sys.modules[full]
