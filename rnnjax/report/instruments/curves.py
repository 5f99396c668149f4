"""Small panels of a few curves each, labelled at their ends."""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from rnnjax.report.instruments.numbers import Band
from rnnjax.report.layout import (
    FLOAT32_ENDS,
    LINE,
    EndLabel,
    Size,
    gridlines,
    label_ends,
    note,
    power_ticks,
    small_multiples,
    title,
)
from rnnjax.report.style import SOFT, Line, style


@dataclasses.dataclass(frozen=True)
class Curve:
    """A line with the text at its end.

    Attributes:
        x, y: points; −inf: exactly zero, NaN: nothing measured.
        text: at the right end; empty: none.
        line: its colour and dashes.
        band: the band drawn around it.
        mark: an x at which a dot is set.
        cross: an x at which a cross is set; None: that of the first exact zero.
    """

    x: np.ndarray
    y: np.ndarray
    text: str
    line: Line
    band: Band | None = None
    mark: float | None = None
    cross: float | None = None


def gutter(texts: Sequence[str], width: float = 2.6) -> float:
    """Inches that the longest label needs beside a panel of this width."""
    longest = max((len(text) for text in texts), default=0)
    return 0.065 * width + 0.058 * longest + 0.1


def tall(lines: int, minimum: float = 1.8) -> float:
    """Inches of a panel beside which so many labels find room."""
    return max(minimum, lines * LINE)


def plot(
    axes: Axes,
    curves: Sequence[Curve],
    *,
    limits: tuple[float, float] | None = None,
    powers: bool = True,
    ticks: Callable[[Axes], object] | None = None,
) -> None:
    """Draw curves, and label their ends.

    Args:
        limits: range of the values shown; None: that of the curves.
        powers: the values are log10 of something; the ticks are powers of ten then, and
            a panel that reaches below float32 says where that ends.
        ticks: how powers of ten are written; None: in a narrow panel as numbers.

    Crosses stand on the lower edge.
    """
    low, high = limits or _limits(curves)
    room = 0.06 * (high - low)
    bottom = low - room
    axes.set_ylim(bottom, high + room)
    first = min(float(curve.x.min()) for curve in curves)
    last = max(float(curve.x.max()) for curve in curves)
    axes.set_xlim(first, max(last, first + 1))
    ends = []
    for curve in curves:
        colour = curve.line.colour
        alive = np.isfinite(curve.y)
        shown = np.where(alive, curve.y, np.nan)
        axes.plot(curve.x, shown, color=colour, linestyle=curve.line.dash, zorder=3)
        alone = _alone(alive)  # a line of one point would not be seen
        axes.plot(curve.x[alone], curve.y[alone], "o", color=colour, markersize=3)
        if curve.band is not None:
            axes.fill_between(
                curve.x,
                np.maximum(curve.band.low, bottom),
                curve.band.high,
                where=np.isfinite(curve.band.high),
                color=colour,
                alpha=0.18,
                lw=0,
            )
        if curve.mark is not None and alive.any():
            height = float(np.interp(curve.mark, curve.x[alive], curve.y[alive]))
            axes.plot([curve.mark], [height], "o", color=colour, markersize=4, zorder=4)
        zeros = curve.x[np.isneginf(curve.y)] if curve.cross is None else [curve.cross]
        for zero in zeros[:1]:
            axes.plot([zero], [bottom], "x", color=colour, clip_on=False, markersize=5)
        if curve.text:
            value = float(curve.y[alive][-1]) if alive.any() else bottom
            ends.append(EndLabel(value, curve.text, colour))
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    gridlines(axes)
    if powers:
        if bottom < FLOAT32_ENDS:
            dots = (0, (1, 2))
            axes.axhline(FLOAT32_ENDS, color=SOFT, linewidth=0.7, linestyle=dots)
            note(axes, first + (last - first) * 0.02, FLOAT32_ENDS, "float32 ends")
        (ticks or _log10_ticks)(axes)
    label_ends(axes, ends)


def _alone(alive: np.ndarray) -> np.ndarray:
    """Which points have no neighbour.

    >>> _alone(np.array([True, False, True, True])).tolist()
    [True, False, False, False]
    """
    padded = np.concatenate([[False], alive, [False]])
    return alive & ~padded[:-2] & ~padded[2:]


def by_layer(
    drawn: dict[str, list[Curve]],
    xlabel: str,
    ylabel: str,
    *,
    width: float = 2.6,
    height: float = 2.0,
    gap: float = 0.7,
    columns: int = 2,
    also: Callable[[Axes], object] = lambda axes: None,
) -> Figure | None:
    """A panel of log10 values for each layer that has curves; None without any.

    Args:
        width, height, gap: inches of a panel (at least) and between two.
        columns: most panels in a row.
        also: done to every panel.
    """
    drawn = {layer: curves for layer, curves in drawn.items() if curves}
    if not drawn:
        return None
    texts = [[curve.text for curve in curves] for curves in drawn.values()]
    room = gutter([text for own in texts for text in own])
    height = tall(max(sum(map(bool, own)) for own in texts), height)
    size = Size(width, height, gap_x=room + gap, gap_y=0.75, left=0.72, right=room)
    with style():
        figure, panels = small_multiples(len(drawn), size, columns)
        for i, (axes, layer) in enumerate(zip(panels, drawn, strict=True)):
            plot(axes, drawn[layer])
            also(axes)
            title(axes, layer)
            axes.set_xlabel(xlabel)
            if i % columns == 0:
                axes.set_ylabel(ylabel)
    return figure


def log_ticks(axis: Axis, low: float, high: float) -> None:
    """Ticks of a logarithmic axis: plain numbers at 1, 2, 5, or powers of ten."""
    wide = np.log10(high / low) > 1.5
    axis.set_major_locator(LogLocator(subs=(1.0,) if wide else (1.0, 2.0, 5.0)))
    if not wide:
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def _log10_ticks(axes: Axes) -> None:
    """Powers of ten at whole exponents; in a narrow panel plain numbers between."""
    low, high = axes.get_ylim()
    if high - low > 2.0:
        power_ticks(axes)
        return
    whole = range(int(np.floor(low)), int(np.ceil(high)) + 1)
    values = np.array([m * 10.0**k for k in whole for m in (1, 2, 5)])
    inside = values[(np.log10(values) >= low) & (np.log10(values) <= high)]
    if inside.size < 2:
        values = MaxNLocator(4).tick_values(10.0**low, 10.0**high)
        inside = values[(values >= 10.0**low) & (values <= 10.0**high)]
    axes.set_yticks(np.log10(inside), [f"{value:g}" for value in inside])
    axes.set_ylim(low, high)


def _limits(curves: Sequence[Curve]) -> tuple[float, float]:
    """The range of all lines and bands, at least 1 for a log10 of a constant."""
    bands = [curve.band for curve in curves if curve.band is not None]
    values = [end for band in bands for end in (band.low, band.high)]
    known = np.concatenate([*(curve.y for curve in curves), *values])
    known = known[np.isfinite(known)]
    if not known.size:
        return -1.0, 0.0
    low, high = float(known.min()), float(known.max())
    return (low, high) if high > low else (low - 0.5, high + 0.5)
