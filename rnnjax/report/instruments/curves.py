"""Small panels of a few curves each, labelled at their ends."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from rnnjax.report.figures.lag import FLOAT32_ENDS
from rnnjax.report.instruments.numbers import Band
from rnnjax.report.layout import (
    EndLabel,
    Size,
    blank,
    label_ends,
    note,
    panels,
    power_ticks,
)
from rnnjax.report.style import GRID, SOFT, Line


COLUMNS = 3
FONT = 7.0


@dataclasses.dataclass(frozen=True)
class Curve:
    """A line with the text at its end.

    Attributes:
        x, y: points; −inf: exactly zero, NaN: nothing measured.
        text: at the right end; empty: none.
        line: how it looks.
        band: around it.
        mark: an x at which a dot is set.
    """

    x: np.ndarray
    y: np.ndarray
    text: str
    line: Line
    band: Band | None = None
    mark: float | None = None


def gutter(texts: Sequence[str], width: float = 2.6) -> float:
    """Inches that the longest label needs beside a panel of this width."""
    longest = max((len(text) for text in texts), default=0)
    return 0.065 * width + 0.058 * longest + 0.1


def tall(lines: int, minimum: float = 1.8) -> float:
    """Inches of a panel beside which so many labels find room."""
    return max(minimum, lines * FONT * 1.25 / 72)


def small_multiples(
    count: int, size: Size, columns: int = COLUMNS
) -> tuple[Figure, list[Axes]]:
    """A figure with so many panels, in rows of at most `columns`."""
    across = min(count, columns)
    figure, grid = panels(-(-count // across), across, size)
    for axes in grid.ravel()[count:]:
        blank(axes)
    return figure, list(grid.ravel()[:count])


def plot(
    axes: Axes,
    curves: Sequence[Curve],
    *,
    powers: bool = True,
    limits: tuple[float, float] | None = None,
) -> None:
    """Draw curves, and label their ends.

    Args:
        powers: the values are log10 of something; the ticks are powers of ten then, and
            a panel that reaches below float32 says where that ends.
        limits: of the values; None: those of the curves.

    A cross on the lower edge marks the first exact zero of a curve.
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
        if np.sum(alive) == 1:  # a line of one point would not be seen
            axes.plot(curve.x[alive], curve.y[alive], "o", color=colour, markersize=3)
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
        text = curve.text
        if np.isneginf(curve.y).any():
            zero = float(curve.x[np.isneginf(curve.y)][0])
            axes.plot([zero], [bottom], "x", color=colour, clip_on=False, markersize=5)
        if text:
            value = float(curve.y[alive][-1]) if alive.any() else bottom
            ends.append(EndLabel(value, text, colour))
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.grid(axis="y", color=GRID, linewidth=0.5)
    axes.set_axisbelow(True)
    if powers:
        if bottom < FLOAT32_ENDS:
            dots = (0, (1, 2))
            axes.axhline(FLOAT32_ENDS, color=SOFT, linewidth=0.7, linestyle=dots)
            note(axes, first + (last - first) * 0.02, FLOAT32_ENDS, "float32 ends")
        _log10_ticks(axes)
    label_ends(axes, ends, FONT)


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
    values = [curve.y for curve in curves]
    for curve in curves:
        if curve.band is not None:
            values += [curve.band.low, curve.band.high]
    known = np.concatenate([np.ravel(one) for one in values])
    known = known[np.isfinite(known)]
    if not known.size:
        return -1.0, 0.0
    low, high = float(known.min()), float(known.max())
    return (low, high) if high > low else (low - 0.5, high + 0.5)
