"""Ragged text: share of one sentence's update by position, short against long ones."""

import numpy as np
import polars as pl
from matplotlib.axes import Axes

from rnnjax.report.aggregate import maximum, minimum
from rnnjax.report.conditions import in_order, left_out, places, some
from rnnjax.report.figures.lag import STAGES
from rnnjax.report.figures.words_strip import kernel_name, main_kernels
from rnnjax.report.layout import EndLabel, Size, gridlines, label_ends, panels, title
from rnnjax.report.style import GRID, Drawing, Palette, style


SHORT, LONG = 8, 25
"""Words up to which a sentence is short, and from which on it is long."""

MIN_SENTENCES = 3
"""A position that fewer sentences have is not drawn."""


def buckets(shares: pl.DataFrame) -> pl.DataFrame:
    """Median share by position from the start and from the end, for each bucket.

    Returns:
        `variant`, `setting`, `distance`, `stage`, `parameter`, `bucket` (short, long),
        `end` ("start" or "end"), `position` (from 0), `share` (median over sentences
        and seeds), `low` and `high` (quartiles), `sentences` (different ones that have
        this position). Empty if all sentences have one length.
    """
    keys = ["variant", "setting", "distance", "stage", "parameter", "bucket"]
    sorted_in = (
        shares.filter(pl.col("share").is_finite())
        .with_columns(
            pl.when(pl.col("length") <= SHORT)
            .then(pl.lit("short"))
            .when(pl.col("length") >= LONG)
            .then(pl.lit("long"))
            .alias("bucket")
        )
        .drop_nulls("bucket")
    )
    lengths = shares.group_by("setting", "distance").agg(pl.col("length").n_unique())
    if (lengths["length"] == 1).all():  # also without any
        sorted_in = sorted_in.clear()
    sides = [
        sorted_in.with_columns(
            pl.lit(end).alias("end"), position.cast(pl.Int64).alias("position")
        )
        for end, position in (
            ("start", pl.col("time")),
            ("end", pl.col("length") - 1 - pl.col("time")),
        )
    ]
    return (
        pl.concat(sides)
        .group_by(*keys, "end", "position", maintain_order=True)
        .agg(
            pl.col("share").median(),
            pl.col("share").quantile(0.25).alias("low"),
            pl.col("share").quantile(0.75).alias("high"),
            pl.col("sentence").n_unique().alias("sentences"),
        )
        .sort(*keys, "end", "position")
    )


def share_by_position(
    shares: pl.DataFrame, palette: Palette, axis: str
) -> Drawing | None:
    """Rows: short and long sentences of each condition; columns: stage and end."""
    table = buckets(shares)
    if table.is_empty():
        return None
    names = main_kernels(table, 3)
    kernel = next((name for name in names if kernel_name(name) == "V"), names[0])
    enough = pl.col("sentences") >= MIN_SENTENCES
    table = table.filter(pl.col("parameter") == kernel, enough)
    if table.is_empty():
        return None
    found = places(table)
    shown = some(found, 3)
    rows = [
        (place, bucket)
        for place in shown
        for bucket in ("short", "long")
        if not place.of(table).filter(bucket=bucket).is_empty()
    ]
    columns = [
        (stage, end)
        for stage in STAGES
        for end in ("start", "end")
        if (table["stage"] == stage).any()
    ]
    gutter = 0.065 * max(map(len, table["variant"])) + 0.2
    height = max(1.5, 0.135 * table["variant"].n_unique())
    size = Size(1.75, height, gap_x=0.25, gap_y=0.65, right=gutter, top=0.45)
    with style():
        figure, grid = panels(len(rows), len(columns), size)
        for (i, j), axes in np.ndenumerate(grid):
            (place, bucket), (stage, end) = rows[i], columns[j]
            own = place.of(table).filter(bucket=bucket)
            here = own.filter(stage=stage, end=end)
            if here.is_empty():
                axes.set_axis_off()
                continue
            low, high = min(minimum(own["share"]), 0), max(maximum(own["share"]), 0.1)
            axes.set_ylim(low - 0.02, high + 0.02)
            _panel(axes, here, palette, j == len(columns) - 1)
            heading = ", ".join(filter(None, [bucket, place.title(axis)]))
            n = here["sentences"].max()
            title(axes, f"{heading}, n = {n}\n{STAGES[stage]}")
            if j == 0:
                axes.set_ylabel("share of its update")
            else:
                axes.set_yticklabels([])
            if i == len(rows) - 1:
                axes.set_xlabel(f"words from the {end}")
    caption = (
        f"Share of each position in the update of {kernel_name(kernel)} that one "
        f"sentence alone would make: short sentences have at most {SHORT} words, long "
        f"ones at least {LONG} (padding words included); n different sentences. Line: "
        f"median over sentences and seeds. Positions that fewer than {MIN_SENTENCES} "
        "sentences have are left out."
    )
    return Drawing(
        "share_by_position",
        "Share of one sentence's update by position, short against long ones",
        caption + left_out(found, shown),
        figure,
        table,
    )


def _panel(axes: Axes, table: pl.DataFrame, palette: Palette, labels: bool) -> None:
    ends = []
    for name in in_order(table, list(palette)):
        line = palette[name]
        curve = table.filter(variant=name).sort("position")
        x, y = curve["position"].to_numpy(), curve["share"].to_numpy()
        axes.plot(x, y, color=line.colour, linestyle=line.dash, linewidth=1.2)
        # The end of the sentence is on the right.
        right = y[0] if (curve["end"] == "end").all() else y[-1]
        ends.append(EndLabel(float(right), name, line.colour))
    axes.axhline(0, color=GRID, linewidth=0.8, zorder=0)
    if (table["end"] == "end").all():
        axes.set_xlim(float(np.max(table["position"].to_numpy())) or 1, 0)
    else:
        axes.set_xlim(0, float(np.max(table["position"].to_numpy())) or 1)
    gridlines(axes)
    if labels:
        label_ends(axes, ends)
