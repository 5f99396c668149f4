"""The command `rnnjax check`: is this cell right, is this gradient right?"""

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from rnnjax.cli.members import defined, load_file, member
from rnnjax.errors import UserError
from rnnjax.terminal import console, error_screen


if TYPE_CHECKING:
    from types import ModuleType

    from rnnjax.cells.base import Cell
    from rnnjax.checking.rows import Check


def check(asked: argparse.Namespace) -> int:
    """Check a cell, or the gradients of a function of a user's file; print a table.

    Returns:
        0, or 1 if a row failed.

    Raises:
        UserError: there is no such cell, file or function, or its arguments do not fit.
    """
    from rnnjax.cells.base import CELLS, Cell
    from rnnjax.sweeps.user_files import reference

    named = reference(asked.target)
    if named is None:
        if asked.target not in CELLS and asked.target.endswith(".py"):
            known = ", ".join(defined(load_file(asked.target, asked.target))) or "none"
            raise UserError(
                f"'{asked.target}' names a file alone; write {asked.target}:NAME, one "
                f"of its cells and functions: {known}"
            )
        CELLS[asked.target]  # an unknown name is refused, with those near to it
        return _cell(asked.target, asked)
    module = load_file(named[0], asked.target)
    what = member(module, *named)
    if isinstance(what, type) and issubclass(what, Cell):
        return _cell(what, asked)
    if not callable(what):
        raise UserError(f"{asked.target} is neither a cell nor a function")
    return _gradients(what, module, named, asked)


def _cell(cell: "str | type[Cell]", asked: argparse.Namespace) -> int:
    from rnnjax.checking.cells import check_cell

    for option in ("reference", "args", "window"):
        if getattr(asked, option) is not None:
            raise UserError(f"--{option} is for functions; {asked.target} is a cell")
    only = None if asked.only is None else [x.strip() for x in asked.only.split(",")]
    with error_screen().status("contract") as status:  # nothing unless on a terminal
        found = check_cell(cell, only=only, begun=status.update)
    return show(found, asked.json)


def _gradients(
    function: Callable[..., Any],
    module: "ModuleType",
    named: tuple[str, str],
    asked: argparse.Namespace,
) -> int:
    from rnnjax.checking.gradients import check_gradients

    if asked.only is not None:
        raise UserError(f"--only chooses rows of a cell; {named[1]} is a function")
    reference = None
    if asked.reference is not None:
        reference = _named_function(asked.reference, module, named[0])
    args = _arguments(asked, module, named)
    with error_screen().status("comparing gradients"):
        found = check_gradients(function, reference, args, window=asked.window)
    return show(found, asked.json)


def _arguments(
    asked: argparse.Namespace, module: "ModuleType", named: tuple[str, str]
) -> Any:
    """Shapes as text, or a function that makes arguments."""
    path, name = named
    if asked.args is not None:
        if asked.args.isidentifier() or ".py:" in asked.args:
            return _named_function(asked.args, module, path)
        return asked.args
    own = vars(module).get(f"{name}_args")
    if not callable(own):
        raise UserError(
            f"{asked.target} needs arguments: --args with shapes such as "
            "'{U: 8x8, b: 8} 4x8 Tx4x3' (T: the steps) or with the name of a function "
            f"(seed, steps) -> arguments, or a function {name}_args in the file"
        )
    return own


def _named_function(name: str, module: "ModuleType", path: str) -> Callable[..., Any]:
    """A function of the same file, or of another one as ``FILE.py:NAME``."""
    from rnnjax.sweeps.user_files import reference

    other = reference(name)
    if other is not None:
        module, (path, name) = load_file(other[0], name), other
    found = member(module, path, name)
    if not callable(found):
        raise UserError(f"{path}:{name} is not a function")
    return found


def show(found: "Check", as_json: bool) -> int:
    """Print a check as a table or as JSON; the exit status is 1 if a row failed."""
    from rich.table import Table
    from rich.text import Text

    from rnnjax.checking.rows import MARKS

    if as_json:
        print(found.to_json())
        return int(not found.passed)
    colours = {"passed": "green", "failed": "bold red", "note": "dim"}
    table = Table("", "group", "what", "found", title=f"check of {found.of}")
    for row in found.rows:
        text = Text(row.found)
        if row.hint:
            text.append(f"\n{row.hint}", style="bold")
        mark = Text(MARKS[row.verdict], style=colours[row.verdict])
        table.add_row(mark, row.group, row.name, text)
    failed = len(found.failures)
    last = f"{failed} of {len(found.rows)} rows failed" if failed else "no row failed"
    console().print(table, last, sep="\n")
    return int(not found.passed)
