"""Examples that the gradient of each lag needs, as rows of a table of `flow`."""

from collections.abc import Iterator

import numpy as np
import polars as pl
import xarray as xr

from rnnjax.quantities import ALL
from rnnjax.quantities.signal import EUCLIDEAN, OPTIMIZER


EXAMPLES = {
    "train_step": pl.Int64,
    "lag": pl.Int64,
    "own": pl.Float64,
    "update": pl.Float64,
    "adapted": pl.Float64,
    "within": pl.Boolean,
    "budget": pl.Float64,
}


def example_rows(data: xr.Dataset) -> Iterator[tuple[object, ...]]:
    """`EXAMPLES` of one run's probes, of all parameters taken as one.

    log10 of N* (`own`), of N*_up (`update`) and of the latter in the metric of the
    optimizer (`adapted`, NaN without one); whether the upper end of the interval of
    N*_up lies `within` the run's `budget` of batch × updates examples. inf: no end was
    seen.
    """
    if "log10_examples_in_update" not in data:
        return
    budget = float(data["budget_horizon"].attrs["examples"])
    one = data.sel(gradient_of=ALL)

    def by_lag(name: str, metric: str, bound: str) -> np.ndarray:
        if metric not in one["metric"].to_numpy():
            return np.full((one.sizes["train_step"], one.sizes["lag"]), np.nan)
        chosen = one[name].sel(metric=metric, bound=bound)
        return chosen.transpose("train_step", "lag").to_numpy()

    own = by_lag("log10_examples", EUCLIDEAN, "estimate")
    update = by_lag("log10_examples_in_update", EUCLIDEAN, "estimate")
    adapted = by_lag("log10_examples_in_update", OPTIMIZER, "estimate")
    high = by_lag("log10_examples_in_update", EUCLIDEAN, "high")
    for i, step in enumerate(one["train_step"].to_numpy().tolist()):
        for lag in np.flatnonzero(~np.isnan(update[i])).tolist():
            values = (float(x[i, lag]) for x in (own, update, adapted))
            within = bool(high[i, lag] <= np.log10(max(budget, 1.0)))
            yield step, lag, *values, within, budget
