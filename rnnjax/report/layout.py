"""Small multiples measured in inches, and labels at the ends of lines."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rnnjax.report.naming import power
from rnnjax.report.style import GRID, INK, SOFT


FLOAT32_ENDS = float(np.log10(2.0**-149))
"""log10 of the smallest positive float32, 1.4e-45."""


FONT = 7.0
LINE = FONT * 1.25 / 72
"""Size of a label, and inches that it needs."""


class Size(NamedTuple):
    """Inches of a panel, of the gaps between panels, and of the margins."""

    width: float
    height: float
    gap_x: float = 0.5
    gap_y: float = 0.55
    left: float = 0.6
    right: float = 0.15
    top: float = 0.35
    bottom: float = 0.45


def panels(rows: int, columns: int, size: Size) -> tuple[Figure, np.ndarray]:
    """A figure with a grid of panels; `Axes` in an object array (rows, columns)."""
    width = size.left + columns * size.width + (columns - 1) * size.gap_x + size.right
    height = size.top + rows * size.height + (rows - 1) * size.gap_y + size.bottom
    figure = Figure(figsize=(width, height))
    axes = np.empty((rows, columns), object)
    for i in range(rows):
        for j in range(columns):
            x = size.left + j * (size.width + size.gap_x)
            y = size.bottom + (rows - 1 - i) * (size.height + size.gap_y)
            box = (x / width, y / height, size.width / width, size.height / height)
            axes[i, j] = figure.add_axes(box)
    return figure, axes


class EndLabel(NamedTuple):
    """A text beside the right edge of a panel, at the height of a value."""

    value: float
    text: str
    colour: str


def spread(wanted: Sequence[float], gap: float) -> list[float]:
    """Ascending heights in 0 … 1 near the wanted ones, at least `gap` apart.

    With too many for that they share the height evenly.

    >>> spread([0.5, 0.5], 0.2)
    [0.4, 0.6]
    >>> spread([0.0, 0.01, 1.0], 0.1)
    [0.0, 0.1, 1.0]
    """
    n = len(wanted)
    if n < 2:
        return list(wanted)
    gap = min(gap, 1 / (n - 1))
    blocks: list[tuple[float, int]] = []  # Centre and number of labels that touch.
    for place in np.clip(wanted, 0, 1).tolist():
        blocks.append((place, 1))
        while True:
            centre, size = blocks[-1]
            half = (size - 1) * gap / 2
            blocks[-1] = (min(max(centre, half), 1 - half), size)
            if len(blocks) < 2:
                break
            (low, n_low), (high, n_high) = blocks[-2:]
            if high - low >= (n_low + n_high) * gap / 2 - 1e-12:
                break
            total = n_low + n_high
            merged = (low * n_low + high * n_high) / total
            blocks[-2:] = [(merged, total)]
    return [
        round(centre + (i - (size - 1) / 2) * gap, 9)
        for centre, size in blocks
        for i in range(size)
    ]


def label_ends(axes: Axes, labels: Sequence[EndLabel]) -> None:
    """Write labels right of a panel without overlap, with lines to their values.

    The limits of the panel must be final.
    """
    low, high = axes.get_ylim()
    ordered = sorted(labels, key=lambda label: label.value)
    wanted = [(label.value - low) / (high - low) for label in ordered]
    inches = axes.bbox.height / axes.figure.dpi
    places = spread(np.clip(wanted, 0, 1).tolist(), LINE / inches)
    for label, start, end in zip(ordered, wanted, places, strict=True):
        start = min(max(start, 0.0), 1.0)
        axes.plot(
            [1.0, 1.035, 1.05],
            [start, end, end],
            transform=axes.transAxes,
            color=label.colour,
            linewidth=0.6,
            clip_on=False,
            scalex=False,
            scaley=False,
        )
        axes.text(
            1.065,
            end,
            label.text,
            transform=axes.transAxes,
            color=label.colour,
            fontsize=FONT,
            va="center",
            ha="left",
        )


def power_ticks(axes: Axes, max_ticks: int = 6) -> None:
    """Label a vertical axis of log10 values with powers of ten, at whole exponents."""
    low, high = axes.get_ylim()
    steps = (1, 2, 5, 10, 20, 50, 100, 200, 500)
    step = next((step for step in steps if (high - low) / step <= max_ticks), 1000)
    ticks = np.arange(np.ceil(low / step), np.floor(high / step) + 1) * step
    axes.set_yticks(ticks, [power(tick) for tick in ticks])
    axes.set_ylim(low, high)


def note(axes: Axes, x: float, y: float, text: str) -> None:
    """A small grey remark inside a panel, at values of its axes."""
    axes.text(x, y, text, fontsize=6.5, color=SOFT, va="bottom", ha="left")


def title(axes: Axes, text: str, colour: str = INK) -> None:
    """The title of a panel."""
    axes.set_title(text, color=colour, fontweight="bold", pad=7)


def small_multiples(count: int, size: Size, most: int) -> tuple[Figure, list[Axes]]:
    """A figure with so many panels, in rows of at most `most`."""
    across = min(count, most)
    figure, grid = panels(-(-count // across), across, size)
    for axes in grid.ravel()[count:]:
        axes.set_axis_off()
    return figure, list(grid.ravel()[:count])


def gridlines(axes: Axes, axis: Literal["x", "y"] = "y") -> None:
    """Thin lines at the ticks of an axis, behind what is drawn."""
    axes.grid(axis=axis, color=GRID, linewidth=0.5)
    axes.set_axisbelow(True)
