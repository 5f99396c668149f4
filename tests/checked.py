"""How types and array shapes are checked while the tests run.

`conftest.py` installs it as jaxtyping's type checker in the rooms that hold array
mathematics: a function there that is given, or returns, another shape than it says
fails the test. Rooms that turn bad input into an error of their own are left out.
"""

from collections.abc import Callable
from typing import Any

from beartype import BeartypeConf, beartype


ROOMS = ["activations", "cells", "recurrence", "models", "probes"]

_beartyped = beartype(conf=BeartypeConf(is_pep484_tower=True))


def functions_only(function: Callable[..., Any]) -> Callable[..., Any]:
    """Check a function or method, but not how a dataclass is built.

    JAX fills pytrees with axes, shapes and placeholders where arrays are declared.
    """
    return function if function.__name__ == "__init__" else _beartyped(function)
