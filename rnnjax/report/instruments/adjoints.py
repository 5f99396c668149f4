"""The gradient that comes back: against lag, taken apart, and its directions."""

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from rnnjax.probes.adjoints.decay import decay, over_seeds
from rnnjax.probes.adjoints.norms import by_lag
from rnnjax.probes.adjoints.relative import relative
from rnnjax.report.instruments.curves import (
    Curve,
    gutter,
    plot,
    small_multiples,
    tall,
)
from rnnjax.report.instruments.numbers import (
    Band,
    arrays,
    band,
    has,
    labels,
    latest,
    lost_examples,
    pick,
    whole_state,
)
from rnnjax.report.layout import Size, title
from rnnjax.report.naming import number
from rnnjax.report.style import INK, Line, palette, style


ALONG = ("time", "example")
LAG = "lag s − t (steps before the loss)"


def norms_by_lag(
    data: xr.Dataset, name: str, layer: str, array: str | None = None
) -> np.ndarray:
    """A variable over time and example as ``(lag, example)``, NaN before the start."""
    where = {"layer": layer} | ({} if array is None else {"array": array})
    values = pick(data, name, *ALONG, **where)
    last = data["last_step"].to_numpy().astype(int)
    if "lag_is_time" in data and pick(data, "lag_is_time", layer=layer):
        values, last = values[::-1], np.where(last >= 0, len(values) - 1, -1)
    return by_lag(values, last)


def left_by_lag(data: xr.Dataset, layer: str) -> np.ndarray:
    """log10 of the joint adjoint over that near the loss, ``(lag, example)``.

    Examples in which it is not finite somewhere are NaN.
    """
    norms = norms_by_lag(data, "log10_adjoint", layer, whole_state(data, layer))
    return relative(np.where(lost_examples(data, layer), np.nan, norms))


def slope(data: xr.Dataset, layer: str, array: str) -> float:
    """Decay of the median example, in powers of ten per step of lag.

    The median of the `decay` of all examples; where none has one (an example shorter
    than the transient, or probes that hold no `decay`) the fit of the median curve.
    """
    if "decay" in data:
        fits = pick(data, "decay", "example", layer=layer, array=array)
        if not np.all(np.isnan(fits)):
            return float(np.nanmedian(fits))
    return decay(band(norms_by_lag(data, "log10_adjoint", layer, array)).median).slope


def gradient_against_lag(*seeds: xr.Dataset) -> Figure | None:
    """log10 of the lagged adjoint by lag, for every layer and state array.

    Args:
        seeds: one data set, or one for each seed of a network. Of one, the line is the
            median over examples and the band holds 10 to 90 % of them; of several, the
            line is the median over seeds of those medians and the band their range.

    The number at a line is the decay, of several seeds their mean and half of its 95 %
    interval.
    """
    found = [one for one in map(latest, seeds) if has(one, "log10_adjoint")]
    if not found:
        return None
    first = found[0]
    drawn = {
        layer: [
            _lag_curve(found, layer, array, line)
            for array, line in (
                (name, palette(names)[name])
                for names in [arrays(first, layer)]
                for name in names
            )
        ]
        for layer in labels(first, "layer")
    }
    drawn = {layer: curves for layer, curves in drawn.items() if curves}
    return _by_layer(drawn, "‖λ‖, gradient at lag s − t", LAG)


def _lag_curve(found: list[xr.Dataset], layer: str, array: str, line: Line) -> Curve:
    bands = [
        band(norms_by_lag(one, "log10_adjoint", layer, array))
        for one in found
        if layer in labels(one, "layer") and array in labels(one, "array")
    ]
    steps = np.arange(max(len(one.median) for one in bands))
    rates = np.array([slope(one, layer, array) for one in found])
    if len(bands) == 1:
        text = f"{array}  {number(rates[0], 3)}"
        return Curve(steps, bands[0].median, text, line, bands[0])
    table = np.full((len(bands), len(steps)), np.nan)
    for row, one in zip(table, bands, strict=True):
        row[: len(one.median)] = one.median
    mean = over_seeds(rates)
    half = "" if np.isnan(mean.low) else f" ± {number(mean.high - mean.mean, 3)}"
    known = np.where(np.isnan(table), np.inf, table).min(axis=0)
    maximum = np.where(np.isnan(table), -np.inf, table).max(axis=0)
    median = band(table, axis=0).median
    around = Band(
        np.where(np.isnan(median), np.nan, known),
        median,
        np.where(np.isnan(median), np.nan, maximum),
    )
    return Curve(steps, median, f"{array}  {number(mean.mean, 3)}{half}", line, around)


def two_factors(data: xr.Dataset) -> Figure | None:
    """What slopes alone, weights alone and both make of the adjoint, by lag.

    Median over examples; the numbers are powers of ten per step of lag.
    """
    data = latest(data)
    if not has(data, "log10_slope_product", "log10_weight_product"):
        return None
    drawn = {}
    for layer, parts in _parts(data, "log10_slope_product", "log10_weight_product"):
        names = ("slopes φ′", "weights U", "both")
        tables = (*parts, parts[0] + parts[1])
        curves = _medians(names, tables, slopes=True)
        both = dataclasses.replace(curves[2], line=Line(INK, (0, (4, 2))))
        drawn[layer] = [*curves[:2], both]
    return _by_layer(drawn, "part of the last adjoint", LAG) if drawn else None


def direct_path(data: xr.Dataset) -> Figure | None:
    """The adjoint along the direct path alone (forget gates) beside the whole one.

    Both by lag, relative to ‖λ_s‖, the largest norm of the joint state's adjoint at
    lags 0 to 5; median over examples. A cell without a direct path (all of it exactly
    zero) is left out.
    """
    data = latest(data)
    if not has(data, "log10_direct_share", "log10_adjoint"):
        return None
    drawn = {}
    for layer, (share,) in _parts(data, "log10_direct_share"):
        whole = norms_by_lag(data, "log10_adjoint", layer, whole_state(data, layer))
        whole = relative(whole)
        names = ("whole", "direct path alone")
        drawn[layer] = _medians(names, (whole, whole + share))
    return _by_layer(drawn, "‖λ‖ / ‖λ_s‖", LAG) if drawn else None


def effective_rank(data: xr.Dataset) -> Figure | None:
    """Number of directions that the adjoints of the batch span, by lag."""
    data = latest(data)
    if not has(data, "effective_rank"):
        return None
    names = labels(data, "layer")
    lines = palette(names)
    curves = [
        Curve(np.arange(values.size), values, name, lines[name])
        for name in names
        for values in [pick(data, "effective_rank", "lag", layer=name)]
        if not np.all(np.isnan(values))
    ]
    size = Size(3.4, tall(len(curves)), right=gutter(names, 3.4), left=0.5)
    with style():
        figure, (axes,) = small_multiples(1, size)
        top = max(float(np.nanmax(curve.y)) for curve in curves)
        plot(axes, curves, powers=False, limits=(1.0, max(top, 2.0)))
        axes.set_xlabel(LAG)
        axes.set_ylabel("effective rank of λ")
        title(axes, "directions of the batch")
    return figure


def _parts(
    data: xr.Dataset, *names: str
) -> Iterator[tuple[str, tuple[np.ndarray, ...]]]:
    """The layers with these variables at more than one lag, and their values."""
    for layer in labels(data, "layer"):
        found = tuple(norms_by_lag(data, name, layer) for name in names)
        lags = [np.sum(np.any(np.isfinite(values), axis=1)) for values in found]
        if min(lags) > 1:
            yield layer, found


def _medians(
    names: Sequence[str], tables: Sequence[np.ndarray], slopes: bool = False
) -> list[Curve]:
    lines, curves = palette(names), []
    for name, values in zip(names, tables, strict=True):
        around = band(values)
        rate = f"  {number(decay(around.median).slope, 3)}" if slopes else ""
        x = np.arange(len(values))
        curves.append(Curve(x, around.median, name + rate, lines[name], around))
    return curves


def _by_layer(drawn: dict[str, list[Curve]], ylabel: str, xlabel: str) -> Figure:
    """One panel of log10 values for each layer."""
    room = gutter([curve.text for curves in drawn.values() for curve in curves])
    maximum = max(len(curves) for curves in drawn.values())
    size = Size(
        2.6, tall(maximum, 2.0), gap_x=room + 0.7, gap_y=0.75, left=0.72, right=room
    )
    with style():
        figure, panels = small_multiples(len(drawn), size, 2)
        for i, (axes, (layer, curves)) in enumerate(
            zip(panels, drawn.items(), strict=True)
        ):
            plot(axes, curves)
            title(axes, layer)
            axes.set_xlabel(xlabel)
            if i % 2 == 0:
                axes.set_ylabel(ylabel)
    return figure
