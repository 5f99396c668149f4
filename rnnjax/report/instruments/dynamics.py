"""Spectra: Jacobians of single steps, their products, Lyapunov exponents."""

import math

import matplotlib
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from rnnjax.report.instruments.curves import Curve, by_layer
from rnnjax.report.instruments.numbers import has, labels, needs, pick
from rnnjax.report.layout import Size, gridlines, note, small_multiples, title
from rnnjax.report.naming import number
from rnnjax.report.style import INK, SERIES, SOFT, Line, style


AT = ("step", "sentence")
LEADING, LAST = SERIES[0][0], SERIES[1][0]


@needs("singular_value")
def step_spectrum(data: xr.Dataset) -> Figure | None:
    """Singular values of the Jacobian of single steps, and its spectral radius.

    One line for each singular value, the median over the probed examples.
    """
    drawn = {}
    for layer in labels(data, "layer"):
        values = pick(data, "singular_value", *AT, "mode", layer=layer)
        table = _log10(_median(values))
        steps = data["step"].to_numpy()
        curves = drawn[layer] = _fan(steps, table)
        if curves and has(data, "spectral_radius"):
            radius = _log10(_median(pick(data, "spectral_radius", *AT, layer=layer)))
            dashes = Line(LAST, (0, (4, 2)))
            curves.append(Curve(steps, radius, "spectral radius", dashes))
    ylabel = "singular values of J_t"
    return by_layer(drawn, "step of the walk", ylabel, height=2.2, also=_thin)


@needs("log_sigma")
def propagator_spectrum(data: xr.Dataset) -> Figure | None:
    """Singular values of the product of Jacobians back to each lag, one example.

    A line for each; it ends where its direction is lost (σ = 0).
    """
    drawn = {}
    lags = data["lag_probed"].to_numpy()
    for layer in labels(data, "layer"):
        table = pick(data, "log_sigma", "lag_probed", "mode", layer=layer)
        if not np.all(np.isnan(table[lags > 0])):  # some product is a number
            drawn[layer] = _fan(lags, table / math.log(10.0))
    xlabel = "lag (steps before the last)"
    return by_layer(drawn, xlabel, "singular values of P", height=2.2, also=_thin)


@needs("lyapunov")
def lyapunov(data: xr.Dataset) -> Figure | None:
    """The leading Lyapunov exponents on stationary input by index.

    Bars: two standard errors of the time average of this one network. Exponents of −inf
    are counted, not drawn.
    """
    names = [
        layer
        for layer in labels(data, "layer")
        if not np.isnan(pick(data, "lyapunov", "exponent", layer=layer)[0])
    ]
    if not names:
        return None
    size = Size(3.2, 2.0, gap_x=0.6, gap_y=0.85, top=0.45)
    with style():
        figure, grid = small_multiples(len(names), size, 2)
        for i, (axes, layer) in enumerate(zip(grid, names, strict=True)):
            _exponents(axes, data, layer)
            axes.set_xlabel("index")
            if i % 2 == 0:
                axes.set_ylabel("exponent (nats per step)")
    return figure


def _exponents(axes: Axes, data: xr.Dataset, layer: str) -> None:
    values, errors = (
        pick(data, name, "exponent", layer=layer)
        for name in ("lyapunov", "lyapunov_error")
    )
    known = ~np.isnan(values)
    values, errors = values[known], np.nan_to_num(errors[known])
    alive = np.isfinite(values)
    index = 1 + np.flatnonzero(alive)
    axes.axhline(0.0, color=SOFT, linewidth=0.8)
    if index.size:
        axes.errorbar(
            index,
            values[alive],
            2 * errors[alive],
            fmt="o",
            color=LEADING,
            markersize=2.6,
            elinewidth=0.9,
            capsize=0,
        )
    dimension = ""
    if has(data, "kaplan_yorke"):
        value = float(pick(data, "kaplan_yorke", layer=layer))
        if not math.isnan(value):
            dimension = f": Kaplan–Yorke dimension {number(value, 1)}"
    title(axes, f"{layer}{dimension}")
    low, high = axes.get_ylim()
    axes.set_ylim(low, high + 0.04 * (high - low))
    axes.set_xlim(0, alive.size + 1)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    gridlines(axes)
    gone = int(np.sum(~alive))
    if gone:
        note(axes, 0.5, axes.get_ylim()[0], f" {gone} of {alive.size} are −∞: lost")


def _fan(x: np.ndarray, table: np.ndarray) -> list[Curve]:
    """A line for each column; the first and the last that is not lost are named."""
    table = table[:, ~np.all(np.isnan(table), axis=0)]
    count = table.shape[1]
    shades = matplotlib.colormaps["cividis"](np.linspace(0.15, 0.85, max(count, 1)))
    last = max(np.flatnonzero(np.isfinite(table[-1])), default=0)
    curves = []
    for i in range(count):
        colour = INK if i == 0 else to_hex(shades[i])
        text = f"σ_{i + 1}" if i in (0, last) else ""
        curves.append(Curve(x, table[:, i], text, Line(colour, "-")))
    return curves


def _thin(axes: Axes) -> None:
    """Thin lines, and one where nothing grows or shrinks."""
    lines = [line for line in axes.lines if line.get_zorder() == 3]
    for line in lines:
        line.set_linewidth(0.7 if len(lines) > 12 else 1.0)
    axes.axhline(0.0, color=SOFT, linewidth=0.6)


def _median(values: np.ndarray) -> np.ndarray:
    with np.errstate(all="ignore"):
        return np.median(values, axis=1)


def _log10(values: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore"):
        return np.log10(values)
