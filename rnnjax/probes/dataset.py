"""Measurements as an xarray data set with named dimensions, definitions and units."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
import xarray as xr

from rnnjax.probes.light import LightNorms
from rnnjax.probes.measure import Labels, Measurement
from rnnjax.quantities import COORDINATES, QUANTITIES
from rnnjax.types import Batch


Words = Callable[[np.ndarray], Sequence[str]]

MEASURED: Mapping[str, tuple[str, ...]] = {
    "loss": (),
    "log10_adjoint": ("layer",),
    "log10_total_adjoint": ("layer",),
    "log10_state_scaled": ("layer",),
    "log10_contribution": (),
    "norm_share": (),
    "signed_share": (),
    "word_share": ("parameter",),
    "sigma_max": (),
}
"""The quantities measured during training, and their axes in front of their own."""


def lag_is_time(layers: Sequence[str], turned: Sequence[str]) -> xr.DataArray:
    """Mark the layers that run backwards and are read at step 0, by a single answer.

    A variable of data sets that contain such layers; see `adjoints.norms.lags_forward`.
    """
    values = np.array([layer in turned for layer in layers], np.int8)
    return xr.DataArray(values, dims="layer", attrs=_about("lag_is_time"))


def _about(name: str) -> dict[str, Any]:
    return QUANTITIES[name].attributes


def to_dataset(
    measurements: Mapping[int, Measurement],
    labels: Labels,
    batch: Batch,
    last: np.ndarray,
    words: Words | None = None,
    turned: Sequence[str] = (),
) -> xr.Dataset:
    """A data set of all measurements of one run, ready for netCDF.

    Args:
        measurements: keyed by the number of parameter updates made before each.
        labels: names along the axes.
        batch: the probed batch, the same for all measurements.
        last: the last loss step of each example ``(B,)``; lag is `last_step` − `time`.
        words: turns the tokens of one example into a label for each step; None for
            vector inputs.
        turned: layers whose lag is `time` itself (`lag_is_time`).

    Returns:
        A data set with dimensions train_step, layer, array, time, example, parameter
        and sentence. In addition to the measurements it holds the `length` and
        `last_step` of each example, which steps are `informative`, and the `word` at
        each step of the sentences ("" on padding).
    """
    steps = sorted(measurements)
    host = jax.device_get([measurements[step] for step in steps])
    data = xr.Dataset()
    for name, outer in MEASURED.items():
        values = np.stack([np.asarray(getattr(one, name)) for one in host])
        dims = ("train_step", *outer, *QUANTITIES[name].dims)
        data[name] = (dims, values, _about(name))
    lengths = np.asarray(batch.lengths)
    informative = np.asarray(batch.informative).astype(np.int8)
    beside = {"length": lengths, "last_step": last, "informative": informative}
    for name, values in beside.items():
        data[name] = (QUANTITIES[name].dims, np.asarray(values), _about(name))
    if turned:
        data["lag_is_time"] = lag_is_time(labels.layers, turned)
    if words is not None:
        tokens = np.asarray(batch.inputs)
        table = word_table(tokens[:, : data.sizes["sentence"]], lengths, words)
        data["word"] = (("time", "sentence"), table, _about("word"))
    data = data.assign_coords(
        train_step=np.asarray(steps, np.int64),
        layer=np.asarray(labels.layers, object),
        array=np.asarray(labels.arrays, object),
        parameter=np.asarray(labels.kernels, object),
        time=np.arange(data.sizes["time"]),
        example=np.arange(data.sizes["example"]),
        sentence=np.arange(data.sizes["sentence"]),
    )
    for name in data.coords:
        data[name].attrs["definition"] = COORDINATES[str(name)]
    return data


def word_table(tokens: np.ndarray, lengths: np.ndarray, words: Words) -> np.ndarray:
    """The words ``(T, sentences)`` of token columns, "" on padding."""
    table = np.full(tokens.shape, "", object)
    for column in range(tokens.shape[1]):
        length = int(lengths[column])
        table[:length, column] = list(words(tokens[:length, column]))
    return table


def light_to_dataset(measurements: Mapping[int, LightNorms]) -> xr.Dataset:
    """The light probe's norms, with dimensions train_step, layer, site and time."""
    steps = sorted(measurements)
    host = jax.device_get([measurements[step] for step in steps])
    found = {
        "log10_adjoint_rms": ("layer", [one.adjoint for one in host]),
        "log10_delta_rms": ("site", [one.delta for one in host]),
    }
    data = xr.Dataset(coords={"train_step": np.asarray(steps, np.int64)})
    for name, (axis, rows) in found.items():
        keys = sorted(rows[0])
        if not keys:  # a recurrence without kernels has no sites
            continue
        values = np.stack([[row[key] for key in keys] for row in rows])
        data[name] = (("train_step", axis, "time"), values, _about(name))
        data = data.assign_coords({axis: np.asarray(keys, object)})
    return data.assign_coords(time=np.arange(data.sizes["time"]))
