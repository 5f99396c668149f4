"""What other states do to the loss, and what the adjoint says of it, in sentences."""

import math

import numpy as np
import xarray as xr

from rnnjax.report.instruments.interventions import measured
from rnnjax.report.instruments.numbers import brief, has, labels, latest, pick
from rnnjax.report.naming import number
from rnnjax.report.probe_text import Sentences


def by_step(data: xr.Dataset) -> Sentences:
    """After which step each whole array matters most, beside the prediction."""
    data = latest(data)
    if not has(data, "whole_effect_loss_abs", "whole_effect_loss_predicted_abs"):
        return []
    found, times = [], data["time"].to_numpy()
    for layer in labels(data, "layer"):
        for array in labels(data, "array"):
            where = {"layer": layer, "array": array}
            effect, said = (
                pick(data, f"whole_effect_loss{name}", "time", **where)
                for name in ("_abs", "_predicted_abs")
            )
            if np.isnan(effect).all():
                continue
            top = int(np.nanargmax(effect))
            found.append(
                f"{layer}, {array}: the loss changes most after step {times[top]}, by "
                f"{brief(float(effect[top]))} (predicted: {brief(float(said[top]))}); "
                f"half of that or more after {_many(effect, effect[top] / 2)}."
            )
    return found


def _many(effect: np.ndarray, level: float) -> str:
    """How many steps of those measured reach a level.

    >>> _many(np.array([1.0, 3.0, np.nan, 4.0]), 2.0)
    '2 of 3 steps'
    """
    known = effect[~np.isnan(effect)]
    return f"{int(np.sum(known >= level))} of {known.size} steps"


def interventions(data: xr.Dataset) -> Sentences:
    """How well the adjoint ranks what single units do."""
    data = latest(data)
    if not has(data, "effect_loss_abs", "effect_rounding"):
        return []
    found = []
    for layer, array, one in measured(data):
        said = f"{layer}, {array}: "
        if math.isnan(one.agreement):
            said += "no rank correlation of effect and prediction"
        else:
            said += (
                f"rank correlation of effect and prediction {number(one.agreement)} "
                f"over steps and units, median ratio {brief(one.ratio)}"
            )
        small = int(np.sum(one.effect < one.rounding))
        if small:
            said += (
                f"; {small} of {one.effect.size} changes have no effect above rounding "
                f"({brief(one.rounding)})"
            )
        found.append(f"{said}.")
    return found
