"""Where the gradient comes from: slopes, gates and parameters, in sentences."""

import math

import numpy as np
import xarray as xr

from rnnjax.counting import count
from rnnjax.report.instruments.contributions import by_prefix
from rnnjax.report.instruments.numbers import brief, has, labels, latest, percent, pick
from rnnjax.report.naming import number, whole
from rnnjax.report.probe_text import Sentences


MAX_NAMED = 6
"""Number of kernels that a sentence names."""


def contributions(data: xr.Dataset) -> Sentences:
    """How many last steps hold nine tenths of the contributions."""
    data = latest(data)
    if not has(data, "k90"):
        return []
    found, steps = [], data.sizes["time"]
    for layer, names in by_prefix(labels(data, "parameter")).items():
        alive = [
            name
            for name in names
            if np.any(
                np.isfinite(pick(data, "log10_contribution", "time", parameter=name))
            )
        ]
        held = [float(data["k90"].sel(parameter=name)) for name in alive]
        held = [last for last in held if not math.isnan(last)]
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


def slopes(data: xr.Dataset) -> Sentences:
    """Mean slope against its bound, for every activation."""
    data = latest(data)
    found = []
    for layer in labels(data, "layer"):
        parts = []
        for name in labels(data, "activation"):
            one = data.sel(layer=layer, activation=name)
            mean, bound = float(one["slope_mean"]), float(one["slope_bound"])
            if not math.isnan(mean):
                parts.append(
                    f"{name} {number(mean, 3)} of at most {number(bound)} "
                    f"({percent(float(one['slope_saturated']))} saturated)"
                )
        if parts:
            found.append(f"{layer}: mean slope {'; '.join(parts)}.")
    return found


def gates(data: xr.Dataset) -> Sentences:
    """Openness and median time constants of every gate."""
    data = latest(data)
    found = []
    for layer in labels(data, "layer"):
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
        if parts:
            found.append(f"{layer}: {'; '.join(parts)}.")
    return found
