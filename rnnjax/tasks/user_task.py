"""A task of the user's own, from a file: ``file.py:MyTask``."""

import hashlib
import importlib.util
import inspect
import sys
import traceback
from pathlib import Path
from types import ModuleType

from rnnjax.errors import UserError, unknown
from rnnjax.paths import user_path
from rnnjax.tasks.base import Task


MODULE = "rnnjax_user_"
"""How the names of modules begin that are files of the user's."""


def load_task_file(reference: str) -> type[Task]:
    """The task class that ``file.py:MyTask`` names.

    The file is executed anew on every call.

    Args:
        reference: path of a Python file, a colon, the name of a subclass of `Task`.

    Raises:
        UserError: no such file or class, the class is not a `Task`, or the file raises
            an error itself (its message and line are given).
    """
    place, colon, name = reference.rpartition(":")
    path = user_path(place)
    if not colon or not place or not name or path.suffix != ".py":
        raise UserError(f"task '{reference}' is not of the form file.py:MyTask")
    if not path.is_file():
        raise UserError(f"task '{reference}': there is no file {path}")
    module = execute_file(path)
    found = getattr(module, name, None)
    if found is None:
        tasks = [key for key, value in vars(module).items() if _is_own_task(value)]
        raise unknown(f"task in {path}", name, tasks)
    if not _is_own_task(found):
        raise UserError(f"{path}: {name} is not a subclass of rnnjax.tasks.Task")
    return found


def _is_own_task(value: object) -> bool:
    return isinstance(value, type) and issubclass(value, Task) and value is not Task


def execute_file(path: Path, content: bytes | None = None) -> ModuleType:
    """Run a file as a module of its own; dataclasses need it in `sys.modules`.

    Args:
        path: of the file.
        content: what it held when it was read; None: it is read now.
    """
    digest = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:12]
    spec = importlib.util.spec_from_file_location(f"{MODULE}{digest}", path)
    if spec is None or spec.loader is None:
        raise UserError(f"{path} is not a Python file")
    content = path.read_bytes() if content is None else content
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    try:
        exec(compile(content, str(path), "exec"), vars(module))
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # it may leave, too
        del sys.modules[spec.name]
        raise UserError(f"{_place(path, error)}: {_one_line(error)}") from error
    return module


def where_in(kind: type, error: Exception, method: str) -> str:
    """``file:line: `` of the user's class that an error is due to; "" for our own.

    Args:
        kind: the class.
        error: that came of using it.
        method: whose last line is named where the error passed through no line of the
            file, as for a result that does not fit.
    """
    if not kind.__module__.startswith(MODULE):
        return ""
    file = getattr(sys.modules.get(kind.__module__), "__file__", None)
    if file is None:
        return ""
    found = _place(Path(file), error)
    # Flax wraps the methods of a module
    code = getattr(inspect.unwrap(getattr(kind, method, kind)), "__code__", None)
    if found == file and code is not None and code.co_filename == file:
        lines = [line for *_, line in code.co_lines() if line]
        found = f"{file}:{max(lines)}"
    return f"{found}: "


def _place(path: Path, error: BaseException) -> str:
    """The file, and the last of its lines that the error passed through."""
    if isinstance(error, SyntaxError):
        return f"{error.filename or path}:{error.lineno}"
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if frame.filename == str(path)]
    return f"{path}:{lines[-1]}" if lines else str(path)


def _one_line(error: BaseException) -> str:
    text = error.msg if isinstance(error, SyntaxError) else str(error)
    return f"{type(error).__name__}: {text}".partition("\n")[0].rstrip(": ")
