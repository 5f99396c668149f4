"""What the gradients of a probe data set do, in sentences chosen by the numbers."""

import math

import numpy as np
import xarray as xr

from rnnjax.counting import count
from rnnjax.probes.adjoints.decay import Decay, decay, transient_of
from rnnjax.probes.adjoints.relative import adjoint_rate, mean_log
from rnnjax.report.instruments.adjoints import left_by_lag, norms_by_lag
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
from rnnjax.report.instruments.training import training_table
from rnnjax.report.naming import number, power, whole


Sentences = list[str]

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


def gradient(*seeds: xr.Dataset) -> Sentences:
    """How much of the gradient near the loss is left, by which law, and how far."""
    data = latest(seeds[0])
    found = []
    for layer in labels(data, "layer"):
        if not arrays(data, layer) or np.all(lost_examples(data, layer)):
            continue  # `explosion` says what there is to say
        lost = lost_examples(data, layer)
        name = layer
        if lost.any():
            name += (
                f" ({int(np.sum(~lost))} of {lost.size} examples, the others explode)"
            )
        ratios = left_by_lag(data, layer)
        curve = mean_log(ratios)
        if not np.any(np.isfinite(curve)):
            found.append(f"{name}: the gradient is exactly zero near the loss.")
            continue
        lags = int(np.flatnonzero(~np.isnan(curve))[-1])
        fit, known = decay(curve), curve[: lags + 1]
        change = float(known[-1])
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
        end = "does not stay" if math.isinf(fit.stays_below) else "stays"
        at = (
            "" if math.isinf(fit.stays_below) else f" from lag {whole(fit.stays_below)}"
        )
        text += f" (it {end} below a thousandth{at})"
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


def two_factors(data: xr.Dataset) -> Sentences:
    """Slopes and weights, each in decades per step of lag."""
    data = latest(data)
    found = []
    for layer in labels(data, "layer"):
        rates = [
            decay(band(norms_by_lag(data, f"log10_{part}_product", layer)).median).slope
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
        share = band(norms_by_lag(data, "log10_direct_share", layer)).median
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
