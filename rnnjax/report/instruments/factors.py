"""Slopes of the activations, and how open the gates are."""

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rnnjax.report.instruments.curves import (
    Curve,
    gutter,
    log_ticks,
    plot,
)
from rnnjax.report.instruments.numbers import has, labels, needs, percent, pick
from rnnjax.report.layout import Size, panels, small_multiples, title
from rnnjax.report.naming import number
from rnnjax.report.style import GRID, INK, SERIES, SOFT, Line, palette, style


BARS, BOUND = SERIES[0][0], SERIES[1][0]


def there(data: xr.Dataset, name: str, dim: str) -> list[tuple[str, str]]:
    """Pairs of a layer and a label of `dim` for which a variable is known."""
    return [
        (layer, label)
        for layer in labels(data, "layer")
        for label in labels(data, dim)
        if not np.isnan(float(data[name].sel({"layer": layer, dim: label})))
    ]


@needs("slope_count", "slope_edge", "slope_mean", "slope_bound")
def slopes(data: xr.Dataset) -> Figure | None:
    """Histogram of the slopes of every activation, with their mean and their bound."""
    found = there(data, "slope_mean", "activation")
    several = len({layer for layer, _ in found}) > 1
    size = Size(1.75, 1.2, gap_x=0.35, gap_y=0.95, left=0.15, top=0.7)
    with style():
        figure, grid = small_multiples(len(found), size, 5)
        for axes, (layer, name) in zip(grid, found, strict=True):
            _histogram(axes, data, {"layer": layer, "activation": name})
            where = f"{layer} {name}" if several else name
            axes.set_title(where, fontweight="bold", pad=23)
            axes.set_xlabel("slope φ′")
    return figure


def _histogram(axes: Axes, data: xr.Dataset, where: dict[str, str]) -> None:
    counts = pick(data, "slope_count", "bin", **where)
    edges = pick(data, "slope_edge", "edge", **where)
    known = ~np.isnan(counts)
    counts, left, width = counts[known], edges[:-1][known], np.diff(edges)[known]
    axes.bar(left, counts / counts.sum(), width, align="edge", color=BARS, lw=0)
    value = {
        name: float(data[f"slope_{name}"].sel(where))
        for name in ("mean", "bound", "saturated", "active")
    }
    axes.axvline(value["mean"], color=INK, linewidth=0.9)
    axes.axvline(value["bound"], color=BOUND, linewidth=1.2, linestyle=(0, (4, 2)))
    spare = 0.03 * (max(value["bound"], left.max()) - left.min())
    axes.set_xlim(left.min() - spare, max(value["bound"], (left + width).max()) + spare)
    shares = [f"{percent(value[name])} {name}" for name in ("saturated", "active")]
    axes.text(
        0,
        1.03,
        f"mean {number(value['mean'])}, at most {number(value['bound'])}\n"
        f"{', '.join(shares)}",
        transform=axes.transAxes,
        fontsize=6,
        color=SOFT,
        va="bottom",
        linespacing=1.15,
    )
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)


@needs("gate_open", "gate_open_at")
def gates(data: xr.Dataset) -> Figure | None:
    """Openness of the gates over time, and the time constants of their units.

    Right: a full dot for each unit of a gate that multiplies the past, −1 / mean log
    openness, and a hollow one for its complement; which of them says how long a memory
    lasts depends on the cell. Time constants that are infinite are counted.
    """
    found = there(data, "gate_open", "gate")
    layers = list(dict.fromkeys(layer for layer, _ in found))
    names = list(dict.fromkeys(name for _, name in found))
    lines = palette(names)
    timed = has(data, "time_constant")
    room = gutter(names)
    size = Size(
        2.7,
        max(1.5, 0.42 * len(names)),
        gap_x=room + 0.25,
        gap_y=1.05,
        right=0.95,
        bottom=0.7,
    )
    with style():
        figure, grid = panels(len(layers), 2 if timed else 1, size)
        for row, layer in zip(grid, layers, strict=True):
            own = [name for at, name in found if at == layer]
            curves = []
            for name in own:
                values = pick(data, "gate_open_at", "time", layer=layer, gate=name)
                x = np.arange(values.size)
                curves.append(Curve(x, values, name, lines[name]))
            plot(row[0], curves, powers=False, limits=(0.0, 1.0))
            title(row[0], f"{layer}: openness")
            row[0].set_xlabel("time step t")
            if timed:
                _time_constants(row[1], data, layer, own, lines)
    return figure


def _time_constants(
    axes: Axes, data: xr.Dataset, layer: str, names: list[str], lines: dict[str, Line]
) -> None:
    title(axes, f"{layer}: time constants")
    axes.set_xscale("log")
    axes.set_ylim(len(names) - 0.5, -0.5)
    for row, name in enumerate(names):
        colour = lines[name].colour
        for key, offset, face in (
            ("time_constant", -0.18, colour),
            ("time_constant_shut", 0.18, "none"),
        ):
            values = pick(data, key, "unit", layer=layer, gate=name)
            values = values[~np.isnan(values)]
            finite = values[np.isfinite(values) & (values > 0)]
            # units apart from each other by a fixed pattern
            height = row + offset + 0.1 * np.sin(2.4 * np.arange(finite.size))
            axes.plot(
                finite,
                height,
                "o",
                color=colour,
                markerfacecolor=face,
                markersize=2.8,
                markeredgewidth=0.6,
                alpha=0.8,
            )
            lasting = int(np.isposinf(values).sum())
            median = number(float(np.median(values)), 1) if values.size else "–"
            axes.text(
                1.03,
                row + offset,
                median + (f", {lasting} × ∞" if lasting else ""),
                transform=axes.get_yaxis_transform(),
                color=colour,
                fontsize=6.5,
                va="center",
            )
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    log_ticks(axes.xaxis, *axes.get_xlim())
    axes.grid(axis="x", color=GRID, linewidth=0.5)
    axes.set_xlabel("steps (right: median)\n● −1/mean log g   ○ −1/mean log(1 − g)")
