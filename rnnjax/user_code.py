"""Execute a user's own Python file, and say where in it an error was raised."""

import hashlib
import importlib.util
import inspect
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import Any

from rnnjax.errors import UserError


MODULE = "rnnjax_user_"
"""Prefix of the names of modules made from a user's files."""


_ours = False
"""Whether nothing but the code of this package decides what is computed."""


def begin_command() -> None:
    """Note that this process was started by the command line, not by a user's code."""
    global _ours
    _ours = True


def note_user_code() -> None:
    """Note that this process executes code of the user, which can change anything."""
    global _ours
    _ours = False


def only_own_code() -> bool:
    """Whether this process has executed no code of the user so far."""
    return _ours


def execute_file(path: Path, content: bytes | None = None) -> ModuleType:
    """Execute a file as a module of its own.

    The module is entered in `sys.modules`, where dataclasses look for it.

    Args:
        path: path of the file.
        content: content of the file if it was read before; None: it is read now.
    """
    note_user_code()
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
    except BaseException as error:  # the file may even call sys.exit
        del sys.modules[spec.name]
        raise UserError(f"{_place(path, error)}: {_one_line(error)}") from error
    return module


def where_in(kind: type, error: BaseException, method: str) -> str:
    """``file:line: `` in the user's class that caused an error; "" for our classes.

    Args:
        kind: the class.
        error: the error raised when the class was used.
        method: name of the method used. If no line of the file is in the traceback, for
            example because the method returned an unsuitable result, the last line of
            this method is given.
    """
    found, _ = place_in(kind, error, method)
    return f"{found}: " if found else ""


def place_in(
    kind: type, error: BaseException | None, method: str
) -> tuple[str, str | None]:
    """``file:line`` as in `where_in`, without colon, and the method that it lies in.

    The method is None where no line is known, or a line outside of every function.
    Without an error, the place is the last line of the method.
    """
    module = sys.modules.get(kind.__module__)
    file = getattr(module, "__file__", None)
    if file is None or kind.__module__.split(".")[0] == __package__:
        return "", None
    frames = traceback.extract_tb(error.__traceback__) if error else []
    known = [frame for frame in frames if frame.filename == file]
    if isinstance(error, SyntaxError):
        return _place(Path(file), error), None
    if known:
        name = known[-1].name
        return f"{file}:{known[-1].lineno}", None if name.startswith("<") else name
    # Flax wraps the methods of its modules
    code = getattr(inspect.unwrap(getattr(kind, method, kind)), "__code__", None)
    if code is None or code.co_filename != file:
        return file, None
    return f"{file}:{max(line for *_, line in code.co_lines() if line)}", method


def place_of(kind: type, equation: Any) -> str:
    """``file:line in method`` in a user's file that made an equation; or ""."""
    file = getattr(sys.modules.get(kind.__module__), "__file__", None)
    trace = getattr(equation.source_info, "traceback", None)
    for frame in trace.frames if trace and file else ():
        if frame.file_name == file:
            return f"{file}:{frame.line_num} in {frame.function_name.split('.')[-1]}"
    return ""


def class_place(kind: type) -> str:
    """``file:line`` where a user's class begins; "" if that is not known."""
    try:
        file, (lines, line) = inspect.getsourcefile(kind), inspect.getsourcelines(kind)
    except (OSError, TypeError):
        return ""
    if kind.__module__.split(".")[0] == __package__:
        return ""
    decorators = next(i for i, x in enumerate(lines) if x.lstrip().startswith("class"))
    return f"{file}:{line + decorators}"


def _place(path: Path, error: BaseException) -> str:
    """The file, and the last of its lines in the traceback of the error."""
    if isinstance(error, SyntaxError):
        return f"{error.filename or path}:{error.lineno}"
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if frame.filename == str(path)]
    return f"{path}:{lines[-1]}" if lines else str(path)


def _one_line(error: BaseException) -> str:
    text = error.msg if isinstance(error, SyntaxError) else str(error)
    return f"{type(error).__name__}: {text}".partition("\n")[0].rstrip(": ")
