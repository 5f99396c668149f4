"""Signal and noise at the probed steps of a training run, and as final numbers."""

from collections.abc import Mapping

import numpy as np
import xarray as xr

from rnnjax.analysis.signal import signals
from rnnjax.quantities import ALL, COORDINATES
from rnnjax.quantities.signal import EUCLIDEAN
from rnnjax.training.config import RunConfig
from rnnjax.types import Params


RESULTS = ("log10_examples_in_update", "budget_horizon")
"""Quantities that become final numbers: at the farthest lag, and one number."""


def signal_in_training(
    config: RunConfig, params_at: Mapping[int, Params]
) -> xr.Dataset:
    """The quantities of `sections=signal` with ``train_step`` as their first dimension.

    Args:
        config: the run, with `probe.signal` examples to compare.
        params_at: its parameters at the probed training steps.
    """
    steps = sorted(params_at)
    each = [signals(config, params_at[step], config.probe.signal)() for step in steps]
    data = xr.concat(each, "train_step", combine_attrs="override")
    data = data.assign_coords(train_step=np.asarray(steps, np.int64))
    data["train_step"].attrs["definition"] = COORDINATES["train_step"]
    return data


def signal_results(data: xr.Dataset) -> dict[str, float]:
    """`RESULTS` of the whole gradient at the first and the last probed step.

    For N*_up the estimate at the largest lag that the examples have; inf: no end was
    seen.
    """
    found = {}
    for place, name in ((0, "start"), (-1, "end")):
        one = data.sel(gradient_of=ALL, metric=EUCLIDEAN).isel(train_step=place)
        needed = one[RESULTS[0]].sel(bound="estimate").to_numpy()
        known = needed[~np.isnan(needed)]
        found[f"{RESULTS[0]}.{name}"] = float(known[-1]) if known.size else np.nan
        found[f"{RESULTS[1]}.{name}"] = float(one[RESULTS[1]])
    return found
