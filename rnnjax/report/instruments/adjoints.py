"""The gradient that comes back: by lag, over training, taken apart, its directions."""

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np
import polars as pl
import xarray as xr
from matplotlib.figure import Figure

from rnnjax.probes.adjoints.decay import decay
from rnnjax.probes.adjoints.norms import JOINT, by_lag
from rnnjax.probes.adjoints.relative import relative
from rnnjax.report.figures.heat import adjoint_over_training
from rnnjax.report.flow import lag_table
from rnnjax.report.instruments.curves import Curve, by_layer, gutter, plot, tall
from rnnjax.report.instruments.numbers import (
    arrays,
    band,
    has,
    labels,
    lost_examples,
    needs,
    pick,
)
from rnnjax.report.layout import Size, panels, title
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
    """log10 of the joint adjoint relative to that near the loss, ``(lag, example)``.

    Examples in which it is not finite somewhere are NaN.
    """
    norms = norms_by_lag(data, "log10_adjoint", layer, JOINT)
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


@needs("log10_adjoint")
def gradient_against_lag(data: xr.Dataset) -> Figure | None:
    """log10 of the lagged adjoint by lag, for every layer and state array.

    The line is the median over examples, the band holds 10 to 90 % of them, and the
    number is the decay.
    """
    drawn: dict[str, list[Curve]] = {}
    for layer in labels(data, "layer"):
        names = arrays(data, layer)
        tables = [norms_by_lag(data, "log10_adjoint", layer, name) for name in names]
        rates = [slope(data, layer, name) for name in names]
        drawn[layer] = _medians(names, tables, rates)
    return by_layer(drawn, LAG, "‖λ‖, gradient at lag s − t")


def gradient_over_training(data: xr.Dataset) -> Figure | None:
    """log10 of the lagged adjoint by lag and training step, a panel for each layer.

    None without several measurements, as a run's ``probes.nc`` has them.
    """
    if "train_step" not in data.dims or not has(data, "log10_adjoint"):
        return None
    table = training_table(data)
    drawn = adjoint_over_training(table, palette(labels(data, "layer")), "")
    return drawn[0].figure if drawn else None


def training_table(data: xr.Dataset) -> pl.DataFrame:
    """`rnnjax.report.flow.LAGS` of every layer's joint state, the layer as variant."""
    tables = []
    for layer in labels(data, "layer"):
        if not has(data.sel(layer=layer), "log10_adjoint"):
            continue
        tables.append(
            lag_table(data.sel(layer=[layer], array=[JOINT])).select(
                pl.lit(layer).alias("variant"),
                pl.lit("").alias("setting"),
                pl.lit(None, pl.Float64).alias("distance"),
                pl.lit(0).alias("seed"),
                pl.all(),
            )
        )
    return pl.concat(tables)


@needs("log10_slope_product", "log10_weight_product")
def two_factors(data: xr.Dataset) -> Figure | None:
    """What slopes alone, weights alone and both make of the adjoint, by lag.

    Median over examples; the numbers are powers of ten per step of lag.
    """
    drawn = {}
    for layer, parts in _parts(data, "log10_slope_product", "log10_weight_product"):
        names = ("slopes φ′", "weights U", "both")
        tables = (*parts, parts[0] + parts[1])
        rates = [decay(band(values).median).slope for values in tables]
        curves = _medians(names, tables, rates)
        both = dataclasses.replace(curves[2], line=Line(INK, (0, (4, 2))))
        drawn[layer] = [*curves[:2], both]
    return by_layer(drawn, LAG, "part of the last adjoint")


@needs("log10_direct_share", "log10_adjoint")
def direct_path(data: xr.Dataset) -> Figure | None:
    """The adjoint along the direct path alone (forget gates) beside the whole one.

    Both by lag, relative to ‖λ_s‖, the largest norm of the joint state's adjoint at
    lags 0 to 5; median over examples. A cell without a direct path (all of it exactly
    zero) is left out.
    """
    drawn = {}
    for layer, (share,) in _parts(data, "log10_direct_share"):
        whole = relative(norms_by_lag(data, "log10_adjoint", layer, JOINT))
        names = ("whole", "direct path alone")
        drawn[layer] = _medians(names, (whole, whole + share))
    return by_layer(drawn, LAG, "‖λ‖ / ‖λ_s‖")


@needs("effective_rank")
def effective_rank(data: xr.Dataset) -> Figure | None:
    """Number of directions that the adjoints of the batch span, by lag."""
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
        figure, ((axes,),) = panels(1, 1, size)
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
    names: Sequence[str],
    tables: Sequence[np.ndarray],
    rates: Sequence[float] | None = None,
) -> list[Curve]:
    lines, curves = palette(names), []
    for i, (name, values) in enumerate(zip(names, tables, strict=True)):
        around = band(values)
        text = name if rates is None else f"{name}  {number(rates[i], 3)}"
        x = np.arange(len(values))
        curves.append(Curve(x, around.median, text, lines[name], around))
    return curves
