"""What each time step gives to every parameter."""

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from rnnjax.report.instruments.curves import (
    Curve,
    gutter,
    plot,
    small_multiples,
    tall,
)
from rnnjax.report.instruments.numbers import has, labels, latest, pick
from rnnjax.report.layout import Size, title
from rnnjax.report.naming import number
from rnnjax.report.style import SOFT, palette, style


def contributions(data: xr.Dataset) -> Figure | None:
    """log10‖G_t‖ against time for every parameter; a dot where its k90 steps begin.

    A panel for each layer; the embedding has one of its own.
    """
    data = latest(data)
    if not has(data, "log10_contribution"):
        return None
    drawn: dict[str, list[Curve]] = {}
    for layer, names in by_prefix(labels(data, "parameter")).items():
        for name, line in palette(names).items():
            values = pick(data, "log10_contribution", "time", parameter=name)
            if not np.any(np.isfinite(values)):
                continue
            mark, text = None, short(name)
            if "k90" in data:
                held = float(data["k90"].sel(parameter=name))
                if np.isfinite(held) and held > 0:
                    mark = max(values.size - held, 0.0)
                    text += f"  k₉₀ {number(held, 0)}"
            seen = drawn.setdefault(layer, [])
            # an effective kernel that is a parameter itself is one line
            if not any(np.array_equal(values, curve.y) for curve in seen):
                x = np.arange(values.size)
                seen.append(Curve(x, values, text, line, mark=mark))
    return _panels(drawn, "time step t", "‖G_t‖") if drawn else None


def signal_to_noise(data: xr.Dataset) -> Figure | None:
    """Signal-to-noise of each parameter's gradient by lag, over the batch."""
    data = latest(data)
    if not has(data, "signal_to_noise"):
        return None
    drawn: dict[str, list[Curve]] = {}
    for layer, names in by_prefix(labels(data, "parameter")).items():
        for name, line in palette(names).items():
            values = pick(data, "signal_to_noise", "lag", parameter=name)
            if not np.any(np.isfinite(values)):
                continue
            with np.errstate(divide="ignore"):
                logs = np.log10(values)
            curve = Curve(np.arange(values.size), logs, short(name), line)
            drawn.setdefault(layer, []).append(curve)
    if not drawn:
        return None
    figure = _panels(drawn, "lag s − t", "|mean G|² / trace of cov")
    if "example" in data.dims:
        level = -np.log10(data.sizes["example"])
        for axes in figure.axes:
            axes.axhline(level, color=SOFT, linewidth=0.8, linestyle=":")
    return figure


def by_prefix(names: list[str]) -> dict[str, list[str]]:
    """Parameters by their layer; the embedding is one of its own."""
    found: dict[str, list[str]] = {}
    for name in names:
        found.setdefault(name.split("/")[0], []).append(name)
    return found


def short(name: str) -> str:
    """The parameter without its layer: the title says that.

    >>> short("layer0/U"), short("RNN_0/inner/hf/bias"), short("embedding")
    ('U', 'hf/bias', 'embedding')
    """
    return name.split("/", 1)[-1].removeprefix("inner/")


def _panels(drawn: dict[str, list[Curve]], xlabel: str, ylabel: str) -> Figure:
    room = gutter([curve.text for curves in drawn.values() for curve in curves])
    lines = max(len(curves) for curves in drawn.values())
    size = Size(2.2, tall(lines), gap_x=room + 0.65, gap_y=0.75, left=0.72, right=room)
    with style():
        figure, panels = small_multiples(len(drawn), size)
        for axes, (layer, curves) in zip(panels, drawn.items(), strict=True):
            plot(axes, curves)
            title(axes, layer)
            axes.set_xlabel(xlabel)
        for axes in panels[::3]:
            axes.set_ylabel(ylabel)
    return figure
