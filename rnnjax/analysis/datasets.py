"""Arrays with their names, dimensions, definitions and units."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
import xarray as xr


# these programs run only once, so optimising the code is not worth it
jit_unoptimised = functools.partial(
    jax.jit, compiler_options={"xla_backend_optimization_level": "0"}
)


@dataclasses.dataclass(frozen=True)
class Variable:
    """Description of a variable of a data set.

    Attributes:
        dims: names of its axes.
        definition: one sentence, with the source if there is one.
        units: such as `log10`, `steps`, `nats per step`, `1`.
        version: version of the definition; data sets with different versions are not
            joined.
    """

    dims: tuple[str, ...]
    definition: str
    units: str = "1"
    version: int = 1


def record(
    values: Mapping[str, Any],
    variables: Mapping[str, Variable],
    coordinates: Mapping[str, Any] | None = None,
) -> xr.Dataset:
    """A data set of those `values` that are not None, each with its attributes.

    Raises:
        KeyError: a value that `variables` does not define.
    """
    data = xr.Dataset()
    for name, value in jax.device_get(dict(values)).items():
        if value is None:
            continue
        about = variables[name]
        version = {"version": about.version} if about.version > 1 else {}
        attributes = {"definition": about.definition, "units": about.units, **version}
        data[name] = (about.dims, np.asarray(value), attributes)
    # with an index on every axis, data sets of different sizes can be combined
    labels: dict[str, Any] = {str(dim): np.arange(n) for dim, n in data.sizes.items()}
    for name, label in (coordinates or {}).items():
        if name in data.dims:
            words = isinstance(label[0], str)
            labels[name] = np.asarray(label, object if words else None)
    return data.assign_coords(labels)


def beside(parts: Sequence[xr.Dataset], dim: str, names: Sequence[str]) -> xr.Dataset:
    """Data sets stacked along a new axis; NaN where one of them lacks an entry."""
    joined: Any = xr.concat(
        list(parts), dim=dim, join="outer", data_vars="all", combine_attrs="override"
    )
    return joined.assign_coords({dim: np.asarray(names, object)})
