"""What the gradients of a probe data set do, in sentences chosen by the numbers."""

import math

import numpy as np
import xarray as xr

from rnnjax.probes.decay import decay
from rnnjax.report.explosion import lost_examples
from rnnjax.report.flow import transient_of
from rnnjax.report.instruments.adjoints import fitted, norms_by_lag, slope
from rnnjax.report.instruments.numbers import (
    arrays,
    band,
    brief,
    has,
    labels,
    latest,
    percent,
    pick,
    ranged,
    whole_state,
)
from rnnjax.report.instruments.training import training_table
from rnnjax.report.naming import number, power, whole


Sentences = list[str]

DECADE = 1.0
"""A change of the norm by less than this power of ten over all lags is called none.

A gradient vanishes that falls below a thousandth within the lags measured."""


def gradient(*seeds: xr.Dataset) -> Sentences:
    """Whether the adjoint of each layer vanishes, how fast, and how far it reaches."""
    data = latest(seeds[0])
    found = []
    for layer in labels(data, "layer"):
        if not arrays(data, layer) or np.all(lost_examples(data, layer)):
            continue  # `explosion` says what there is to say
        array = whole_state(data, layer)
        norms = norms_by_lag(data, "log10_adjoint", layer, array)
        lost = lost_examples(data, layer)
        name = layer
        if lost.any():
            name += (
                f" ({int(np.sum(~lost))} of {lost.size} examples, the others explode)"
            )
            norms = np.where(lost, np.nan, norms)
        curve = band(norms).middle
        lags = int(np.flatnonzero(~np.isnan(curve))[-1])
        rate = slope(data, layer, array)
        if math.isnan(rate):
            alive = int(np.isfinite(curve).sum())
            found.append(
                f"{name}: no decay can be fitted; the gradient is finite and not zero "
                f"at {alive} of {lags + 1} lags."
            )
            continue
        known = curve[: lags + 1]
        change = float(known[np.isfinite(known)][-1] - known[np.isfinite(known)][0])
        reach = decay(known, transient_of(len(known))).horizon
        if "memory_horizon" in data:
            horizons = pick(data, "memory_horizon", "example", layer=layer, array=array)
            if not np.all(np.isnan(horizons)):
                reach = float(np.nanmedian(horizons))
        verb = (
            "falls near the loss and grows beyond"
            if change <= -DECADE and rate > 0
            else "grows near the loss and falls beyond"
            if change >= DECADE and rate < 0
            else "vanishes"
            if rate < 0 and math.isfinite(reach)
            else "explodes"
            if change >= DECADE
            else "shrinks"
            if change <= -DECADE
            else "stays within a power of ten"
        )
        far = (
            f"horizon beyond the {lags} lags measured"
            if math.isinf(reach)
            else f"horizon {whole(reach)} steps"
        )
        zeros = float(np.mean(np.any(np.isneginf(norms[:, ~lost]), axis=0)))
        dead = f"; exactly zero at some lag in {percent(zeros)} of examples"
        found.append(
            f"{name}: {verb}: {brief(rate)} decades per step of lag, "
            f"in all {number(change, 1)} over {lags} lags; "
            f"{far}{dead if zeros else ''}."
        )
    return found


def training(data: xr.Dataset) -> Sentences:
    """What training did to the gradient at the farthest lag."""
    table = training_table(data)
    found = []
    for layer in table["variant"].unique(maintain_order=True):
        here = table.filter(variant=layer)
        far = here.filter(lag=here["lag"].max()).sort("train_step")
        first, last = far.row(0, named=True), far.row(-1, named=True)
        found.append(
            f"{layer}: at lag {first['lag']} log₁₀‖λ‖ is "
            f"{number(first['log10_norm'], 1)} after {first['train_step']} updates and "
            f"{number(last['log10_norm'], 1)} after {last['train_step']}."
        )
    return found


def two_factors(data: xr.Dataset) -> Sentences:
    """Slopes and weights, each in decades per step of lag."""
    data = latest(data)
    found = []
    for layer in labels(data, "layer"):
        rates = [
            fitted(band(norms_by_lag(data, f"log10_{part}_product", layer)).middle)
            for part in ("slope", "weight")
        ]
        if any(map(math.isnan, rates)):
            continue
        greater = "slopes" if abs(rates[0]) > abs(rates[1]) else "weights"
        found.append(
            f"{layer}: slopes change the norm by {number(rates[0], 3)} decades per "
            f"step, weights by {number(rates[1], 3)}: most of it is due to the "
            f"{greater}."
        )
    return found


def direct_path(data: xr.Dataset) -> Sentences:
    """How much of the adjoint the direct path alone explains at the largest lag."""
    data = latest(data)
    found = []
    for layer in labels(data, "layer"):
        share = band(norms_by_lag(data, "log10_direct_share", layer)).middle
        known = np.flatnonzero(np.isfinite(share))
        if known.size < 2:
            continue
        lag, value = int(known[-1]), float(share[known[-1]])
        text = brief(10.0**value) if value > -3 else power(value)
        found.append(
            f"{layer}: at lag {lag} the direct path alone has {text} times the norm "
            "of the whole adjoint."
        )
    return found


def effective_rank(data: xr.Dataset) -> Sentences:
    """Directions that come back at the two ends."""
    data = latest(data)
    found = []
    for layer in labels(data, "layer"):
        values = pick(data, "effective_rank", "lag", layer=layer)
        known = np.flatnonzero(~np.isnan(values))
        if known.size:
            first, last = int(known[0]), int(known[-1])
            end = f" and {number(values[last])} at lag {last}" if last > first else ""
            found.append(
                f"{layer}: the adjoints of the batch span {number(values[first])} "
                f"directions at lag {first}{end}."
            )
    return found


def step_spectrum(data: xr.Dataset) -> Sentences:
    """Spectral norm and radius of single steps."""
    data = latest(data)
    found = []
    for layer in labels(data, "layer"):
        one = data.sel(layer=layer)
        if not has(one, "spectral_norm"):
            continue
        text = f"{layer}: largest singular value {ranged(one['spectral_norm'].values)}"
        if has(one, "spectral_radius"):
            text += f", spectral radius {ranged(one['spectral_radius'].values)}"
        if has(one, "non_normality"):
            text += f", departure from normality {ranged(one['non_normality'].values)}"
        found.append(f"{text}: median and range over steps and examples.")
    return found
