"""A compact table for the end of a command."""

from pathlib import Path

import polars as pl
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from rnnjax import results
from rnnjax.report.conditions import Condition, places
from rnnjax.report.flow import read_flow
from rnnjax.report.naming import number, score, span
from rnnjax.report.provenance import sweep_record
from rnnjax.report.runs import Runs, tidy
from rnnjax.report.tables import decay_at, outcomes


COLUMNS = 6
"""With more places than this, every place has a row of its own."""


def summary(sweep_dir: str | Path) -> RenderableType:
    """Variants down, distances across: metric, seeds that solved it, decay at start.

    Args:
        sweep_dir: a sweep folder, a pool of runs, or a single run directory.

    Raises:
        UserError: the folder holds none of them.
    """
    found = results.load(sweep_dir)
    record = sweep_record(Path(sweep_dir))
    runs = tidy(found, record.groups if record else None)
    ended = outcomes(runs.frame, runs.metric)
    decays = decay_at(read_flow(runs.frame).decays)
    across = places(ended)
    if len(across) > COLUMNS:
        table = _tall(runs, ended, decays)
    else:
        table = Table("variant", box=None, pad_edge=False, header_style="bold")
        for place in across:
            table.add_column(place.title(runs.axis_name) or runs.metric)
        for name in runs.variants:
            cells = [_cell(runs, place, name, ended, decays) for place in across]
            table.add_row(name, *cells)
    legend = (
        f"{runs.metric}: median (range over seeds); seeds that solved the task; "
        "change of log₁₀‖λ‖ per step of lag at initialisation"
    )
    return Group(table, Text(legend, style="dim"))


def _tall(runs: Runs, ended: pl.DataFrame, decays: pl.DataFrame) -> Table:
    table = Table(runs.axis_name, "variant", runs.metric, box=None, pad_edge=False)
    for place in places(ended):
        for name in runs.variants:
            cell = _cell(runs, place, name, ended, decays)
            table.add_row(place.title(runs.axis_name), name, cell)
    return table


def _cell(
    runs: Runs, place: Condition, name: str, ended: pl.DataFrame, decays: pl.DataFrame
) -> Text:
    rows = place.of(ended).filter(variant=name).to_dicts()
    if not rows:
        return Text("")
    (row,) = rows
    text = Text()
    if row["median"] is not None:
        text.append(score(row["median"], runs.is_share), style="bold")
        if row["seeds"] > 1:
            text.append(f" ({span(row['low'], row['high'], runs.is_share)})")
    style = "green" if row["solved"] == row["seeds"] else ""
    text.append(f"\n{row['solved']}/{row['seeds']}", style=style)
    slopes = place.of(decays).filter(variant=name)["slope"].to_list()
    if slopes and slopes[0] is not None:
        text.append(f"  {number(slopes[0], 3)}", style="dim")
    for status in ("diverged", "unfinished"):
        if row[status]:
            text.append(f"\n{row[status]} {status}", style="red")
    return text
