"""Join the probes of several runs into one data set."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl
import xarray as xr

from rnnjax.errors import UserError


def versions(data: xr.Dataset) -> dict[str, int]:
    """The version of each variable's definition: its attribute ``version``, or 1.

    When a definition changes it gets a new version, so that old numbers are never
    averaged with new ones.
    """
    return {str(name): int(v.attrs.get("version", 1)) for name, v in data.items()}


def check_versions(datasets: Sequence[xr.Dataset]) -> None:
    """Check that each variable has the same definition in all data sets.

    Raises:
        UserError: runs have different definitions of a variable.
    """
    known: dict[str, int] = {}
    for data in datasets:
        for name, version in versions(data).items():
            if known.setdefault(name, version) != version:
                raise UserError(
                    f"'{name}' has different definitions in these runs (versions "
                    f"{known[name]} and {version}); probe the older runs again, or "
                    "read them separately"
                )


def join_probes(
    datasets: Sequence[xr.Dataset],
    run_ids: Sequence[str],
    labels: Mapping[str, pl.Series],
) -> xr.Dataset:
    """Stack data sets along a new first dimension ``run``.

    Dimensions are joined by an outer join of their coordinates; a dimension without a
    coordinate gets 0, 1, 2, …. Entries that a run lacks (later time steps, a state that
    its cell does not have) become NaN, or empty strings for text. A boolean variable
    with such gaps becomes float32, with 0, 1 and NaN.

    Args:
        datasets: one per run.
        run_ids: the run ids, used as the coordinate ``run``.
        labels: further coordinates along ``run``, by name.

    Raises:
        UserError: a variable has different definitions (`check_versions`).
    """
    check_versions(datasets)
    joined = xr.concat(
        [_numbered(dataset) for dataset in datasets],
        dim="run",
        data_vars="all",
        coords="minimal",
        compat="override",
        join="outer",
        fill_value=_padding(datasets),
        combine_attrs="drop_conflicts",
    )
    for name in joined.data_vars:
        if joined[name].dtype != bool and _kinds(datasets, name) == {"b"}:
            joined[name] = joined[name].astype("float32")
    labelled: dict[str, Any] = {
        name: ("run", _values(series)) for name, series in labels.items()
    }
    coordinates = {name for dataset in datasets for name in dataset.coords}
    return joined.set_coords(coordinates & set(joined.data_vars)).assign_coords(
        {"run": np.asarray(run_ids, str), **labelled}
    )


def _numbered(dataset: xr.Dataset) -> xr.Dataset:
    """The same data set with a coordinate for each dimension, and no others.

    Other coordinates (such as the word at a time step) may differ between runs, so they
    are turned into variables, which get the dimension ``run``.
    """
    missing = [dim for dim in dataset.dims if dim not in dataset.coords]
    numbers = {dim: np.arange(dataset.sizes[dim]) for dim in missing}
    return dataset.assign_coords(numbers).reset_coords()


def _padding(datasets: Sequence[xr.Dataset]) -> dict[Any, Any]:
    names = {name for dataset in datasets for name in dataset.variables}
    return {
        name: "" if _kinds(datasets, name) <= {"U", "T", "O"} else np.nan
        for name in names
    }


def _kinds(datasets: Sequence[xr.Dataset], name: Any) -> set[str]:
    found = (dataset.variables.get(name) for dataset in datasets)
    return {variable.dtype.kind for variable in found if variable is not None}


def _values(series: pl.Series) -> np.ndarray:
    if series.dtype == pl.String:
        return np.asarray(series.fill_null("").to_list(), str)
    return series.to_numpy()
