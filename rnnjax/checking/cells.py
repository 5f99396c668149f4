"""Everything that the author of a cell can get wrong, as rows of a check."""

import dataclasses
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from rnnjax.cells import CELLS
from rnnjax.cells.base import Cell
from rnnjax.checking.cell_claims import claims
from rnnjax.checking.cell_comparison import comparison
from rnnjax.checking.cell_contract import contract, foundations
from rnnjax.checking.cell_gradients import gradients
from rnnjax.checking.cell_probes import probes
from rnnjax.checking.cell_rows import fault
from rnnjax.checking.cell_subject import Subject
from rnnjax.checking.cell_training import training
from rnnjax.checking.cell_use import use
from rnnjax.checking.rows import Check, Row
from rnnjax.checks import check_choice
from rnnjax.errors import UserError, did_you_mean
from rnnjax.recurrence.diagnosis import explain
from rnnjax.sweeps.user_files import load, reference


Examine = Callable[[Subject], Iterator[Row]]

PARTS: dict[str, tuple[Examine, ...]] = {
    "contract": (contract,),
    "gradients": (gradients,),
    "use": (use,),
    "probes": (probes, claims),
    "training": (training,),
    "compare": (comparison,),
}
"""What is examined, by group."""

GROUPS = tuple(PARTS)


def check_cell(
    cell: str | type[Cell],
    only: Sequence[str] | None = None,
    *,
    begun: Callable[[str], object] = lambda group: None,
    **options: Any,
) -> Check:
    """Examine a cell: contract, gradients, use, probes, training, and a comparison.

    Takes about a minute on one core. It never raises for a broken cell: what goes wrong
    is a failed row.

    Args:
        cell: a registered name, ``path/file.py:MyCell``, or a class.
        only: groups to examine, of `GROUPS`; None: all. The first rows of ``contract``
            are always made, because all others rest on them.
        begun: called with the name of each group before it is examined.
        options: fields of the cell.

    Raises:
        UserError: there is no such cell, group or field.
    """
    groups = GROUPS if only is None else tuple(only)
    for name in groups:
        check_choice("only", name, GROUPS)
    subject = _subject(cell, options)
    rows = list(_guarded("contract", foundations, subject))
    sound = all(row.verdict != "failed" for row in rows)
    if sound:
        for group in groups:
            begun(group)
            for part in PARTS[group]:
                rows += _guarded(group, part, subject)
    else:
        left = ", ".join(name for name in groups if name != "contract")
        said = f"{left or 'all else'}: needs a cell that passes the rows above"
        rows.append(Row("contract", "left out", "note", said))
    return Check(subject.name, tuple(rows))


def _subject(cell: str | type[Cell], options: dict[str, Any]) -> Subject:
    name, kind = cell if isinstance(cell, str) else cell.__name__, cell
    if isinstance(kind, str):
        if (place := reference(kind)) is not None:
            kind = CELLS[load("cell", *place).name]
        else:
            kind = CELLS[kind]
    if not (isinstance(kind, type) and issubclass(kind, Cell)):
        raise UserError(f"{name} is not a subclass of rnnjax.cells.Cell")
    known = [f for f in kind.__dataclass_fields__ if f not in Cell.structural]
    for field in options:
        if field not in known:
            raise UserError(f"cell {name} has no {field}: {did_you_mean(field, known)}")
    return Subject(name, kind, options)


def _guarded(group: str, examine: Examine, subject: Subject) -> Iterator[Row]:
    """The rows of one part; an exception in it becomes a failed row."""
    try:
        yield from examine(subject)
    except Exception as error:
        found = explain(error, subject.kind)
        frames = traceback.extract_tb(error.__traceback__)
        file = getattr(sys.modules.get(subject.kind.__module__), "__file__", None)
        if not any(frame.filename == file for frame in frames):
            last = frames[-1]  # no line of the cell is to blame for sure
            said = f"raised at {last.filename}:{last.lineno}"
            found = dataclasses.replace(found, place=said)
        yield fault(group, "runs to its end", found)
