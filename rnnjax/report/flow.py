"""The gradient flow of all runs as tidy tables, read from their probes."""

import dataclasses
import math
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl
import xarray as xr
from jaxtyping import Float

from rnnjax.errors import UserError
from rnnjax.probes.adjoints.decay import decay, transient_of
from rnnjax.probes.adjoints.norms import by_lag, lags_forward
from rnnjax.probes.adjoints.relative import mean_log, relative
from rnnjax.report.flow_signal import EXAMPLES, example_rows
from rnnjax.store.manifest import FINISHED
from rnnjax.store.rundir import PROBES, RunDir


KEYS = ["run_id", "variant", "setting", "distance", "seed"]
SIGMOID_SLOPE = 0.25
"""The largest slope of the logistic function."""

LAGS = {
    "train_step": pl.Int64,
    "lag": pl.Int64,
    "log10_norm": pl.Float64,
    "log10_ratio": pl.Float64,
    "log10_scaled": pl.Float64,
    "zeros": pl.Float64,
}
DECAYS = {
    "train_step": pl.Int64,
    "slope": pl.Float64,
    "rate": pl.Float64,
    "power": pl.Float64,
    "law": pl.String,
    "horizon": pl.Float64,
    "stays_below": pl.Float64,
    "lags": pl.Int64,
    "transient": pl.Int64,
    "zeros": pl.Int64,
    "exploded": pl.Float64,
    "first_word": pl.Float64,
    "first_ratio": pl.Float64,
    "first_scaled": pl.Float64,
    "sigma_max": pl.Float64,
    "bound": pl.Float64,
}
SHARES = {
    "train_step": pl.Int64,
    "parameter": pl.String,
    "sentence": pl.Int64,
    "time": pl.Int64,
    "length": pl.Int64,
    "word": pl.String,
    "share": pl.Float64,
}


@dataclasses.dataclass(frozen=True)
class Flow:
    """Gradient flow; every table begins with `KEYS`.

    Attributes:
        lags: by `lag`, `log10_norm` of the lagged adjoint, the median over the examples
            of the probed batch (−inf: exactly zero); `log10_ratio`, the mean over
            examples of log10 of the norm over the largest near the loss
            (`adjoints.relative`); `log10_scaled`, the same in units of the state
            (`adjoints.state_scaled`), which compares cells; and the share `zeros`
            of examples in which it is exactly zero. First layer, joint state. Examples
            in which it is not finite at some lag are left out.
        decays: the fit of `log10_ratio` (see `adjoints.decay`), NaN if no example
            is left: `slope`, `rate` a, `power` b, `law`, `horizon`, `stays_below`;
            `exploded`: the share of the examples left out; `lags` measured, the
            `transient` left out; at the largest lag `first_word`, the median norm, and
            `first_ratio`, `first_scaled`; `sigma_max` of the recurrent kernel, and for
            a sigmoid Elman network of one layer the `bound` log10(σ_max/4).
        shares: the signed `share` of each `time` step in the update of each
            `parameter`, one example at a time, at the first and the last measurement;
            `length` of the sentence and the `word`, where known.
        examples: by `lag`, the examples that a gradient needs (`flow_signal`), of runs
            with `probe.signal`.

    `train_step` is the number of updates made before; `stage` is "start" for the first
    measurement of a run, "end" for the last one and "between" otherwise.
    """

    lags: pl.DataFrame
    decays: pl.DataFrame
    shares: pl.DataFrame
    examples: pl.DataFrame


def read_flow(runs: pl.DataFrame) -> Flow:
    """Read the probes of all runs of `Runs.frame` that have them."""
    lags, decays, shares, examples = [], [], [], []
    for row in runs.iter_rows(named=True):
        run = RunDir(Path(row["path"]))
        if row["status"] not in FINISHED or not run.has(PROBES):
            continue
        try:
            data = run.probes()
        except (UserError, OSError, ValueError) as error:
            warnings.warn(f"no gradients of one run: {error}", stacklevel=2)
            continue
        if "log10_adjoint" not in data or not data.sizes.get("train_step"):
            continue
        keys = [pl.lit(row[key], runs.schema[key]).alias(key) for key in KEYS]
        curves = _curves(data)
        lags.append(_frame(_lag_rows(curves), LAGS).select(*keys, pl.all()))
        sigmoid = (row["cell"], row["activation"]) == ("elman", "sigmoid")
        sigmoid &= row["layers"] in (None, 1)
        fits = _frame(_decay_rows(data, curves, sigmoid), DECAYS)
        decays.append(fits.select(*keys, pl.all()))
        if data.sizes.get("sentence"):
            shares.append(_shares(data).select(*keys, pl.all()))
        needed = _frame(example_rows(data), EXAMPLES)
        examples.append(needed.select(*keys, pl.all()))
    keys = {key: runs.schema[key] for key in KEYS}
    return Flow(
        *(
            _staged(pl.concat([pl.DataFrame(schema=keys | kind), *found]))
            for found, kind in (
                (lags, LAGS),
                (decays, DECAYS),
                (shares, SHARES),
                (examples, EXAMPLES),
            )
        )
    )


def lag_table(probes: xr.Dataset) -> pl.DataFrame:
    """`LAGS` of one run's probes, of the first layer and state array in them."""
    return _frame(_lag_rows(_curves(probes)), LAGS)


class Curve(NamedTuple):
    """By lag at one training step, over the examples in which it is finite.

    Attributes:
        median: median of the log10 norms; NaN where no example is left.
        ratio: mean of log10 of the norm over the largest near the loss.
        scaled: the same in units of the state; NaN where it was not measured.
        zeros: share of exact zeros.
        exploded: share of the examples that are left out.
        lags: number of lags measured, those of exploded examples included.
    """

    median: Float[np.ndarray, "T"]
    ratio: Float[np.ndarray, "T"]
    scaled: Float[np.ndarray, "T"]
    zeros: Float[np.ndarray, "T"]
    exploded: float
    lags: int


def _curves(data: xr.Dataset) -> dict[int, Curve]:
    """The lag curves of the first layer and the joint state, by training step."""
    norms = data["log10_adjoint"].isel(layer=0, array=0)
    norms = norms.transpose("train_step", "time", "example").to_numpy()
    in_states = np.full(norms.shape, np.nan)
    if "log10_state_scaled" in data:
        in_states = data["log10_state_scaled"].isel(layer=0)
        in_states = in_states.transpose("train_step", "time", "example").to_numpy()
    last = data["last_step"].to_numpy().astype(int)
    measured = np.arange(norms.shape[1])[:, None] <= last[None, :]
    turned = "lag_is_time" in data and bool(data["lag_is_time"][0])

    def along_lags(rows: np.ndarray) -> np.ndarray:
        rows, zero = lags_forward(rows.astype(np.float64), last, turned)
        return by_lag(rows, np.asarray(zero))

    found = {}
    for step, values, scaled in zip(
        data["train_step"].to_numpy(), norms, in_states, strict=True
    ):
        table = along_lags(values)
        lost = np.any(measured & ~(table < np.inf), axis=0)
        table[:, lost] = np.nan
        with warnings.catch_warnings():
            # A lag that no example has stays NaN.
            warnings.simplefilter("ignore", RuntimeWarning)
            median = np.nanmedian(table, axis=1)
            seen = np.sum(~np.isnan(table), axis=1)
            zeros = np.sum(np.isneginf(table), axis=1) / np.maximum(seen, 1)
        share = float(np.sum(lost) / max(np.sum(last >= 0), 1))
        ratio = mean_log(relative(table))
        units = along_lags(scaled)
        units[:, lost] = np.nan
        left = mean_log(relative(units))
        most = int(last.max(initial=-1)) + 1
        found[int(step)] = Curve(median, ratio, left, zeros, share, most)
    return found


def _lag_rows(curves: dict[int, Curve]) -> Iterator[tuple[object, ...]]:
    for step, curve in curves.items():
        for lag in np.flatnonzero(~np.isnan(curve.median)).tolist():
            values = curve.median, curve.ratio, curve.scaled, curve.zeros
            yield step, lag, *(float(value[lag]) for value in values)


def _decay_rows(
    data: xr.Dataset, curves: dict[int, Curve], sigmoid: bool
) -> Iterator[tuple[object, ...]]:
    layer = str(data["layer"].to_numpy()[0])
    own = [str(name).startswith(f"{layer}/") for name in data["parameter"].to_numpy()]
    sigma = data["sigma_max"].transpose("train_step", "parameter").to_numpy()[:, own]
    for i, (step, found) in enumerate(curves.items()):
        seen = np.flatnonzero(~np.isnan(found.median))
        if not seen.size and not found.exploded:
            continue
        lags = int(seen[-1]) + 1 if seen.size else found.lags
        fit = decay(found.ratio[:lags])
        known = sigma[i][~np.isnan(sigma[i])]
        largest = float(known.max()) if known.size else math.nan
        bound = math.log10(SIGMOID_SLOPE * largest) if sigmoid and largest > 0 else None
        yield (
            *(step, fit.slope, fit.rate.mean, fit.power.mean, fit.law),
            *(fit.horizon, fit.stays_below, lags, transient_of(lags)),
            *(int(np.sum(np.isneginf(found.median[:lags]))), found.exploded),
            *(float(found.median[lags - 1]), float(found.ratio[lags - 1])),
            float(found.scaled[lags - 1]),
            *(largest, bound),
        )


def _shares(data: xr.Dataset) -> pl.DataFrame:
    steps = data["train_step"].to_numpy()
    chosen = sorted({int(np.argmin(steps)), int(np.argmax(steps))})
    share = data["word_share"].isel(train_step=chosen)
    share = share.transpose("train_step", "parameter", "sentence", "time")
    lengths = data["length"].to_numpy().astype(int)[: data.sizes["sentence"]]
    shape = share.shape
    axis: Callable[[np.ndarray, int], np.ndarray] = lambda values, dim: np.broadcast_to(
        values.reshape([-1 if i == dim else 1 for i in range(4)]), shape
    ).ravel()
    words = np.full(shape[2:], "", object)
    if "word" in data:
        words = data["word"].transpose("sentence", "time").to_numpy()
    table = pl.DataFrame(
        {
            "train_step": axis(steps[chosen], 0),
            "parameter": axis(data["parameter"].to_numpy().astype(str), 1),
            "sentence": axis(np.arange(shape[2]), 2),
            "time": axis(np.arange(shape[3]), 3),
            "length": axis(lengths, 2),
            "word": np.broadcast_to(words.astype(str), shape).ravel(),
            "share": share.to_numpy().ravel(),
        },
        schema=SHARES,
        strict=False,
    )
    return table.filter(pl.col("time") < pl.col("length"))


def _frame(rows: Iterator[tuple[object, ...]], schema: dict[str, type]) -> pl.DataFrame:
    return pl.DataFrame(list(rows), schema=schema, orient="row", strict=False)


def _staged(frame: pl.DataFrame) -> pl.DataFrame:
    step = pl.col("train_step")
    return frame.with_columns(
        pl.when(step == step.min().over("run_id"))
        .then(pl.lit("start"))
        .when(step == step.max().over("run_id"))
        .then(pl.lit("end"))
        .otherwise(pl.lit("between"))
        .alias("stage")
    )
