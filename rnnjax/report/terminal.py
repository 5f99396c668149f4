"""A compact table for the end of a command."""

from pathlib import Path

import polars as pl
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from rnnjax.report.conditions import Condition, places
from rnnjax.report.flow import read_flow
from rnnjax.report.naming import number, score, span
from rnnjax.report.runs import Runs, read_runs
from rnnjax.report.tables import decay_at, outcomes


COLUMNS = 6
"""With more places than this, every place has a row of its own."""


def summary(sweep_dir: str | Path) -> RenderableType:
    """Variants down, distances across: metric, seeds that solved it, decay at start.

    Raises:
        UserError: the folder holds no sweep, pool of runs or run.
    """
    runs = read_runs(Path(sweep_dir))[1]
    ended = outcomes(runs.frame, runs.metric)
    decays = decay_at(read_flow(runs.frame).decays)
    across = places(ended)
    if len(across) > COLUMNS:
        table = Table(runs.axis_name, "variant", runs.metric, box=None, pad_edge=False)
        for place in across:
            for name in runs.variants:
                cell = _cell(runs, place, name, ended, decays)
                table.add_row(place.title(runs.axis_name), name, cell)
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
