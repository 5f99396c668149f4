"""The numbers of a probe data set as rows of text, for a terminal or a page."""

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import xarray as xr

from rnnjax.probes.adjoints.decay import Decay, decay
from rnnjax.probes.adjoints.relative import adjoint_rate, mean_log
from rnnjax.quantities import ALL, QUANTITIES
from rnnjax.report.explosion import exploded_state, unknown_gradient
from rnnjax.report.instruments.adjoints import left_by_lag, norms_by_lag
from rnnjax.report.instruments.numbers import (
    arrays,
    band,
    brief,
    has,
    labels,
    latest,
    percent,
    ranged,
)
from rnnjax.report.naming import horizon_text, number
from rnnjax.report.probe_text_signal import needed
from rnnjax.report.probe_text_updates import leading


MEASURED_OVER = {"sentence": "sentences", "step": "steps", "time": "steps"}
"""Axes over which the table shows a median and a range."""


Facts = Iterator[tuple[str, str]]


def legend(data: xr.Dataset) -> str:
    """What the brackets of `summary` mean, and what it is of."""
    count = data.sizes.get("example")
    of = f"One network, {count} sentences" if count else "One network"
    return (
        f"{of}. ( ): range over those that were looked at (and steps), before it the "
        "median; [ ]: 95 % interval; ±: one standard error. What is left and adjoint "
        "rates are means over the sentences, of logarithms; direct shares and e-fold "
        "times medians; what else stands alone is of all sentences together, as the "
        "table of variables defines it"
    )


class Row(NamedTuple):
    """One line: a quantity, with the layer or the parameter it is of, and its value."""

    quantity: str
    value: str


def summary(data: xr.Dataset) -> list[Row]:
    """The numbers that describe a network in short; what was not measured is left out.

    Parentheses hold the whole range over examples (and steps), before them stands the
    median; square brackets hold 95 % intervals.
    """
    data = latest(data)
    rows = []
    if "loss" in data:
        loss = float(data["loss"])
        text = "NaN: not a number" if math.isnan(loss) else brief(loss, 3)
        if (base := data["loss"].attrs.get("without_memory")) is not None:
            text += f" (an answer that ignores the sentence: {brief(float(base), 3)})"
        rows.append(Row("loss", text))
    for layer in labels(data, "layer"):
        one = data.sel(layer=layer)
        for part in (_explosion, _flow, _dynamics, _factors):
            rows += [
                Row(f"{layer}: {name}", value) for name, value in part(data, one, layer)
            ]
    whole = data.drop_dims("layer", errors="ignore")
    rows += [Row(*row) for row in (*_labelled(whole), *needed(whole))]
    return rows + _parameters(data)


def _explosion(data: xr.Dataset, one: xr.Dataset, layer: str) -> Facts:
    if text := exploded_state(data, layer):
        yield "exploded", text
    if text := unknown_gradient(data, layer):
        yield "no gradient", text


def _flow(data: xr.Dataset, one: xr.Dataset, layer: str) -> Facts:
    if "log10_adjoint" in data and arrays(data, layer):
        ratios = left_by_lag(data, layer)
        curve = mean_log(ratios)
        known = np.flatnonzero(~np.isnan(curve))
        if known.size:
            lag, fit = int(known[-1]), decay(curve)
            yield f"log₁₀‖λ‖/‖λ_s‖ at lag {lag}", number(float(curve[lag]), 1)
            rate = number(adjoint_rate(ratios), 3)
            yield f"adjoint rate over {lag} lags (nats per step)", rate
            yield "law of the decay", law_text(fit)
            yield (
                "memory horizon, first lag with less than 1/1000 left",
                horizon_text(fit.horizon, fit.stays_below, lag),
            )
    if has(one, "effective_rank"):
        values = one["effective_rank"].to_numpy()
        far = int(np.flatnonzero(~np.isnan(values))[-1])
        yield f"effective rank at lag {far}", number(float(values[far]))


def law_text(fit: Decay) -> str:
    """The law with its number, or that it is undecided.

    >>> law_text(decay(-0.5 * np.arange(40.0)))
    'exponential, −0.500 log₁₀ per step [−0.500, −0.500]'
    """
    if fit.law == "exponential":
        low, high = number(fit.rate.low, 3), number(fit.rate.high, 3)
        return f"exponential, {number(fit.rate.mean, 3)} log₁₀ per step [{low}, {high}]"
    if fit.law == "power law":
        low, high = number(fit.power.low, 1), number(fit.power.high, 1)
        return f"power law, lag to the {number(fit.power.mean, 1)} [{low}, {high}]"
    return "no decay" if fit.law == "none" else fit.law


def _dynamics(data: xr.Dataset, one: xr.Dataset, layer: str) -> Facts:
    of_layer = [name for name in one if "layer" in data[name].dims]
    yield from _labelled(one[of_layer])
    if has(one, "lyapunov"):
        mean, error = leading(data, layer)
        yield (
            "λ₁ on stationary input, ± standard error (nats per step)",
            f"{number(mean, 4)} ± {number(error, 4)}",
        )
    if has(one, "kaplan_yorke"):
        dimension = number(float(one["kaplan_yorke"]), 1)
        yield "Kaplan–Yorke dimension on stationary input", dimension


def _labelled(data: xr.Dataset) -> Facts:
    """Quantities with a label: the median and the range of all their numbers."""
    for key, quantity in QUANTITIES.items():
        if not quantity.label or not has(data, key):
            continue
        values = data[key]
        measured = " × ".join(
            f"{_measured(values, dim)} {what}"
            for dim, what in MEASURED_OVER.items()
            if dim in values.dims
        )
        name = f"{quantity.label}, {measured}" if measured else quantity.label
        yield name, ranged(values.to_numpy(), quantity.digits)


def _measured(values: xr.DataArray, dim: str) -> int:
    """Number of entries along a dimension that are not NaN throughout."""
    rest = [other for other in values.dims if other != dim]
    return int(values.notnull().any(rest).sum())


def _factors(data: xr.Dataset, one: xr.Dataset, layer: str) -> Facts:
    for name in labels(data, "activation"):
        here = one.sel(activation=name)
        if has(here, "slope_mean"):
            mean, bound = (float(here[f"slope_{k}"]) for k in ("mean", "bound"))
            yield (
                f"slope of {name}",
                f"mean {number(mean, 3)}, bound {number(bound)}, "
                f"{percent(float(here['slope_saturated']))} saturated",
            )
    for name in labels(data, "gate"):
        here = one.sel(gate=name)
        if not has(here, "gate_open"):
            continue
        text = f"{number(float(here['gate_open']))} open"
        if has(here, "time_constant", "time_constant_shut"):
            kept, shut = (
                number(float(np.nanmedian(here[key])), 1)
                for key in ("time_constant", "time_constant_shut")
            )
            text += (
                f"; if it multiplies the past, e-fold in {kept} steps (if 1 − g "
                f"does, in {shut})"
            )
        yield f"gate {name}", text
    if has(one, "log10_direct_share"):
        share = band(norms_by_lag(data, "log10_direct_share", layer)).median
        lag = int(np.flatnonzero(~np.isnan(share))[-1])
        yield f"direct share at lag {lag} (log₁₀)", number(float(share[lag]))


def _parameters(data: xr.Dataset) -> list[Row]:
    """One row for each parameter, with what was measured of it."""
    found: dict[str, list[str]] = {}
    for name in labels(data, "parameter"):
        one = data.sel(parameter=name)
        texts = found.setdefault(name, [])
        if "log10_gradient" in data:
            value = float(one["log10_gradient"])
            if math.isnan(value):  # then k₉₀ and the cancellation are, too
                texts.append("gradient not a number (NaN)")
                continue
            texts.append(f"log₁₀ gradient {number(value)}")
        if has(data, "log10_contribution") and not has(one, "log10_contribution"):
            continue  # used outside of all recurrences, so no steps are known
        if "k90" in data:
            texts.append(f"k₉₀ {number(float(one['k90']), 0)}")
        if "cancellation" in data:
            agree = number(float(one["cancellation"]))
            texts.append(f"|ΣG_t|/Σ|G_t| {agree}")
    for name in labels(data, "parameter_array"):
        if has(data, "update_ratio"):
            ratio = float(data["update_ratio"].sel(parameter_array=name))
            fresh = math.isinf(ratio)
            text = "zero before its update" if fresh else f"update ratio {brief(ratio)}"
            label = "all parameters" if name == ALL else name
            found.setdefault(label, []).append(text)
    return [Row(name, ", ".join(texts)) for name, texts in found.items() if texts]
