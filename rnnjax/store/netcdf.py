"""Data sets as the bytes of a netCDF file, made in memory.

HDF5 writes files by itself, and ends the whole process where the disk is full. Bytes
are written like those of every other file.
"""

import io
import json
import threading
from collections.abc import Mapping
from typing import Any

import h5py
import xarray as xr


_ONE = threading.Lock()
"""HDF5 works for one thread at a time, and its first import is no thread's alone."""


def netcdf_bytes(
    dataset: xr.Dataset, encoding: Mapping[Any, Any] | None = None
) -> bytes:
    """The content of a netCDF file (HDF5).

    Args:
        dataset: attributes None are left out, logical ones become 0 or 1 and mappings
            JSON text, as netCDF has none of them.
        encoding: by variable, as of ``xarray.Dataset.to_netcdf``.
    """
    clean = dataset.copy()
    clean.attrs = _attributes(dataset.attrs)
    for name, variable in dataset.variables.items():
        clean[name].attrs = _attributes(variable.attrs)
    with _ONE:
        return bytes(clean.to_netcdf(None, engine="h5netcdf", encoding=encoding))


def dataset_of(content: bytes) -> xr.Dataset:
    """The inverse of `netcdf_bytes`, all of it in memory; libraries raise many errors.

    HDF5 looks first: where it fails inside of h5netcdf, that complains again when its
    half-made file is collected.
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
