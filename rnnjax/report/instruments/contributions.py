"""What each time step gives to every parameter."""

import functools

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rnnjax.report.instruments.curves import Curve, by_layer
from rnnjax.report.instruments.numbers import labels, needs, pick
from rnnjax.report.naming import number
from rnnjax.report.style import SOFT, palette


@needs("log10_contribution")
def contributions(data: xr.Dataset) -> Figure | None:
    """log10‖G_t‖ against time for every parameter; a dot where its k90 steps begin.

    A panel for each layer; the embedding has one of its own.
    """
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
    return _by_layer(drawn, "time step t", "‖G_t‖")


@needs("signal_to_noise")
def signal_to_noise(data: xr.Dataset) -> Figure | None:
    """Signal-to-noise of each parameter's gradient by lag, over the batch."""
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

    def level(axes: Axes) -> None:
        if "example" in data.dims:
            value = -np.log10(data.sizes["example"])
            axes.axhline(value, color=SOFT, linewidth=0.8, linestyle=":")

    return _by_layer(drawn, "lag s − t", "|mean G|² / trace of cov", also=level)


_by_layer = functools.partial(by_layer, width=2.2, height=1.8, gap=0.65, columns=3)


def by_prefix(names: list[str]) -> dict[str, list[str]]:
    """Parameters by their layer; the embedding is one of its own."""
    found: dict[str, list[str]] = {}
    for name in names:
        found.setdefault(name.split("/")[0], []).append(name)
    return found


def short(name: str) -> str:
    """The parameter without its layer: the title says that.

    >>> short("layer0/U"), short("LSTMCell_0/hf/bias"), short("embedding")
    ('U', 'hf/bias', 'embedding')
    """
    return name.split("/", 1)[-1]
