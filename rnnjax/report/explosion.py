"""What exploded: states, losses and gradients that are not numbers, in sentences.

An exploded network has NaN where a vanishing one has small numbers or zeros. A median
over examples leaves NaN out, so that whoever reads one must be told.
"""

import math

import numpy as np
import xarray as xr

from rnnjax.counting import count
from rnnjax.probes.adjoints.norms import JOINT
from rnnjax.report.instruments.numbers import labels, latest, lost_examples, pick
from rnnjax.report.naming import listing


FIRST, ADJOINT = "first_nonfinite_step", "log10_adjoint"
LARGEST = "beyond the largest number of its precision"


def explosion(data: xr.Dataset) -> list[str]:
    """Which states explode, from which step on and in how many examples; what follows.

    No sentences where every state, gradient and loss is finite.
    """
    data = latest(data)
    found = []
    loss = float(data["loss"]) if "loss" in data else 0.0
    if not math.isfinite(loss):
        what = "not a number (NaN)" if math.isnan(loss) else f"infinite: {LARGEST}"
        found.append(f"The loss is {what}.")
    for layer in labels(data, "layer"):
        if text := exploded_state(data, layer):
            found.append(f"{layer} exploded: {text}.")
        if text := unknown_gradient(data, layer):
            found.append(f"{layer}: {text}.")
    return found


def exploded_state(data: xr.Dataset, layer: str) -> str:
    """Which states of a layer are not finite, from where, how often; empty: none."""
    if FIRST not in data:
        return ""
    first = pick(data, FIRST, "array", "example", layer=layer)
    broken = ~np.isnan(first)
    if not broken.any():
        return ""
    names = labels(data, "array")
    which = [n for n, row in zip(names, broken, strict=True) if row.any()]
    which = [name for name in which if name != JOINT] or which
    low, high = int(np.nanmin(first)), int(np.nanmax(first))
    begin = f"step {low}" if low == high else f"a step between {low} and {high}"
    lost, size = int(broken.any(axis=0).sum()), first.shape[1]
    rest = "" if lost == size else f"; the numbers are of the other {size - lost}"
    state, verb = ("state", "is") if len(which) == 1 else ("states", "are")
    return (
        f"the {state} {listing(which)} {verb} infinite or NaN from {begin} on in "
        f"{lost} of {count(size, 'example')}; gradients there are not finite numbers, "
        f"they have not vanished{rest}"
    )


def unknown_gradient(data: xr.Dataset, layer: str) -> str:
    """In how many examples the gradient alone is not finite; empty: in none."""
    if ADJOINT not in data:
        return ""
    lost = lost_examples(data, layer)
    if FIRST not in data:
        reason = "the network exploded"
    else:
        rest = [dim for dim in data[FIRST].dims if dim != "example"]
        lost &= data[FIRST].isnull().all(rest).to_numpy()
        reason = "all states are finite there, and the loss or its gradient overflows"
    if not lost.any():
        return ""
    return (
        f"the gradient is not a finite number in {int(lost.sum())} of "
        f"{count(lost.size, 'example')}: {reason}"
    )


def exploded_points(data: xr.Dataset) -> list[str]:
    """How many networks of a landscape explode, and at which values of its axes."""
    points = (data["exploded"] > 0).any("layer")
    lost = int(points.sum())
    if not lost:
        return []
    where = []
    for name in map(str, data["loss"].dims):
        there = points.any([dim for dim in points.dims if dim != name]).to_numpy()
        if name in data.coords and not there.all():
            values = data[name].to_numpy()[there]
            where.append(f"{name} = {', '.join(map(str, values))}")
    places = f" ({'; '.join(where)})" if where else ""
    return [
        f"{lost} of {count(points.size, 'point')} exploded{places}: a state or a "
        "gradient is infinite or NaN in some example, so that decay and horizon are NaN"
    ]
