"""What gradients and factors of a probe data set do, in sentences by the numbers."""

import functools
import math
from collections.abc import Callable

import numpy as np
import xarray as xr

from rnnjax.counting import count
from rnnjax.probes.adjoints.decay import Decay, decay, transient_of
from rnnjax.probes.adjoints.relative import adjoint_rate, mean_log
from rnnjax.report.instruments.adjoints import left_by_lag, norms_by_lag, training_table
from rnnjax.report.instruments.contributions import by_prefix
from rnnjax.report.instruments.numbers import (
    arrays,
    band,
    brief,
    has,
    labels,
    latest,
    lost_examples,
    percent,
    pick,
    ranged,
)
from rnnjax.report.naming import number, power, whole


Sentences = list[str]

MAX_NAMED = 6
"""Number of kernels that a sentence names."""

DECADE = 1.0
"""A change of the norm by less than this power of ten over all lags is called none.

A gradient vanishes that falls below a thousandth of that near the loss within the lags
measured."""


LAWS = {
    "exponential": "an exponential ({rate} powers of ten per step of lag)",
    "power law": "a power law (lag to the {power})",
    "mixture": "neither a plain exponential nor a plain power law",
    "none": "hardly any decay beyond the first lags",
    "undecided": "too few or too noisy lags to name a law",
}


def each_layer(
    say: Callable[[xr.Dataset, str], str],
) -> Callable[[xr.Dataset], Sentences]:
    """Sentences "layer: …." on the latest measurement, from what is said of a layer."""

    @functools.wraps(say)
    def said(data: xr.Dataset) -> Sentences:
        data = latest(data)
        texts = ((layer, say(data, layer)) for layer in labels(data, "layer"))
        return [f"{layer}: {text}." for layer, text in texts if text]

    return said


def gradient(data: xr.Dataset) -> Sentences:
    """How much of the gradient near the loss is left, by which law, and how far."""
    data = latest(data)
    found = []
    for layer in labels(data, "layer"):
        lost = lost_examples(data, layer)
        if not arrays(data, layer) or lost.all():
            continue  # `explosion` reports this layer instead
        some = f" ({int(np.sum(~lost))} of {lost.size} examples, the others explode)"
        name = layer + some * bool(lost.any())
        ratios = left_by_lag(data, layer)
        curve = mean_log(ratios)
        if not np.any(np.isfinite(curve)):
            found.append(f"{name}: the gradient is exactly zero near the loss.")
            continue
        lags = int(np.flatnonzero(~np.isnan(curve))[-1])
        fit, change = decay(curve), float(curve[lags])
        zeros = float(np.mean(np.any(np.isneginf(ratios[:, ~lost]), axis=0)))
        rate = adjoint_rate(ratios)
        dead = f"; exactly zero at some lag in {percent(zeros)} of examples"
        left = (
            f"at lag {lags} log₁₀‖λ‖/‖λ_s‖ is {number(change, 1)}, an adjoint rate of "
            f"{brief(rate)} nats per step, and from lag {transient_of(lags + 1)} on "
            f"{brief(fit.slope)} powers of ten per step; {_law(fit)}"
            if math.isfinite(change)
            else f"at lag {lags} it is exactly zero in all examples"
        )
        found.append(
            f"{name}: {_verb(fit, change)}: {left}; "
            f"{_reach(fit, lags)}{dead if zeros else ''}."
        )
    return found


def _verb(fit: Decay, change: float) -> str:
    if change <= -DECADE and fit.slope > 0:
        return "falls near the loss and grows beyond"
    if change >= DECADE and fit.slope < 0:
        return "grows near the loss and falls beyond"
    if math.isfinite(fit.horizon):
        return "vanishes"
    if change >= DECADE:
        return "explodes"
    return "shrinks" if change <= -DECADE else "stays within a power of ten"


def _law(fit: Decay) -> str:
    return LAWS[fit.law].format(
        rate=brief(fit.rate.mean), power=number(fit.power.mean, 1)
    )


def _reach(fit: Decay, lags: int) -> str:
    if math.isnan(fit.horizon):
        return "no horizon"
    if math.isinf(fit.horizon):
        return f"horizon beyond the {lags} lags measured"
    text = f"horizon {count(int(fit.horizon), 'step')}"
    if fit.stays_below > fit.horizon:
        text += (
            " (it does not stay below a thousandth)"
            if math.isinf(fit.stays_below)
            else f" (it stays below a thousandth from lag {whole(fit.stays_below)})"
        )
    return text


def training(data: xr.Dataset) -> Sentences:
    """What training did to the gradient at the farthest lag."""
    table = training_table(data)
    found = []
    for layer in table["variant"].unique(maintain_order=True):
        here = table.filter(variant=layer)
        far = here.filter(lag=here["lag"].max()).sort("train_step")
        first, last = far.row(0, named=True), far.row(-1, named=True)
        found.append(
            f"{layer}: at lag {first['lag']} log₁₀‖λ‖/‖λ_s‖ is "
            f"{number(first['log10_ratio'], 1)} after {first['train_step']} updates "
            f"and {number(last['log10_ratio'], 1)} after {last['train_step']} "
            f"(log₁₀‖λ‖ itself {number(first['log10_norm'], 1)} and "
            f"{number(last['log10_norm'], 1)}, which shrinks with the loss)."
        )
    return found


@each_layer
def two_factors(data: xr.Dataset, layer: str) -> str:
    """Slopes and weights, each in decades per step of lag."""
    slope, weight = (
        decay(band(norms_by_lag(data, f"log10_{part}_product", layer)).median).slope
        for part in ("slope", "weight")
    )
    if math.isnan(slope + weight):
        return ""
    greater = "slopes" if abs(slope) > abs(weight) else "weights"
    return (
        f"slopes change the norm by {number(slope, 3)} decades per step, weights by "
        f"{number(weight, 3)}: most of it is due to the {greater}"
    )


@each_layer
def direct_path(data: xr.Dataset, layer: str) -> str:
    """How much of the adjoint the direct path alone explains at the largest lag."""
    share = band(norms_by_lag(data, "log10_direct_share", layer)).median
    known = np.flatnonzero(np.isfinite(share))
    if known.size < 2:
        return ""
    lag, value = int(known[-1]), float(share[known[-1]])
    text = brief(10.0**value) if value > -3 else power(value)
    return (
        f"at lag {lag} the direct path alone has {text} times the norm of the whole "
        "adjoint"
    )


@each_layer
def effective_rank(data: xr.Dataset, layer: str) -> str:
    """Directions that come back at the two ends."""
    values = pick(data, "effective_rank", "lag", layer=layer)
    known = np.flatnonzero(~np.isnan(values))
    if not known.size:
        return ""
    first, last = int(known[0]), int(known[-1])
    end = f" and {number(values[last])} at lag {last}" if last > first else ""
    return (
        f"the adjoints of the batch span {number(values[first])} directions at lag "
        f"{first}{end}"
    )


@each_layer
def step_spectrum(data: xr.Dataset, layer: str) -> str:
    """Spectral norm and radius of single steps."""
    one = data.sel(layer=layer)
    parts = [
        f"{name} {ranged(one[key].values)}"
        for key, name in (
            ("spectral_norm", "largest singular value"),
            ("spectral_radius", "spectral radius"),
            ("non_normality", "departure from normality"),
        )
        if has(one, key)
    ]
    if not has(one, "spectral_norm"):
        return ""
    return f"{', '.join(parts)}: median and range over steps and examples"


def contributions(data: xr.Dataset) -> Sentences:
    """How many last steps hold nine tenths of the contributions."""
    data = latest(data)
    if not has(data, "k90"):
        return []
    found, steps = [], data.sizes["time"]
    for layer, names in by_prefix(labels(data, "parameter")).items():
        here = data.sel(parameter=names)
        alive = np.isfinite(pick(here, "log10_contribution", "parameter", "time"))
        held = pick(here, "k90", "parameter")[alive.any(axis=1)]
        held = held[~np.isnan(held)].tolist()
        if held:
            low, high = min(held), max(held)
            span = whole(low) if low == high else f"{whole(low)} to {whole(high)}"
            each = f" of each of {len(held)} parameters" if len(held) > 1 else ""
            found.append(
                f"{layer}: 90 % of Σ‖G_t‖{each} lie in the last {span} of {steps} "
                f"steps (of equal ones: {math.ceil(0.9 * steps)})."
            )
    return found


def signal_to_noise(data: xr.Dataset) -> Sentences:
    """Median signal-to-noise in the nearer and the farther half of the lags."""
    data = latest(data)
    found, level = [], 1 / data.sizes.get("example", np.inf)
    above = [0, 0]
    for name in labels(data, "parameter"):
        values = pick(data, "signal_to_noise", "lag", parameter=name)
        halves = np.array_split(values, 2)
        if all(np.any(np.isfinite(half)) for half in halves):
            medians = [float(np.nanmedian(half)) for half in halves]
            above = [n + (m > level) for n, m in zip(above, medians, strict=True)]
            found.append(f"{name} {brief(medians[0])} → {brief(medians[1])}")
    if not found:
        return []
    shown = "; ".join(found[:MAX_NAMED])
    more = f"; and {len(found) - MAX_NAMED} more" if len(found) > MAX_NAMED else ""
    return [
        f"Of {count(len(found), 'parameter')} {above[0]} lie above 1/B = "
        f"{brief(level)}, the level of noise alone, in the nearer half of the lags and "
        f"{above[1]} in the farther (medians of the halves: {shown}{more})."
    ]


@each_layer
def slopes(data: xr.Dataset, layer: str) -> str:
    """Mean slope against its bound, for every activation."""
    parts = []
    for name in labels(data, "activation"):
        one = data.sel(layer=layer, activation=name)
        mean, bound = float(one["slope_mean"]), float(one["slope_bound"])
        if not math.isnan(mean):
            parts.append(
                f"{name} {number(mean, 3)} of at most {number(bound)} "
                f"({percent(float(one['slope_saturated']))} saturated)"
            )
    return f"mean slope {'; '.join(parts)}" if parts else ""


@each_layer
def gates(data: xr.Dataset, layer: str) -> str:
    """Openness and median time constants of every gate."""
    parts = []
    for name in labels(data, "gate"):
        one = data.sel(layer=layer, gate=name)
        if math.isnan(float(one["gate_open"])):
            continue
        text = f"{name} is {number(float(one['gate_open']))} open on average"
        if "time_constant" in data:
            kept = np.nanmedian(one["time_constant"])
            shut = np.nanmedian(one["time_constant_shut"])
            text += (
                f" (time constant {number(float(kept), 1)} steps, "
                f"{number(float(shut), 1)} of its complement)"
            )
        parts.append(text)
    return "; ".join(parts)
