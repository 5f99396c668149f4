"""Convert data sets to and from the bytes of a netCDF file, in memory.

When HDF5 writes to a file itself, a full disk ends the whole process. Bytes made in
memory are written like those of every other file, so a full disk is just an error.
"""

import io
import json
import threading
from collections.abc import Mapping
from typing import Any

import h5py
import xarray as xr


_ONE = threading.Lock()
"""HDF5 serves one thread at a time, and its first import is not thread-safe."""


def netcdf_bytes(
    dataset: xr.Dataset, encoding: Mapping[Any, Any] | None = None
) -> bytes:
    """The content of a netCDF file (HDF5).

    Args:
        dataset: netCDF has no None, booleans or mappings as attributes, so those that
            are None are left out, booleans become 0 or 1, and mappings become JSON.
        encoding: by variable, as in ``xarray.Dataset.to_netcdf``.
    """
    clean = dataset.copy()
    clean.attrs = _attributes(dataset.attrs)
    for name, variable in dataset.variables.items():
        clean[name].attrs = _attributes(variable.attrs)
    with _ONE:
        return bytes(clean.to_netcdf(None, engine="h5netcdf", encoding=encoding))


def dataset_of(content: bytes) -> xr.Dataset:
    """The inverse of `netcdf_bytes`, read entirely into memory.

    The libraries raise many kinds of errors. h5py opens the file first: if HDF5 failed
    inside h5netcdf, h5netcdf would complain a second time when its half-initialised
    file object is garbage-collected.
    """
    with _ONE:
        with h5py.File(io.BytesIO(content)) as file:
            for name in file:
                file[name]
        return xr.load_dataset(io.BytesIO(content), engine="h5netcdf")


def _attributes(attributes: Mapping[Any, Any]) -> dict[str, Any]:
    def plain(value: Any) -> Any:
        if isinstance(value, Mapping):
            return json.dumps(value)
        if isinstance(value, list | tuple):
            return [plain(entry) for entry in value]
        return int(value) if isinstance(value, bool) else value

    return {
        str(key): plain(value) for key, value in attributes.items() if value is not None
    }
