"""The command `rnnjax check`: is this cell right, is this gradient right?"""

from rnnjax.checking.rows import MARKS, Check
from rnnjax.terminal import console


def show(found: Check, as_json: bool) -> int:
    """Print a check as a table or as JSON; the exit status is 1 if a row failed."""
    if as_json:
        print(found.to_json())
        return int(not found.passed)
    from rich.table import Table
    from rich.text import Text

    colours = {"passed": "green", "failed": "bold red", "note": "dim"}
    table = Table("", "group", "what", "found", title=f"check of {found.of}")
    for row in found.rows:
        text = Text(row.found)
        if row.hint:
            text.append(f"\n{row.hint}", style="bold")
        mark = Text(MARKS[row.verdict], style=colours[row.verdict])
        table.add_row(mark, row.group, row.name, text)
    failed = len(found.failures)
    last = f"{failed} of {len(found.rows)} rows failed" if failed else "all rows passed"
    console().print(table, last, sep="\n")
    return int(not found.passed)
