"""Rows of a data set for the parameters of a user's model, by their names there."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from rnnjax.probes.backward.parameter_sources import Sources
from rnnjax.probes.backward.trace import Trace
from rnnjax.probes.contributions.to_other_parameters import (
    free_parameters,
    parameter_of,
)


GRADIENT = "log10_gradient"
"""The quantity that is known of every parameter, wherever it is used."""

DEFINITION = (
    "path in the model's own parameters; path@recurrence is the part of one of several "
    "uses, or a kernel that the cell computes from its parameters"
)


def by_path(
    data: xr.Dataset, seen: Trace, sources: Sources, norms: Mapping[str, Any]
) -> xr.Dataset:
    """Name every row along `parameter` as the user does, and add those that lack.

    A parameter that one recurrence or one embedding uses, and nothing else, keeps its
    row under its path. One with several uses has a row for each, `path@recurrence`, and
    one for the whole. That, and the row of a parameter that no recurrence uses, has a
    gradient only: what each step contributes is not known there.

    Args:
        data: with rows named by recurrence and kernel, as `contributions` does.
        seen: the backward pass that they come from.
        sources: the parameters behind its recurrences and embeddings.
        norms: log10 of the norm of the gradient of every parameter, by path.
    """
    used = _used(seen, sources)
    counts = [path for path, _ in used.values()]
    labels, alone = [], set()
    for name in data["parameter"].values:
        path, site = used[name]
        if path in norms and counts.count(path) == 1 and path not in sources.outside:
            alone.add(path)
            labels.append(path)
        else:
            label = f"{path}@{site}"
            # two parameters of one cell that the model has made of one array
            labels.append(f"{path}@{name}" if label in labels else label)
    data = data.assign_coords(parameter=np.asarray(labels, object))
    order = [*norms, *(name for name in labels if name not in norms)]
    data = data.reindex(parameter=np.asarray(order, object))
    data["parameter"].attrs["definition"] = DEFINITION
    gradient = data[GRADIENT].values.copy()
    for row, name in enumerate(order):
        if name in norms and name not in alone:
            gradient[row] = norms[name]
    data[GRADIENT] = data[GRADIENT].copy(data=gradient)
    return data


def _used(seen: Trace, sources: Sources) -> dict[str, tuple[str, str]]:
    """The path of a parameter and the site, by the name of the row.

    Sources are in the order of the calls, as are recurrences and embeddings among
    themselves.
    """
    found: dict[str, tuple[str, str]] = {}
    walks, lookups = iter(seen.walks), iter(seen.lookups)
    for own in sources.sites:
        if set(own) == {""}:
            name = next(lookups).name
            found[name] = own[""] or name, name
            continue
        walk = next(walks)
        root = _root(own, walk.name)
        for kernel in walk.kernels:
            path = parameter_of(walk, kernel)
            known = own.get(path) if path else None
            found[f"{walk.name}/{kernel}"] = known or f"{root}/{kernel}", walk.name
        for path in free_parameters(walk):
            found[f"{walk.name}/{path}"] = own.get(path) or f"{root}/{path}", walk.name
    return found


def _root(own: Mapping[str, str | None], name: str) -> str:
    """Where the parameters of a cell are in the user's tree; else its name."""
    for path, known in own.items():
        if known and known.endswith(f"/{path}"):
            return known.removesuffix(f"/{path}")
    return name
