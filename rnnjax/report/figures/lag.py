"""Gradient against lag: how much of the loss at the end reaches each earlier step."""

import numpy as np
import polars as pl
from matplotlib.axes import Axes

from rnnjax.probes.adjoints.decay import decay
from rnnjax.report.conditions import in_order, left_out, places, some
from rnnjax.report.instruments.curves import Curve, plot
from rnnjax.report.instruments.numbers import Band
from rnnjax.report.layout import Size, panels, power_ticks, title
from rnnjax.report.naming import number
from rnnjax.report.style import Drawing, Palette, style


LEFT, SIZE = "left", "size"
"""What is drawn of a gradient: what is left of it by lag, or its absolute size."""

STAGES = {"start": "at initialisation", "end": "after training"}
LONGEST_LABEL = 1.75


SIGNS = {
    "log10_scaled": "‖Σ^½λ‖ over its largest near the loss",
    "log10_ratio": "‖λ‖/‖λ_s‖, gradient left at lag s − t",
    "log10_norm": "‖λ‖, gradient at lag s − t",
}
"""The columns that are drawn, and what stands at the axis."""

MEANINGS = {
    "log10_scaled": (
        "What is left of the gradient of the loss at the last loss step s by lag, of "
        "each probed sentence relative to the largest value at lags 0 to 5, mean of "
        "the logarithm. In units of the state: ‖Σ^½λ‖, Σ the covariance of the state "
        "over sentences, so that cells with states of different size can be compared"
    ),
    "log10_ratio": (
        "What is left of the gradient of the loss at the last loss step s by lag: of "
        "each probed sentence ‖λ‖ relative to ‖λ_s‖, the largest norm at lags 0 to 5, "
        "mean of the logarithm"
    ),
    "log10_norm": (
        "Norm of the gradient of the loss at the last loss step s with respect to the "
        "state at step t, by lag: median over the probed sentences. It shrinks as the "
        "loss is learnt, at all lags alike"
    ),
}


def column_of(lags: pl.DataFrame, what: str) -> str:
    """The column of `rnnjax.report.flow.Flow.lags` that shows it.

    What is left is taken in units of the state where all runs have measured that.
    """
    if what == SIZE:
        return "log10_norm"
    measured = lags["log10_scaled"].is_not_nan() & lags["log10_scaled"].is_not_null()
    return "log10_scaled" if measured.all() else "log10_ratio"


def gradient_against_lag(
    lags: pl.DataFrame, palette: Palette, axis: str, what: str = LEFT
) -> Drawing | None:
    """The gradient by lag s − t: median over seeds, with the range of the seeds.

    `LEFT` relative to that near the loss, or its `SIZE`.
    """
    if lags.is_empty():
        return None
    source = column_of(lags, what)
    lags = lags.with_columns(pl.col(source).alias("drawn"))
    found = places(lags)
    shown = some(found)
    stages = [s for s in STAGES if (lags["stage"] == s).any()]
    labels = lags["variant"].n_unique()
    height = max(2.1, labels * 0.135)
    longest = max(len(name) for name in lags["variant"])
    gutter = min(LONGEST_LABEL, 0.058 * longest + 0.6)
    size = Size(1.75, height, gap_x=gutter + 0.4, right=gutter, top=0.3)
    with style():
        figure, grid = panels(len(stages), len(shown), size)
        for (row, column), axes in np.ndenumerate(grid):
            stage, place = stages[row], shown[column]
            here = place.of(lags).filter(stage=stage)
            if here.is_empty():
                axes.set_axis_off()
                continue
            _panel(axes, here, palette)
            later = stage == "start" and here["train_step"].max() != 0
            when = "first measurement" if later else STAGES[stage]
            title(axes, ", ".join(filter(None, [place.title(axis), when])))
            if row == len(stages) - 1:
                axes.set_xlabel("lag s − t (steps before the loss)")
            if column == 0:
                axes.set_ylabel(SIGNS[source])
    caption = (
        f"{MEANINGS[source]}. Line: median over seeds, band: range of the seeds. The "
        "number is the mean change of the line in powers of ten per step of lag, "
        "first lags left out. A cross marks the lag at which λ is exactly zero in "
        "some seed; the line goes on with the others."
    )
    size = what == SIZE
    return Drawing(
        "gradient_size_against_lag" if size else "gradient_against_lag",
        "Absolute size of the gradient against lag" if size else "Gradient against lag",
        caption + left_out(found, shown),
        figure,
        lags.drop("drawn"),
        folded=size,
    )


def _panel(axes: Axes, lags: pl.DataFrame, palette: Palette) -> None:
    curves, lowest, highest = [], 0.0, -np.inf
    finite = pl.col("drawn").filter(pl.col("drawn").is_finite())
    for name in in_order(lags, list(palette)):
        curve = (
            lags.filter(variant=name)
            .group_by("lag")
            .agg(
                finite.median().alias("median"),
                finite.min().alias("low"),
                finite.max().alias("high"),
                (pl.col("log10_norm") == -float("inf")).any().alias("zero"),
            )
            .sort("lag")
        )
        x, zeros = curve["lag"].to_numpy(), curve.filter("zero")["lag"].to_list()
        y, low, high = (
            curve[key].to_numpy().astype(float) for key in ("median", "low", "high")
        )
        slope = number(decay(y).slope, 3)
        text = name if slope == "–" else f"{name}  {slope}"
        if np.isfinite(y).any():
            lowest, highest = min(lowest, np.nanmin(low)), max(highest, np.nanmax(high))
            text += " ×" if zeros else ""
        else:
            text, zeros = f"{name}  exactly 0", x.tolist()
        cross = float(zeros[0]) if zeros else None
        curves.append(Curve(x, y, text, palette[name], Band(low, y, high), cross=cross))
    highest = highest if np.isfinite(highest) else 0.0  # all curves are exactly zero
    limits = (min(lowest, highest - 1.0), highest)
    plot(axes, curves, limits=limits, ticks=power_ticks)
