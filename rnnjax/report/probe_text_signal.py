"""What an update learns from, in sentences and in rows of the table of a probe."""

import math
from collections.abc import Iterator

import numpy as np
import xarray as xr

from rnnjax.quantities import ALL
from rnnjax.quantities.signal import EUCLIDEAN
from rnnjax.report.instruments.numbers import brief, has, labels, latest, percent, pick
from rnnjax.report.probe_text import Sentences


NEEDED = ("log10_examples", "log10_examples_in_update")

NONE = "none"
"""The budget horizon where no lag is within the budget."""


def signal(data: xr.Dataset) -> Sentences:
    """The parts of an update, and the examples that its farthest lag needs."""
    data = latest(data)
    if not has(data, "update_share") or ALL not in labels(data, "gradient_of"):
        return []
    one = data.sel(gradient_of=ALL, metric=EUCLIDEAN)
    batch = one["update_share"].attrs["batch"]
    signal_, _, noise = pick(one, "update_share", "part", "bound", "lag")
    value, low, high = signal_
    sure = (low > 0) | (high < 0)
    of = f"at {int(sure.sum())} of {len(value)} lags"
    made = f"{of}, where it makes up {_share(value[sure].sum())}" if sure.any() else of
    found = [
        f"Of the expected update of a batch of {batch}, noise makes up "
        f"{_share(np.nansum(noise[0]))}. Signal differs from 0 {made}."
    ]
    far = _farthest(one)
    if far is not None:
        own, update = _examples(one, far)
        horizon, budget = _horizon(one)
        reached = "no lag does" if horizon == NONE else f"{horizon} is the farthest"
        found.append(
            f"At lag {far} the signal exceeds its own noise from {own} examples on, "
            f"and that of the whole gradient from {update}; within the {budget} "
            f"examples of the training run {reached}."
        )
    return found


def _share(value: float) -> str:
    """
    >>> _share(0.25), _share(2e-4), _share(-0.25)
    ('25 %', '0.020 %', '−25 %')
    """
    if 0 < abs(value) < 0.01:
        return f"{brief(100 * value)} %"
    return percent(value) if value >= 0 else f"−{percent(-value)}"


def _farthest(one: xr.Dataset) -> int | None:
    seen = np.flatnonzero(one[NEEDED[0]].sel(bound="low").notnull().to_numpy())
    return int(seen[-1]) if seen.size else None


def _horizon(one: xr.Dataset) -> tuple[str, str]:
    """The budget horizon, and the number of examples of the training run."""
    horizon = float(one["budget_horizon"])
    budget = brief(float(one["budget_horizon"].attrs["examples"]), 3)
    return NONE if math.isnan(horizon) else f"lag {horizon:.0f}", budget


def needed(data: xr.Dataset) -> Iterator[tuple[str, str]]:
    """How many examples the gradient of the farthest lag needs, for each parameter."""
    for name in labels(data, "gradient_of"):
        one = data.sel(gradient_of=name, metric=EUCLIDEAN)
        far = _farthest(one)
        if far is None:
            continue
        count = one[NEEDED[0]].attrs["examples"]
        own, update = _examples(one, far)
        yield (
            f"{name}: examples to see the gradient of lag {far}, from {count}",
            f"{own} above its own noise, {update} above that of the whole gradient",
        )
        horizon, budget = _horizon(one)
        adapted = [m for m in labels(data, "metric") if m != EUCLIDEAN]
        for metric in adapted:
            other, _ = _horizon(data.sel(gradient_of=name, metric=metric))
            horizon += f" ({other} in the metric of the optimizer)"
        yield f"{name}: farthest lag seen within {budget} examples", horizon


def _examples(one: xr.Dataset, lag: int) -> tuple[str, str]:
    own, update = (examples_text(one[k].sel(lag=lag).to_numpy()) for k in NEEDED)
    return own, update


def examples_text(log10: np.ndarray) -> str:
    """A number of examples with its interval, from logarithms; ∞: no end was seen.

    >>> examples_text(np.array([2.0, 1.7, 2.3]))
    '100 [50, 200]'
    >>> examples_text(np.array([np.inf, 3.0, np.inf]))
    'more than 1000'
    >>> examples_text(np.array([-2.0, -2.1, -1.9]))
    'less than 1'
    """
    if log10[2] < 0:
        return "less than 1"
    estimate, low, high = (brief(10.0**x) if x < np.inf else "∞" for x in log10)
    if log10[2] == np.inf:
        return f"more than {low}"
    return f"{estimate} [{low}, {high}]"
