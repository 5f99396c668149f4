"""Spectra: Jacobians of single steps, their products, Lyapunov exponents."""

import math

import matplotlib
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from rnnjax.report.instruments.curves import Curve, gutter, plot, small_multiples
from rnnjax.report.instruments.numbers import has, labels, latest, pick, ranged
from rnnjax.report.layout import Size, note, title
from rnnjax.report.style import GRID, INK, SERIES, SOFT, Line, style


AT = ("step", "probed_example")
LEADING, LAST = SERIES[0][0], SERIES[1][0]


def step_spectrum(data: xr.Dataset) -> Figure | None:
    """Singular values of the Jacobian of single steps, and its spectral radius.

    One line for each singular value, the median over the probed examples.
    """
    data = latest(data)
    if not has(data, "singular_value"):
        return None
    drawn = {}
    for layer in labels(data, "layer"):
        values = pick(data, "singular_value", *AT, "mode", layer=layer)
        table = _log10(_median(values))
        curves = _fan(data["step"].to_numpy(), table)
        if not curves:
            continue
        if has(data, "spectral_radius"):
            radius = _log10(_median(pick(data, "spectral_radius", *AT, layer=layer)))
            dashes = Line(LAST, (0, (4, 2)))
            curves.append(
                Curve(data["step"].to_numpy(), radius, "spectral radius", dashes)
            )
        drawn[layer] = curves
    if not drawn:
        return None
    return _panels(drawn, "step of the walk", "singular values of J_t")


def propagator_spectrum(data: xr.Dataset) -> Figure | None:
    """Singular values of the product of Jacobians back to each lag, one example.

    A line for each; it ends where its direction is lost (σ = 0).
    """
    data = latest(data)
    if not has(data, "log_sigma"):
        return None
    drawn = {}
    lags = data["lag_probed"].to_numpy()
    for layer in labels(data, "layer"):
        table = pick(data, "log_sigma", "lag_probed", "mode", layer=layer)
        if curves := _fan(lags, table / math.log(10.0)):
            drawn[layer] = curves
    if not drawn:
        return None
    return _panels(drawn, "lag (steps before the last)", "singular values of P")


def lyapunov(data: xr.Dataset) -> Figure | None:
    """Lyapunov exponents by index: mean over examples, its error, and their range.

    Bars: mean standard error of one example; band: range of the examples. Exponents of
    −inf are counted, not drawn.
    """
    data = latest(data)
    if not has(data, "lyapunov"):
        return None
    found = {}
    for layer in labels(data, "layer"):
        values = pick(data, "lyapunov", "probed_example", "mode", layer=layer)
        values = values[:, ~np.all(np.isnan(values), axis=0)]
        if np.any(~np.any(np.isnan(values), axis=1)) and values.size:
            found[layer] = values
    if not found:
        return None
    size = Size(3.2, 2.0, gap_x=0.6, gap_y=0.85, top=0.45)
    with style():
        figure, grid = small_multiples(len(found), size, 2)
        for i, (axes, layer) in enumerate(zip(grid, found, strict=True)):
            _exponents(axes, data, layer, found[layer])
            axes.set_xlabel("index")
            if i % 2 == 0:
                axes.set_ylabel("exponent (nats per step)")
    return figure


def lost(values: np.ndarray) -> int:
    """Number of modes that are −inf in at least one example ``(examples, modes)``."""
    return int(np.any(np.isneginf(values), axis=0).sum())


def _exponents(axes: Axes, data: xr.Dataset, layer: str, values: np.ndarray) -> None:
    sound = ~np.any(np.isnan(values), axis=1)  # an example that exploded has none
    values = values[sound]
    alive = np.all(np.isfinite(values), axis=0)
    index = 1 + np.flatnonzero(alive)
    mean = values[:, alive].mean(axis=0)
    axes.axhline(0.0, color=SOFT, linewidth=0.8)
    if index.size:
        ends = values[:, alive].min(axis=0), values[:, alive].max(axis=0)
        axes.fill_between(index, *ends, color=LEADING, alpha=0.18, lw=0)
        error = None
        if "lyapunov_error" in data:
            errors = pick(data, "lyapunov_error", "probed_example", "mode", layer=layer)
            error = errors[sound, : alive.size][:, alive].mean(axis=0)
        axes.errorbar(
            index,
            mean,
            error,
            fmt="o",
            color=LEADING,
            markersize=2.2,
            elinewidth=0.9,
            capsize=0,
        )
    dimension = ""
    if has(data, "kaplan_yorke"):
        known = pick(data, "kaplan_yorke", "probed_example", layer=layer)
        dimension = f": Kaplan–Yorke dimension {ranged(known, 1)}"
    title(axes, f"{layer}{dimension}")
    low, high = axes.get_ylim()
    axes.set_ylim(low, high + 0.04 * (high - low))
    axes.set_xlim(0, alive.size + 1)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.grid(axis="y", color=GRID, linewidth=0.5)
    axes.set_axisbelow(True)
    if gone := lost(values):
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


def _panels(drawn: dict[str, list[Curve]], xlabel: str, ylabel: str) -> Figure:
    room = gutter([curve.text for curves in drawn.values() for curve in curves])
    size = Size(2.6, 2.2, gap_x=room + 0.7, gap_y=0.75, left=0.72, right=room)
    with style():
        figure, grid = small_multiples(len(drawn), size, 2)
        for i, (axes, (layer, curves)) in enumerate(
            zip(grid, drawn.items(), strict=True)
        ):
            plot(axes, curves)
            for line in axes.lines:
                if line.get_zorder() == 3:
                    line.set_linewidth(0.7 if len(curves) > 12 else 1.0)
            axes.axhline(0.0, color=SOFT, linewidth=0.6)
            title(axes, layer)
            axes.set_xlabel(xlabel)
            if i % 2 == 0:
                axes.set_ylabel(ylabel)
    return figure


def _median(values: np.ndarray) -> np.ndarray:
    with np.errstate(all="ignore"):
        return np.median(values, axis=1)


def _log10(values: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore"):
        return np.log10(values)
