"""`check_cell` finds what is wrong with a cell, and nothing wrong with right ones."""

import inspect

import pytest

from rnnjax.checking.cells import GROUPS, check_cell
from tests.broken_cells import FAULTS


DEAR = ("gradients", "use", "probes", "training")
FIRST = [label for label in FAULTS if FAULTS[label].row.startswith("contract")]


@pytest.mark.parametrize(
    "label",
    [x if x in FIRST else pytest.param(x, marks=pytest.mark.slow) for x in FAULTS],
)
def test_a_fault_is_found_with_line_cause_and_cure(label: str) -> None:
    fault = FAULTS[label]
    group, _, name = fault.row.partition("/")
    found = check_cell(fault.kind, only=[group])
    failed = {f"{row.group}/{row.name}": row for row in found.failures}
    assert fault.row in failed, str(found)
    assert len(failed) == 1 or group != "contract", str(found)
    row = failed[fault.row]
    lines, start = inspect.getsourcelines(fault.kind)
    (marked,) = [n for n, line in enumerate(lines, start) if "# wrong" in line]
    assert f"broken_cells.py:{marked}" in row.hint, row
    for word in fault.words:
        assert word in f"{row.found} {row.hint}", (word, row)
    assert str(found).count("\n") < 80


def test_what_cannot_be_examined_is_said_to_be_left_out() -> None:
    found = check_cell(FAULTS["NoReturn"].kind)
    assert {row.group for row in found.rows} == {"contract"}
    (note,) = [row for row in found.rows if row.verdict == "note"]
    assert all(group in note.found for group in GROUPS if group != "contract")
