"""Accuracy, or error, against distance: how far does a network remember?"""

import polars as pl
from matplotlib.axes import Axes

from rnnjax.report.aggregate import maximum, minimum
from rnnjax.report.layout import Size, small_multiples, title
from rnnjax.report.naming import whole
from rnnjax.report.runs import WORDS
from rnnjax.report.style import GRID, SOFT, Drawing, Palette, style


COLUMNS = 4


def metric_against_distance(
    runs: pl.DataFrame, palette: Palette, axis: str, metric: str
) -> Drawing | None:
    """One panel per variant: every seed a dot, a line through the medians."""
    known = runs.filter(pl.col("metric").is_not_nan(), pl.col("distance").is_not_null())
    if known["distance"].n_unique() < 2:
        return None
    settings = known["setting"].unique(maintain_order=True).to_list()
    lines = [
        (setting, name)
        for setting in settings
        for name in palette
        if not known.filter(setting=setting, variant=name).is_empty()
    ]
    distances = sorted(known["distance"].unique())
    low, high = _limits(known, metric)
    size = Size(2.1, 1.35, gap_x=0.3, gap_y=0.5)
    with style():
        figure, grid = small_multiples(len(lines), size, COLUMNS)
        for i, (axes, (setting, name)) in enumerate(zip(grid, lines, strict=True)):
            here = known.filter(setting=setting)
            _panel(axes, here, name, palette)
            axes.set_ylim(low, high)
            _distance_axis(axes, distances)
            title(axes, ", ".join(filter(None, [name, setting])), palette[name].colour)
            if i % COLUMNS == 0:
                axes.set_ylabel(metric)
            else:
                axes.set_yticklabels([])
            if i >= len(lines) - COLUMNS:
                axes.set_xlabel(axis)
            else:
                axes.set_xticklabels([])
    caption = (
        f"Held-out {metric} by {axis}. Dot: one seed; line: median over seeds; thin "
        "grey lines: the other networks; dotted: the best predictor without memory."
    )
    data = known.select(
        *("variant", "setting", "distance", "seed", "status"),
        *(name for name in map("test_{}".format, WORDS) if name in known.columns),
        *("baseline", "solved"),
    )
    name = f"{metric.replace(' ', '_')}_against_{axis}"
    return Drawing(name, f"{metric.capitalize()} against {axis}", caption, figure, data)


def _panel(axes: Axes, runs: pl.DataFrame, name: str, palette: Palette) -> None:
    for other, line in palette.items():
        curve = (
            runs.filter(variant=other)
            .group_by("distance")
            .agg(pl.col("metric").median())
            .sort("distance")
        )
        own = other == name
        axes.plot(
            curve["distance"],
            curve["metric"],
            color=line.colour if own else GRID,
            linestyle=line.dash if own else "-",
            linewidth=1.6 if own else 0.9,
            zorder=3 if own else 1,
        )
    dots = runs.filter(variant=name)
    axes.plot(
        dots["distance"],
        dots["metric"],
        "o",
        color=palette[name].colour,
        markersize=4,
        alpha=0.75,
        markeredgewidth=0,
        zorder=4,
        clip_on=False,
    )
    base = runs.group_by("distance").agg(pl.col("baseline").median()).sort("distance")
    axes.plot(
        base["distance"],
        base["baseline"],
        color=SOFT,
        linewidth=0.9,
        linestyle=(0, (1, 2)),
        zorder=2,
    )


def _limits(known: pl.DataFrame, metric: str) -> tuple[float, float]:
    values = pl.concat([known["metric"], known["baseline"].alias("metric")])
    low, high = minimum(values), maximum(values)
    if metric == "accuracy":
        return max(0.0, low - 0.06), min(1.0, high + 0.06) + 0.02
    room = 0.06 * ((high - low) or 1.0)
    return low - room, high + room


def _distance_axis(axes: Axes, distances: list[float]) -> None:
    if distances[0] > 0:
        axes.set_xscale("log")
        axes.set_xlim(distances[0] / 1.25, distances[-1] * 1.25)
    axes.set_xticks(distances, [whole(d) for d in distances])
    axes.set_xticks([], minor=True)
