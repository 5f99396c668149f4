"""Log a data set of quantities to a run of W&B: `data.log(run)`."""

from typing import Any

import numpy as np
import xarray as xr


AXES = ("layer", "array", "parameter")
"""Axes of which every entry is a number of its own in W&B."""


def numbers(data: xr.Dataset) -> dict[str, float]:
    """The finite numbers of a data set that have no axis of time, lag or example.

    Named as `layer/array/quantity` or `parameter/quantity`; of an interval, its
    estimate.
    """
    if "bound" in data.dims:
        data = data.sel(bound="estimate")
    found: dict[str, float] = {}
    for name, values in data.data_vars.items():
        dims = [dim for dim in values.dims if dim in AXES]
        if len(dims) < values.ndim or not np.issubdtype(values.dtype, np.number):
            continue
        for index in np.ndindex(*(values.sizes[dim] for dim in dims)):
            at = dict(zip(dims, index, strict=True))
            labels = [str(data[dim].values[at[dim]]) for dim in AXES if dim in dims]
            value = float(values.isel(at))
            if np.isfinite(value):
                found["/".join([*labels, str(name)])] = value
    return found


@xr.register_dataset_accessor("log")
class Log:
    """The method `log` of data sets, once `rnnjax.probe` was imported."""

    def __init__(self, data: xr.Dataset) -> None:
        """Keep the data set."""
        self._data = data

    def __call__(self, run: Any, **options: Any) -> dict[str, float]:
        """Log `numbers` under ``gradient flow/`` in one call of ``run.log``.

        Args:
            run: a run of W&B, or anything else with a method `log`.
            options: passed on, such as ``step=100``.

        Returns:
            what was logged.
        """
        found = {f"gradient flow/{k}": v for k, v in numbers(self._data).items()}
        run.log(found, **options)
        return found
