"""Measurements as an xarray data set with named dimensions, definitions and units."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
import xarray as xr

from rnnjax.probes.light import LightNorms
from rnnjax.probes.measure import Labels, Measurement
from rnnjax.types import Batch


Words = Callable[[np.ndarray], Sequence[str]]

VARIABLES: Mapping[str, tuple[tuple[str, ...], str, str]] = {
    "loss": ((), "loss of the probed batch", "nats or squared error"),
    "log10_adjoint": (
        ("layer", "array", "time", "example"),
        "log10 of the Euclidean norm of the lagged adjoint: gradient of the loss at "
        "the last loss step with respect to the state after this step; -inf: exactly "
        "zero, NaN: padding, or no number because the network exploded",
        "log10",
    ),
    "log10_total_adjoint": (
        ("layer", "time", "example"),
        "log10 of the norm of the gradient of the whole loss with respect to the joint "
        "state after this step",
        "log10",
    ),
    "log10_state_scaled": (
        ("layer", "time", "example"),
        "log10 of the lagged adjoint of the joint state in units of the state: "
        "|S^(1/2) lambda|, S the covariance of the state after this step over the "
        "examples of the batch; NaN: padding, or one example alone",
        "log10",
    ),
    "log10_contribution": (
        ("kernel", "time"),
        "log10 of the Frobenius norm of G_t, what this step gives to the gradient of "
        "the effective kernel, summed over the batch",
        "log10",
    ),
    "norm_share": (("kernel", "time"), "|G_t| / sum of |G_s| over all steps", "1"),
    "signed_share": (
        ("kernel", "time"),
        "<G_t, G> / |G|^2, which sums to 1; NaN where G is exactly zero",
        "1",
    ),
    "word_share": (
        ("kernel", "time", "sentence"),
        "signed share of this step within the gradient of one example alone, of its "
        "last loss; 0 on padding",
        "1",
    ),
    "sigma_max": (
        ("kernel",),
        "largest singular value of a dense recurrent kernel, the largest over its "
        "gates; NaN for other kernels",
        "1",
    ),
}
"""Dimensions (after `train_step`), definition and unit of every variable."""

VERSIONS: Mapping[str, int] = {"word_share": 2}
"""Versions of definitions that have changed; see `rnnjax.store.joined.versions`."""

COORDINATES: Mapping[str, str] = {
    "train_step": "number of parameter updates made before the measurement",
    "layer": "recurrent layer and, if it walks backwards, its direction",
    "array": "state array, or all of them jointly",
    "time": "time step of the input, the first is 0",
    "example": "example of the probed batch",
    "kernel": "kernel, as layer/name",
    "sentence": "the first examples of the probed batch",
}


def lag_is_time(layers: Sequence[str], turned: Sequence[str]) -> xr.DataArray:
    """Mark the layers that run backwards and are read at step 0, by a single answer.

    A variable of data sets that contain such layers; see `adjoints.norms.lags_forward`.
    """
    definition = (
        "1 where the lag is the time step itself: a walk from the end that the answer "
        "reads at step 0; 0: it is last_step - time"
    )
    values = np.array([layer in turned for layer in layers], np.int8)
    return xr.DataArray(values, dims="layer", attrs={"definition": definition})


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
        A data set with dimensions train_step, layer, array, time, example, kernel and
        sentence. In addition to the measurements it holds the `length` and `last_step`
        of each example, which steps are `informative`, and the `word` at each step of
        the sentences ("" on padding).
    """
    steps = sorted(measurements)
    host = jax.device_get([measurements[step] for step in steps])
    data = xr.Dataset()
    for name, (dims, definition, unit) in VARIABLES.items():
        values = np.stack([np.asarray(getattr(one, name)) for one in host])
        attributes: dict[str, Any] = {"definition": definition, "units": unit}
        if name in VERSIONS:
            attributes["version"] = VERSIONS[name]
        data[name] = (("train_step", *dims), values, attributes)
    lengths = np.asarray(batch.lengths)
    informative = np.asarray(batch.informative).astype(np.int8)
    data["length"] = ("example", lengths, {"definition": "valid steps", "units": "1"})
    data["last_step"] = (
        "example",
        np.asarray(last),
        {"definition": "last loss step s; the lag is s - time", "units": "1"},
    )
    data["informative"] = (
        ("time", "example"),
        informative,
        {"definition": "1 where the target depends on this step", "units": "1"},
    )
    if turned:
        data["lag_is_time"] = lag_is_time(labels.layers, turned)
    if words is not None:
        tokens = np.asarray(batch.inputs)
        table = word_table(tokens[:, : data.sizes["sentence"]], lengths, words)
        data["word"] = (
            ("time", "sentence"),
            table,
            {"definition": "word at this step"},
        )
    data = data.assign_coords(
        train_step=np.asarray(steps, np.int64),
        layer=np.asarray(labels.layers, object),
        array=np.asarray(labels.arrays, object),
        kernel=np.asarray(labels.kernels, object),
        time=np.arange(data.sizes["time"]),
        example=np.arange(data.sizes["example"]),
        sentence=np.arange(data.sizes["sentence"]),
    )
    for name, definition in COORDINATES.items():
        data[name].attrs["definition"] = definition
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
        definition = "log10 of the root mean square over the batch, float32"
        data[name] = (
            ("train_step", axis, "time"),
            values,
            {"definition": definition, "units": "log10"},
        )
        data = data.assign_coords({axis: np.asarray(keys, object)})
    return data.assign_coords(time=np.arange(data.sizes["time"]))
