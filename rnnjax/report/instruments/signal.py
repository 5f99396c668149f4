"""Signal, offset and noise of every step in the gradient, and the examples it needs."""

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from rnnjax.quantities import ALL
from rnnjax.quantities.signal import EUCLIDEAN
from rnnjax.report.instruments.curves import gutter, log_ticks
from rnnjax.report.instruments.numbers import needs, pick
from rnnjax.report.layout import (
    EndLabel,
    Size,
    gridlines,
    label_ends,
    panels,
    power_ticks,
    title,
)
from rnnjax.report.style import INK, SERIES, SOFT, style


PARTS = ("signal", "offset", "noise")
COLOURS = dict(zip(PARTS, (SERIES[1][0], SERIES[0][0], SOFT), strict=True))

FLOOR = 1e-7
"""Shares below this one are not drawn."""


@needs("update_share", "log10_examples")
def signal(data: xr.Dataset) -> Figure | None:
    """What a batch's update consists of, and how many examples show each step."""
    one = data.sel(gradient_of=ALL, metric=EUCLIDEAN)
    size = Size(
        3.0, 2.1, gap_x=0.75, right=gutter(["the whole gradient"], 3.0), top=0.5
    )
    with style():
        figure, ((left, right),) = panels(1, 2, size)
        draw_shares(left, pick(one, "update_share", "part", "bound", "lag"))
        left.set_title("share of a batch's update", fontweight="bold", pad=18)
        legend(left)
        draw_examples(right, one)
        title(right, "examples until a signal exceeds the noise of")
        for axes in (left, right):
            axes.set_xlabel("lag s − t")
    return figure


def legend(axes: Axes) -> None:
    """The colours of the three parts, above a panel."""
    axes.legend(
        handles=[Patch(color=COLOURS[part], label=part) for part in PARTS],
        fontsize=6.5,
        frameon=False,
        loc="lower left",
        bbox_to_anchor=(0, 1.0),
        ncols=3,
        borderaxespad=0.2,
        handlelength=0.9,
        columnspacing=1.0,
    )


def draw_shares(
    axes: Axes, shares: np.ndarray, limits: tuple[float, float] | None = None
) -> None:
    """Three bars for each lag on a logarithmic axis, those that differ from 0.

    Args:
        axes: where to draw.
        shares: by part, bound (estimate, low, high) and lag; hollow where negative.
        limits: of the axis; None: as needed.
    """
    value, begin, end = np.moveaxis(shares, 1, 0)
    sure = (begin > 0) | (end < 0)
    sizes = np.abs(value[sure])
    low = 10.0 ** np.floor(np.log10(max(sizes.min(initial=1.0), FLOOR)))
    low, high = limits or (low, 2 * sizes.max(initial=10 * low))
    lags, width = np.arange(shares.shape[2]), 0.8 / len(PARTS)
    for place, part in enumerate(PARTS):
        row = value[place]
        for negative in (False, True):
            chosen = sure[place] & (np.abs(row) > low) & ((row < 0) == negative)
            axes.bar(
                lags[chosen] + (place - 1) * width,
                np.abs(row[chosen]) - low,
                width * (0.55 if negative else 1),
                bottom=low,
                color="none" if negative else COLOURS[part],
                edgecolor=COLOURS[part],
                linewidth=0.5 if negative else 0,
            )
    axes.set_yscale("log")
    axes.set(ylim=(low, high), xlim=(-0.8, lags[-1] + 0.8))
    log_ticks(axes.yaxis, low, high)
    gridlines(axes)


def draw_examples(axes: Axes, one: xr.Dataset) -> None:
    """N* and N*_up by lag, beside the examples of the whole training run.

    A dot with its interval where that ends; else a hollow triangle at its lower end.
    """
    named = {
        "log10_examples": ("its own step", SERIES[1][0]),
        "log10_examples_in_update": ("the whole gradient", INK),
    }
    budget = np.log10(max(float(one["budget_horizon"].attrs["examples"]), 1.0))
    ends, heights = [], [0.0, budget + 1.0]
    for key, (text, colour) in named.items():
        value, low, high = pick(one, key, "bound", "lag")
        lags = np.arange(len(value))
        known, open_ = np.isfinite(high), np.isfinite(low) & ~np.isfinite(high)
        axes.vlines(lags[known], low[known], high[known], color=colour, linewidth=1.0)
        axes.plot(lags[known], value[known], "o", color=colour, markersize=3)
        axes.plot(
            lags[open_],
            low[open_],
            "^",
            color=colour,
            markersize=2.5,
            fillstyle="none",
            markeredgewidth=0.5,
        )
        heights += [*low[known | open_], *high[known]]
        seen = np.flatnonzero(known | open_)
        if seen.size:
            at = int(seen[-1])
            ends.append(
                EndLabel(float((value if known[at] else low)[at]), text, colour)
            )
    axes.set_ylim(max(min(heights), -3.0), max(heights) + 0.5)
    axes.set_xlim(-0.8, max(one.sizes["lag"] - 0.2, 1))
    axes.axhline(budget, color=SOFT, linewidth=0.8, linestyle=":")
    power_ticks(axes)
    gridlines(axes)
    label_ends(axes, [*ends, EndLabel(budget, "batch × updates", SOFT)])
