"""One update: what a truncation leaves out, relative updates, sensitivity."""

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rnnjax.quantities import ALL
from rnnjax.report.instruments.curves import (
    Curve,
    gutter,
    log_ticks,
    plot,
    tall,
)
from rnnjax.report.instruments.numbers import brief, has, labels, latest, needs, pick
from rnnjax.report.layout import Size, gridlines, panels, title
from rnnjax.report.style import INK, SERIES, Line, palette, style


@needs("truncation_bias")
def truncation(data: xr.Dataset) -> Figure | None:
    """Relative error of the gradient that is cut at a lag, for every parameter array.

    A cut that leaves nothing out (a bias of exactly 0) is off the logarithmic scale.
    """
    table = pick(data, "truncation_bias", "parameter_array", "cut_lag")
    table = np.log10(np.where(table > 0, table, np.nan))
    every = zip(labels(data, "parameter_array"), table, strict=True)
    drawn = {name: row for name, row in every if not np.all(np.isnan(row))}
    if not drawn:
        return None
    lags, cut = data["cut_lag"].to_numpy(), np.any(~np.isnan(table), axis=0)
    lines = palette([name for name in drawn if name != ALL])
    lines[ALL] = Line(INK, "-")
    curves = [Curve(lags[cut], row[cut], n, lines[n]) for n, row in drawn.items()]
    size = Size(3.4, tall(len(curves), 2.0), right=gutter([*drawn], 3.4))
    with style():
        figure, ((axes,),) = panels(1, 1, size)
        plot(axes, curves)
        axes.set_xlabel("gradient cut at lag K")
        axes.set_ylabel("‖g_K − g‖ / ‖g‖")
        title(axes, "bias of truncation")
    return figure


def updates(data: xr.Dataset) -> Figure | None:
    """Update ratio and sensitivity of every parameter array, as bars."""
    data = latest(data)
    wanted = (
        ("update_ratio", "‖update‖ / ‖weights‖", SERIES[0][0]),
        ("sensitivity", "sensitivity |∂h_T/∂θ|²", SERIES[2][0]),
    )
    shown = [one for one in wanted if has(data, one[0])]
    if not shown:
        return None
    names = labels(data, "parameter_array")
    left = 0.07 * max(map(len, names)) + 0.1
    size = Size(2.3, 0.19 * len(names), gap_x=0.75, left=left, right=0.6, top=0.4)
    with style():
        figure, grid = panels(1, len(shown), size)
        for axes, (key, text, colour) in zip(grid[0], shown, strict=True):
            _bars(axes, pick(data, key, "parameter_array"), colour)
            axes.set_yticks(range(len(names)), names if axes is grid[0, 0] else [])
            title(axes, text)
    return figure


def _bars(axes: Axes, values: np.ndarray, colour: str) -> None:
    """Horizontal bars on a logarithmic axis with their values beside."""
    positive = values[np.isfinite(values) & (values > 0)]
    low = 10.0 ** np.floor(np.log10(positive.min()) - 0.2) if positive.size else 0.1
    high = positive.max() * 1.2 if positive.size else 1.0
    axes.set_xscale("log")
    axes.set_xlim(low, high)
    axes.set_ylim(len(values) - 0.4, -0.6)
    log_ticks(axes.xaxis, low, high)
    gridlines(axes, "x")
    for row, value in enumerate(values):
        if np.isfinite(value) and value > 0:
            axes.barh(row, value - low, 0.62, left=low, color=colour, lw=0)
        axes.text(
            1.02,
            row,
            brief(float(value)),
            transform=axes.get_yaxis_transform(),
            fontsize=6.5,
            va="center",
        )
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
