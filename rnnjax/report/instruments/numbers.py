"""Numbers out of a probe data set: what is there, its spread, and how it is written."""

import dataclasses
import functools
import math
import warnings
from collections.abc import Callable

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from rnnjax.probes.adjoints.norms import JOINT
from rnnjax.report.naming import MINUS, number


Draw = Callable[[xr.Dataset], Figure | None]

LOW, HIGH = 0.1, 0.9
"""Ends of the bands over examples."""


@dataclasses.dataclass(frozen=True)
class Band:
    """Median of values over examples, with the range from 10 % to 90 % of them.

    NaN where all is NaN; values of −inf (exact zeros) count as the smallest.
    """

    low: np.ndarray
    median: np.ndarray
    high: np.ndarray


def band(values: np.ndarray) -> Band:
    """The spread along the last axis; NaN (padding) is left out.

    >>> band(np.array([[1.0, 2.0, -np.inf]])).median.tolist()
    [1.0]
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a place that no example has
        # no interpolation: it is undefined between a number and −inf
        low = np.nanquantile(values, LOW, axis=-1, method="lower")
        high = np.nanquantile(values, HIGH, axis=-1, method="higher")
        return Band(low, np.nanmedian(values, axis=-1), high)


def latest(data: xr.Dataset) -> xr.Dataset:
    """The last training step of a run's probes."""
    return data.isel(train_step=-1) if "train_step" in data.dims else data


def has(data: xr.Dataset, *names: str) -> bool:
    """Whether all these variables are there and each holds a number."""
    return all(
        name in data and bool(np.any(~np.isnan(data[name].to_numpy().astype(float))))
        for name in names
    )


def needs(*names: str) -> Callable[[Draw], Draw]:
    """Draw the last measurement, where all these variables are there."""

    def checked(draw: Draw) -> Draw:
        @functools.wraps(draw)
        def drawn(data: xr.Dataset) -> Figure | None:
            data = latest(data)
            return draw(data) if has(data, *names) else None

        return drawn

    return checked


def labels(data: xr.Dataset, dim: str) -> list[str]:
    """The names along a dimension; none if the data set lacks it."""
    return [str(name) for name in data[dim].to_numpy()] if dim in data.dims else []


def pick(data: xr.Dataset, name: str, *dims: str, **where: str) -> np.ndarray:
    """A variable at the named labels, its axes in the order of `dims`, as float64.

    Entries that the layer does not have are NaN; they are not removed.
    """
    found = data[name].sel(where)
    return found.transpose(*dims).to_numpy().astype(np.float64)


def arrays(data: xr.Dataset, layer: str) -> list[str]:
    """The state arrays of a layer, all of them jointly first if there are several."""
    known = data["log10_adjoint"].sel(layer=layer).notnull().any(["time", "example"])
    there = [name for name in labels(data, "array") if known.sel(array=name)]
    single = [name for name in there if name != JOINT]
    return [JOINT, *single] if JOINT in there and len(single) != 1 else single


def brief(value: float | None, digits: int = 2) -> str:
    """A number in few characters, with so many digits that count.

    >>> brief(0.00321), brief(-12.34), brief(4.6e-7), brief(0.0), brief(math.inf)
    ('0.0032', '−12', '5e−7', '0', '∞')
    """
    if value is None or not math.isfinite(value):
        return number(value)
    if value == 0:
        return "0"
    size = abs(value)
    if size < 1e-3 or size >= 1e5:
        mantissa, _, exponent = f"{value:.0e}".partition("e")
        text = f"{mantissa}e{int(exponent)}"
    else:
        places = max(0, digits - 1 - math.floor(math.log10(size)))
        text = f"{value:.{places}f}"
    return text.replace("-", MINUS)


def percent(share: float) -> str:
    """A share of 1 in per cent, never rounded to 0 or to 100.

    >>> percent(0.0), percent(0.0004), percent(0.125), percent(0.9999), percent(1.0)
    ('0 %', '< 1 %', '12 %', '> 99 %', '100 %')
    """
    if math.isnan(share):
        return "–"
    if 0 < share < 0.01:
        return "< 1 %"
    if 0.99 < share < 1:
        return "> 99 %"
    return f"{100 * share:.0f} %"


def ranged(values: np.ndarray, digits: int = 3) -> str:
    """The median, and the whole range in parentheses if there is one.

    NaN is left out and counted.

    >>> ranged(np.array([-0.5, -0.625, -0.75]), 2)
    '−0.62 (−0.75 to −0.50)'
    >>> ranged(np.array([1.0, np.nan, np.nan]), 0)
    '1; 2 of 3 are NaN'
    """
    every = np.asarray(values, np.float64).ravel()
    known = every[~np.isnan(every)]
    if not known.size:
        return "–"
    text = number(float(np.median(known)), digits)
    ends = [number(float(end), digits) for end in (known.min(), known.max())]
    if ends[0] != ends[1]:
        text += f" ({' to '.join(ends)})"
    lost = every.size - known.size
    return f"{text}; {lost} of {every.size} are NaN" if lost else text


def lost_examples(data: xr.Dataset, layer: str) -> np.ndarray:
    """For each example, whether its joint adjoint is NaN or inf at some valid step."""
    values = pick(data, "log10_adjoint", "time", "example", layer=layer, array=JOINT)
    last = data["last_step"].to_numpy().astype(int)
    measured = np.arange(len(values))[:, None] <= last[None, :]
    return np.any(~(values < np.inf) & measured, axis=0)
