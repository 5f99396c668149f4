"""Training curves: loss and held-out metric against updates."""

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from rnnjax.report.aggregate import median
from rnnjax.report.conditions import in_order, left_out, places, some
from rnnjax.report.layout import Size, gridlines, panels, title
from rnnjax.report.runs import WORDS
from rnnjax.report.style import SOFT, Drawing, Palette, style


def training_curves(
    metrics: pl.DataFrame, palette: Palette, axis: str, metric: str
) -> Drawing | None:
    """Every run a thin line: training loss above, validation metric below.

    `metrics` are those of `rnnjax.report.study.Study`.
    """
    if metrics.is_empty():
        return None
    found = places(metrics)
    shown = some(found)
    rows = [
        (key, label)
        for key, label in (
            ("loss", "training loss"),
            *((f"validation_{m}", f"validation {word}") for m, word in WORDS.items()),
        )
        if key in metrics.columns and metrics[key].is_finite().any()
    ]
    if not rows:
        return None
    names = in_order(metrics, list(palette))
    lines = -(-len(names) // max(2, 2 * len(shown)))
    size = Size(2.35, 1.6, gap_x=0.45, gap_y=0.35, top=0.45 + 0.2 * lines)
    with style():
        figure, grid = panels(len(rows), len(shown), size)
        for (row, column), axes in np.ndenumerate(grid):
            (key, label), place = rows[row], shown[column]
            here = place.of(metrics)
            if not here[key].is_finite().any():
                axes.set_axis_off()
                continue
            _panel(axes, here, key, palette)
            if row == 0:
                title(axes, place.title(axis))
            if row == len(rows) - 1:
                axes.set_xlabel("updates")
            if column == 0:
                axes.set_ylabel(label)
        _key(figure, names, palette, max(2, 2 * len(shown)))
    caption = (
        f"Training loss and validation {metric} against the number of updates; every "
        "run is a line, a run that solved its task may stop early. The cross is where "
        "a run diverged; dotted: the best predictor without memory."
    )
    return Drawing(
        "training_curves",
        "Training curves",
        caption + left_out(found, shown),
        figure,
        metrics,
    )


def _panel(axes: Axes, metrics: pl.DataFrame, key: str, palette: Palette) -> None:
    for (name, _), run in metrics.group_by("variant", "run_id", maintain_order=True):
        line = palette[str(name)]
        known = run.filter(pl.col(key).is_finite()).sort("step")
        axes.plot(
            known["step"],
            known[key],
            color=line.colour,
            linestyle=line.dash,
            linewidth=0.9,
            alpha=0.85,
            marker=None if key == "loss" else "o",
            markersize=2.2,
        )
        if (run["status"] == "diverged").any() and not known.is_empty():
            axes.plot(known["step"][-1:], known[key][-1:], "x", color=line.colour, ms=5)
    if key != "loss":
        level = median(metrics.filter(pl.col(key).is_finite())["baseline"])
        if not np.isnan(level):
            axes.axhline(level, color=SOFT, linewidth=0.9, linestyle=(0, (1, 2)))
    else:
        # One run that explodes must not flatten the others.
        finite = metrics.filter(pl.col(key).is_finite())[key].to_numpy()
        axes.set_ylim(0, 1.1 * float(np.quantile(finite, 0.99)) or 1.0)
    axes.set_xlim(left=0)
    gridlines(axes)


def _key(figure: Figure, names: list[str], palette: Palette, columns: int) -> None:
    handles = [
        Line2D([], [], color=palette[n].colour, ls=palette[n].dash, label=n)
        for n in names
    ]
    height = figure.get_figheight()
    figure.legend(
        handles=handles,
        loc="upper left",
        bbox_to_anchor=(0.0, 1 - 0.02 / height),
        ncols=columns,
        frameon=False,
        fontsize=7.5,
        handlelength=1.6,
        columnspacing=1.4,
    )
