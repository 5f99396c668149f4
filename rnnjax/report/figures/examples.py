"""Examples against lag: from how many on a step's signal exceeds an update's noise."""

import numpy as np
import polars as pl
from matplotlib.axes import Axes

from rnnjax.report.conditions import in_order, left_out, places, some
from rnnjax.report.figures.lag import LONGEST_LABEL, STAGES
from rnnjax.report.instruments.curves import Curve, plot
from rnnjax.report.instruments.numbers import Band
from rnnjax.report.layout import Size, note, panels, power_ticks, title
from rnnjax.report.style import SOFT, Drawing, Palette, style


def examples_against_lag(
    examples: pl.DataFrame, palette: Palette, axis: str
) -> Drawing | None:
    """N*_up by lag s − t: median over seeds, with the range of the seeds."""
    if examples.is_empty():
        return None
    found = places(examples)
    shown = some(found)
    stages = [s for s in STAGES if (examples["stage"] == s).any()]
    longest = max(len(name) for name in examples["variant"])
    room = min(LONGEST_LABEL, 0.058 * longest + 0.2)
    height = max(2.1, examples["variant"].n_unique() * 0.135)
    size = Size(1.75, height, gap_x=room + 0.4, right=room, top=0.3)
    with style():
        figure, grid = panels(len(stages), len(shown), size)
        for (row, column), axes in np.ndenumerate(grid):
            here = shown[column].of(examples).filter(stage=stages[row])
            if here.is_empty():
                axes.set_axis_off()
                continue
            _panel(axes, here, palette)
            text = filter(None, [shown[column].title(axis), STAGES[stages[row]]])
            title(axes, ", ".join(text))
            if row == len(stages) - 1:
                axes.set_xlabel("lag s − t (steps before the loss)")
            if column == 0:
                axes.set_ylabel("N*_up, examples needed")
    caption = (
        "N*_up = tr Cov(G)/‖E S‖² by lag: the number of examples from which on the "
        "signal S of a step (what an example's own label adds to its gradient) exceeds "
        "the noise of the whole gradient G, over held-out examples, all parameters "
        "taken as one. Line: median over seeds, band: range of the seeds. Dotted: "
        "batch × updates, the examples of the whole training run; a lag above it is "
        "drowned for plain gradient descent. Where a line is missing, the sample is "
        "too small to see a signal in every seed."
    )
    return Drawing(
        "examples_against_lag",
        "Examples needed against lag",
        caption + left_out(found, shown),
        figure,
        examples,
    )


def _panel(axes: Axes, examples: pl.DataFrame, palette: Palette) -> None:
    budget = np.log10(max(float(examples["budget"].max() or 0.0), 1.0))  # type: ignore[arg-type]
    curves, highest, lowest = [], budget + 0.5, budget - 0.5
    for name in in_order(examples, list(palette)):
        update = pl.col("update")
        curve = (
            examples.filter(variant=name)
            .group_by("lag")
            .agg(
                update.median().alias("median"),
                update.min().alias("low"),
                update.max().alias("high"),
            )
            .sort("lag")
        )
        y, low, high = (curve[key].to_numpy() for key in ("median", "low", "high"))
        y = np.where(np.isfinite(high), y, np.nan)
        band = Band(low, y, high)
        curves.append(Curve(curve["lag"].to_numpy(), y, name, palette[name], band))
        ends = np.concatenate([low, high])
        ends = ends[np.isfinite(ends)]
        highest = max(highest, ends.max(initial=highest))
        lowest = min(lowest, ends.min(initial=lowest))
    plot(axes, curves, limits=(lowest, highest), ticks=power_ticks)
    axes.axhline(budget, color=SOFT, linewidth=0.8, linestyle=":")
    note(axes, 0.5, budget, "batch × updates")
