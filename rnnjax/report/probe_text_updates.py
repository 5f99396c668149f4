"""Propagators, updates and words of a probe, in sentences chosen by the numbers."""

import math

import numpy as np
import xarray as xr

from rnnjax.quantities import ALL
from rnnjax.report.instruments.numbers import (
    band,
    brief,
    has,
    labels,
    latest,
    percent,
    pick,
)
from rnnjax.report.instruments.tokens import informative, sentence_rows, words
from rnnjax.report.naming import listing, number, power
from rnnjax.report.probe_text import Sentences, each_layer


SMALL = 0.01
"""A bias below it is called less than 1 %."""


@each_layer
def propagator_spectrum(data: xr.Dataset, layer: str) -> str:
    """The largest and the smallest gain over the farthest lag, and what is lost."""
    lags = data["lag_probed"].to_numpy()
    table = pick(data, "log_sigma", "lag_probed", "mode", layer=layer)
    table = table[:, ~np.all(np.isnan(table), axis=0)] / math.log(10.0)
    if not table.size:
        return ""
    known = np.flatnonzero(~np.any(np.isnan(table), axis=1))
    if not known.size or (lags[-1] > 0 and lags[known[-1]] == 0):
        return "no product of Jacobians is a number"
    end = table[known[-1]]
    alive = end[np.isfinite(end)]
    gone = int(np.isneginf(end).sum())
    text = f"{gone} of {end.size} directions are lost (σ = 0)"
    if alive.size:
        text = (
            f"singular values from {power(alive.min())} to {power(alive.max())}; "
            + (text if gone else "none is exactly 0")
        )
    if known[-1] + 1 < len(table):
        text += "; farther back the product is not a number (NaN)"
    return f"over {lags[known[-1]]} steps of the first sentence {text}"


@each_layer
def lyapunov(data: xr.Dataset, layer: str) -> str:
    """λ₁ on stationary input, its error, and its sign where that is beyond doubt."""
    values = pick(data, "lyapunov", "exponent", layer=layer)
    values = values[~np.isnan(values)]
    if not values.size:
        return ""
    mean, error = leading(data, layer)
    verdict = (
        "every direction is lost"
        if mean == -math.inf
        else "nearby states come together"
        if mean + 2 * error < 0
        else "nearby states part"
        if mean - 2 * error > 0
        else "its sign is within two standard errors of 0"
        if math.isfinite(error)
        else "the walk is too short for an error of it"
    )
    gone = int(np.isneginf(values).sum())
    text = f"; {gone} of {values.size} are −∞" if gone else ""
    return (
        f"on stationary input λ₁ = {number(mean, 4)} ± {number(error, 4)} nats per "
        f"step, {verdict}{text}"
    )


def leading(data: xr.Dataset, layer: str) -> tuple[float, float]:
    """λ₁ and the standard error of its time average for this one network."""
    names = ("lyapunov", "lyapunov_error")
    mean, error = (pick(data, name, "exponent", layer=layer)[0] for name in names)
    return float(mean), float(error)


def truncation(data: xr.Dataset) -> Sentences:
    """From which lag on a cut hardly matters, for all arrays together."""
    data = latest(data)
    if ALL not in labels(data, "parameter_array"):
        return []
    lags = data["cut_lag"].to_numpy()
    values = pick(data, "truncation_bias", "cut_lag", parameter_array=ALL)
    if np.any(np.isnan(values)):
        return ["The gradient is zero or not a number: no bias of truncation is known."]
    half = lags.size // 2
    worst = float(np.nanmax(data["truncation_bias"].isel(cut_lag=half)))
    found = [
        f"Cut at lag {lags[half]}, the gradient of all parameters, taken as one "
        f"vector, is wrong by {percent(float(values[half]))} of its norm; single "
        f"arrays by up to {percent(worst)}."
    ]
    # a cut at the length of the longest example or beyond cuts nothing
    cuts = lags < int(data["length"].max()) if "length" in data else lags >= 0
    lags, values = lags[cuts], values[cuts]
    large = np.flatnonzero(~(values < SMALL))
    if large.size == values.size:
        found.append("No cut that was tried is wrong by less than 1 %.")
    elif large.size:
        first = lags[large[-1] + 1]
        found.append(f"Of the cuts tried, those from lag {first} on are within 1 %.")
    else:
        found.append("Every cut that was tried is within 1 %.")
    return found


def updates(data: xr.Dataset) -> Sentences:
    """The largest and smallest relative update, what clipping did, the sensitivity."""
    data = latest(data)
    found = []
    names = [name for name in labels(data, "parameter_array") if name != ALL]

    def ends(key: str) -> tuple[str, float, str, float] | None:
        values = {n: float(data[key].sel(parameter_array=n)) for n in names}
        known = {n: v for n, v in values.items() if math.isfinite(v) and v > 0}
        if not known:
            return None
        low, high = min(known, key=known.__getitem__), max(known, key=known.__getitem__)
        return low, known[low], high, known[high]

    if has(data, "update_ratio") and (ratio := ends("update_ratio")):
        low, minimum, high, maximum = ratio
        found.append(
            f"The first update changes {high} most ({brief(maximum)} of its norm) and "
            f"{low} least ({brief(minimum)})."
        )
        ratios = data["update_ratio"]
        fresh = [n for n in names if np.isinf(ratios.sel(parameter_array=n))]
        if fresh:
            found.append(f"Arrays that are zero before it (∞): {listing(fresh)}.")
    norms = has(data, "gradient_norm", "used_norm")
    if norms and ALL in labels(data, "parameter_array"):
        norm = float(data["gradient_norm"].sel(parameter_array=ALL))
        used = float(data["used_norm"].sel(parameter_array=ALL))
        text = "is not clipped" if used == norm else f"is clipped to {brief(used, 3)}"
        unknown = "The gradient's norm is not a number (NaN)."
        known = f"The gradient's norm {brief(norm, 3)} {text}."
        found.append(unknown if math.isnan(norm) else known)
    if has(data, "sensitivity") and (sensitive := ends("sensitivity")):
        found.append(f"The last state is most sensitive to {sensitive[2]}.")
    return found


def _one_word(data: xr.Dataset) -> Sentences:
    """What share, influence and saliency say of one and the same word."""
    names = words(data, 0)
    step = (informative(data, 0) or [0])[0]
    found = {
        key: float(row.values[step])
        for row in sentence_rows(data, 0)
        for key in ("share", "influence", "saliency")
        if key in row.name and np.isfinite(row.values[step])
    }
    if len(found) < 3:
        return []
    share, influence, saliency = (
        found[key] for key in ("share", "influence", "saliency")
    )
    return [
        f"Share, influence and saliency answer three questions. Of “{names[step]}” "
        f"(step {step}) in sentence 1: "
        f"share {brief(share)} is how much of this one sentence's gradient of the "
        f"kernel enters at that step, whatever other sentences would add; influence "
        f"{brief(influence)} is how far the answer moves, on average, if another word "
        f"stands there, whatever that does to the weights; saliency {brief(saliency)} "
        f"is the log₁₀ of the slope of the loss in the word's vector, which holds for "
        "small changes of that vector, not for another word. A word may have much of "
        "one and little of the others."
    ]


def _fades(data: xr.Dataset, best: int) -> int | None:
    """First step from which on the probe stays within two errors of chance."""
    if not has(data, "decodability_chance", "decodability_error"):
        return None
    score, chance, error = (
        data[f"decodability{part}"].to_numpy() for part in ("", "_chance", "_error")
    )
    above = np.flatnonzero(score - chance > 2 * error)
    step = int(above[-1]) + 1 if above.size else 0
    return step if best < step < score.size else None


def word_strip(data: xr.Dataset) -> Sentences:
    """The word that matters most by each measure, and what the marked ones get."""
    data = latest(data)
    found = []
    for i in range(data.sizes["sentence"]):
        names, parts = words(data, i), []
        marked = informative(data, i)
        spoken = "word" in data
        named = lambda t, names=names, spoken=spoken: (
            f"“{names[t]}” (step {t})" if spoken else f"step {t}"
        )
        for row in sentence_rows(data, i):
            if row.fixed:
                continue
            values = row.values[: len(names)]
            if not np.any(np.isfinite(values)):
                continue
            top = int(np.nanargmax(values))
            text = f"{row.name} is largest at {named(top)}: {brief(values[top])}"
            others = [step for step in marked if step != top]
            if others:
                own = listing(
                    [f"{named(t)} {brief(float(values[t]))}" for t in others[:3]]
                )
                text += f", and at the marked {own}"
            parts.append(text)
        if parts:
            found.append(f"Sentence {i + 1}: {'; '.join(parts)}.")
    if found:
        found += _one_word(data)
    if has(data, "decodability"):
        values = data["decodability"].to_numpy()
        best = int(np.nanargmax(values))
        last = int(np.flatnonzero(~np.isnan(values))[-1])
        end = "the last step" if last + 1 == values.size else f"step {last}"
        which = data["decodability"].attrs.get("step")
        what = "the word" if which is None else f"the input of step {int(which)}"
        metric = data["decodability"].attrs.get("metric", "score")
        chance = ""
        if has(data, "decodability_chance"):
            level = band(data["decodability_chance"].to_numpy()).median
            chance = f"; a constant gets {number(float(level))}"
        fades = _fades(data, best)
        gone = "" if fades is None else f", not told from it from step {fades} on"
        found.append(
            f"A linear probe reads {what} with {metric} {number(float(values[best]))} "
            f"after step {best} and {number(float(values[last]))} after {end}{chance}"
            f"{gone}."
        )
    return found
