"""What an update learns from: signal, offset and noise of every step's contribution.

G_{t,b} is the contribution of step t of example b, G_b = Σ_t G_{t,b}, and E, Cov are
over examples b. Large contributions of random sign average out over examples; small
ones add up if the label depends on them. A step's gradient can be too
small to change anything (*vanished*), or it can be added to the noise of other steps
(*drowned*). The ratio tr Cov / ‖E‖² of a whole gradient is the simple noise scale of
McCandlish et al. 2018 ("An empirical model of large-batch training"); here it is found
for each step.

The contributions are linear in the targets: G_{t,b} = S_{t,b} + O_{t,b}, where O has
the mean target of all examples in place of the example's own (the mean of G over
permuted labels) and S is what its own label adds (`labels`). E S is the *signal*; E O,
the *offset*, fits the mean of the output. At a minimum of the loss the two cancel.

All means are estimated from pairs of different examples (`PairSums`), so the noise of
an example with itself does not enter. Errors are those of the jackknife that leaves
out one group of examples at a time.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from flax import struct
from jaxtyping import Float
from scipy.special import stdtrit

from rnnjax.probes.contributions.pairs import PairSums, group_sizes


LEVEL = 0.95
"""Coverage of the intervals."""


@dataclasses.dataclass(frozen=True)
class Signal:
    """The signal of every step in the gradient of one parameter.

    Attributes:
        signal_share: ⟨E S_t, E S⟩ / ‖E S‖², which sums to 1; estimate, and ends of the
            95 % interval. NaN if `resolution` is less than 2.
        update_share: expected shares of signal, offset and noise of each step in
            ⟨G_t, G⟩ / ‖G‖² for a batch of the given size: (⟨E S_t, E G⟩ + ⟨E G_t,
            E S⟩) / 2, the same with O, and Cov(G_t, G) / batch, over E ‖G‖². All
            estimates sum to 1; negative where signal and offset pull against each
            other. Estimate, and ends of the 95 % interval.
        log10_examples: log10 of N* = tr Cov(G_t) / ‖E S_t‖², the examples from which on
            the signal of a step exceeds the noise of the same step.
        log10_examples_in_update: log10 of tr Cov(G) / ‖E S_t‖², the examples from which
            on it exceeds the noise of the whole gradient.
        resolution: ‖E S‖² over its standard error.
    """

    signal_share: Float[np.ndarray, "T 3"]
    update_share: Float[np.ndarray, "T 3 3"]
    log10_examples: Float[np.ndarray, "T 3"]
    log10_examples_in_update: Float[np.ndarray, "T 3"]
    resolution: float


@struct.dataclass
class Parts:
    """`PairSums` of G, S and O for one parameter."""

    whole: PairSums
    signal: PairSums
    offset: PairSums


def signal(found: Parts, examples: int, batch: int) -> Signal:
    """Estimate signal, offset and noise of every step; needs at least three examples.

    Args:
        found: inner products of the contributions to a parameter.
        examples: number of examples.
        batch: size of the batch for `update_share`.
    """
    found = jax.tree.map(lambda x: np.asarray(x, float), found)
    units = found.whole
    sizes = np.asarray(group_sizes(examples, units.at_step.shape[-1]), float)
    every = np.ones(len(sizes), bool)
    whole = _estimates(found, sizes, every, batch)
    parts = []
    for k in range(len(sizes)):
        rest = every.copy()
        rest[k] = False
        parts.append(_estimates(found, sizes, rest, batch))
    error = {
        name: _jackknife(np.stack([part[name] for part in parts])) for name in whole
    }
    quantile = float(stdtrit(len(sizes) - 1.0, 0.5 + LEVEL / 2))

    def bounds(name: str) -> np.ndarray:
        value, half = whole[name], quantile * error[name]
        return np.stack([value, value - half, value + half], axis=-1)

    with np.errstate(divide="ignore", invalid="ignore"):
        resolution = float(whole["total"] / error["total"])
    shares = bounds("signal_share")
    return Signal(
        signal_share=shares if resolution >= 2 else np.full_like(shares, np.nan),
        update_share=np.stack([bounds(n) for n in ("signal", "offset", "noise")], 1),
        log10_examples=_log10_inverse(bounds("ratio")),
        log10_examples_in_update=_log10_inverse(bounds("ratio_in_update"))
        - np.log10(4.0) * (units.step_exponent - units.exponent)[:, None],
        resolution=resolution,
    )


def joined(parts: Sequence[PairSums]) -> PairSums:
    """The inner products for several parameters taken as one, in float64."""
    step = np.max([np.asarray(p.step_exponent) for p in parts], axis=0)
    top = np.max([np.asarray(p.exponent) for p in parts])

    def scaled(p: PairSums) -> PairSums:
        here, there = (
            np.exp2(np.maximum(np.asarray(a, float) - b, -1000.0))
            for a, b in ((p.step_exponent, step), (p.exponent, top))
        )
        own, both = here * here, here * there
        return PairSums(
            np.asarray(p.at_step, float) * own[:, None, None],
            np.asarray(p.with_whole, float) * both[:, None, None],
            np.asarray(p.own_at_step, float) * own[:, None],
            np.asarray(p.own_with_whole, float) * both[:, None],
            step,
            top,
        )

    return jax.tree.map(lambda *x: sum(x[1:], x[0]), *map(scaled, parts)).replace(
        step_exponent=step, exponent=top
    )


def _estimates(
    found: Parts, sizes: np.ndarray, keep: np.ndarray, batch: int
) -> dict[str, Any]:
    """The quantities of `Signal` from the examples of some groups."""
    whole, signal, offset = (
        _moments(part, found.whole, sizes, keep)
        for part in (found.whole, found.signal, found.offset)
    )
    both, noise = whole.with_mean, whole.with_own - whole.with_mean
    # ⟨a_t, a + o⟩ + ⟨a_t + o_t, a⟩ = ⟨a_t + o_t, a + o⟩ + ⟨a_t, a⟩ − ⟨o_t, o⟩
    apart = signal.with_mean - offset.with_mean
    with np.errstate(divide="ignore", invalid="ignore"):
        total = np.sum(both + noise / batch)
        return {
            "total": np.sum(signal.with_mean),
            "signal_share": signal.with_mean / np.sum(signal.with_mean),
            "signal": (both + apart) / 2 / total,
            "offset": (both - apart) / 2 / total,
            "noise": noise / batch / total,
            "ratio": signal.mean_square / (whole.square - whole.mean_square),
            "ratio_in_update": signal.mean_square / np.sum(noise),
        }


class Moments(NamedTuple):
    """Estimates ``(T,)``, for contributions C_t and their sum C.

    Attributes:
        mean_square: ‖E C_t‖², in units of 4^(exponent of the step).
        with_mean: ⟨E C_t, E C⟩, in units of 4^(exponent).
        square: E ‖C_t‖².
        with_own: E ⟨C_t, C⟩.
    """

    mean_square: Any
    with_mean: Any
    square: Any
    with_own: Any


def _moments(
    of: PairSums, units: PairSums, sizes: np.ndarray, keep: np.ndarray
) -> Moments:
    """`Moments` over some groups, with the exponents of `units`."""
    n = sizes[keep].sum()
    step = _power(of.step_exponent, units.step_exponent)
    whole = _power(of.step_exponent, units.exponent)
    whole = whole * _power(of.exponent, units.exponent)
    own_step = of.own_at_step[:, keep].sum(-1) * step**2
    own_whole = of.own_with_whole[:, keep].sum(-1) * whole
    every_step = _between(of.at_step, keep) * step**2
    every_whole = _between(of.with_whole, keep) * whole
    pairs = n * (n - 1)
    return Moments(
        (every_step - own_step) / pairs,
        (every_whole - own_whole) / pairs,
        own_step / n,
        own_whole / n,
    )


def _between(products: Any, keep: np.ndarray) -> np.ndarray:
    return products[:, keep][:, :, keep].sum((1, 2))


def _power(exponent: Any, base: Any) -> Any:
    """2^(exponent − base), 0 below what float64 can hold."""
    off = np.asarray(exponent - base)
    return np.exp2(np.where(off > -1000, off, -np.inf))


def _jackknife(rows: np.ndarray) -> Any:
    """Standard error of an estimate from its values without each of the groups."""
    count = len(rows)
    spread = np.square(rows - rows.mean(axis=0)).sum(axis=0)
    return np.sqrt((count - 1) / count * spread)


def _log10_inverse(ratio: np.ndarray) -> np.ndarray:
    """log10 of 1 / ratio for (estimate, low, high); inf where a ratio is not positive.

    The ends are exchanged, so that the first is the lower one.
    """
    value, low, high = np.moveaxis(ratio, -1, 0)
    turned = np.stack([value, high, low], axis=-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        endless = np.where(np.isnan(turned), np.nan, np.inf)
        return np.where(turned > 0, -np.log10(turned), endless)


def budget_horizon(
    log10_examples_in_update: Float[np.ndarray, "T 3"], budget: float
) -> float:
    """The farthest lag whose gradient is shown to exceed the noise of the update.

    Args:
        log10_examples_in_update: see `Signal`, by lag.
        budget: examples of a whole training run, batch × updates.

    Returns:
        The largest lag at which the upper end of the interval is within the budget; NaN
        if there is none.

    >>> ends = np.array([[3.0, 2.0, 9.0], [2.0, 1.9, 2.1], [4.0, 3.9, 4.1]])
    >>> budget_horizon(ends, 1e3)
    1.0
    """
    within = np.flatnonzero(log10_examples_in_update[:, 2] <= np.log10(max(budget, 1)))
    return float(within[-1]) if len(within) else float("nan")
