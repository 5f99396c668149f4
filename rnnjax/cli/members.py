"""Functions and classes of a user's file, by name."""

from typing import TYPE_CHECKING, Any

from rnnjax.errors import UserError, did_you_mean


if TYPE_CHECKING:
    from types import ModuleType


def load_file(path: str, asked: str) -> "ModuleType":
    """Execute a file of the user's.

    Raises:
        UserError: there is none, or it fails.
    """
    from rnnjax.paths import user_path
    from rnnjax.user_code import execute_file

    place = user_path(path, asked).resolve()
    if not place.is_file():
        raise UserError(f"{asked}: there is no file {path}")
    return execute_file(place)


def defined(module: "ModuleType") -> list[str]:
    """The names of what the file defines and does not import."""
    every = vars(module).items()
    return [k for k, x in every if getattr(x, "__module__", None) == module.__name__]


def member(module: "ModuleType", path: str, name: str) -> Any:
    """What a file calls by a name.

    Raises:
        UserError: nothing.
    """
    if name not in vars(module):
        known = defined(module) or [k for k, x in vars(module).items() if callable(x)]
        raise UserError(f"{path} has no '{name}'; {did_you_mean(name, known)}")
    return vars(module)[name]
