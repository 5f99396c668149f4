"""The gradient over the course of a training run."""

import polars as pl
import xarray as xr
from matplotlib.figure import Figure

from rnnjax.report.figures.heat import adjoint_over_training
from rnnjax.report.flow import lag_table
from rnnjax.report.instruments.numbers import has, labels, whole_state
from rnnjax.report.style import palette


def gradient_over_training(data: xr.Dataset) -> Figure | None:
    """log10 of the lagged adjoint by lag and training step, a panel for each layer.

    Args:
        data: a run's ``probes.nc``; without the dimension `train_step`, or with one
            measurement only, there is nothing to draw.
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
        array = whole_state(data, layer)
        tables.append(
            lag_table(data.sel(layer=[layer], array=[array])).select(
                pl.lit(layer).alias("variant"),
                pl.lit("").alias("setting"),
                pl.lit(None, pl.Float64).alias("distance"),
                pl.lit(0).alias("seed"),
                pl.all(),
            )
        )
    return pl.concat(tables)
