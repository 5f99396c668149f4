"""Data sets of quantities, with their axes, definitions and units."""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
import xarray as xr

from rnnjax.executables.functions import jit_unoptimised
from rnnjax.probes.tokens.importance import first_sentences
from rnnjax.quantities import COORDINATES, QUANTITIES


some_sentences = jit_unoptimised(first_sentences, static_argnames=("spec", "count"))


def record(
    values: Mapping[str, Any], coordinates: Mapping[str, Any] | None = None
) -> xr.Dataset:
    """A data set of `values`, each with its attributes.

    Args:
        values: arrays by the name of the quantity.
        coordinates: labels along some axes; along the others, counted from 0.

    Raises:
        KeyError: a value that `rnnjax.quantities` does not declare.
    """
    data = xr.Dataset()
    for name, value in jax.device_get(dict(values)).items():
        quantity = QUANTITIES[name]
        data[name] = (quantity.dims, np.asarray(value), quantity.attributes)
    # with an index on every axis, data sets of different sizes can be combined
    labels: dict[str, Any] = {str(dim): np.arange(n) for dim, n in data.sizes.items()}
    for name, label in (coordinates or {}).items():
        if name in data.dims:
            words = isinstance(label[0], str)
            labels[name] = np.asarray(label, object if words else None)
    data = data.assign_coords(labels)
    for name in data.coords:
        data[name].attrs["definition"] = COORDINATES[str(name)]
    return data
