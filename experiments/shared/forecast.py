"""How well numbers measured at the start forecast when a run solves its task.

The unit of every interval is the cell (start × length × task), whose runs are not
independent: cells are drawn with replacement, `DRAWS` times from a fixed seed.
"""

import dataclasses
from collections.abc import Callable

import numpy as np
import xarray as xr
from jaxtyping import Bool, Float, Int
from scipy import stats

from rnnjax.reproduce import Estimate


DRAWS = 500
"""Number of samples of cells for an interval."""

SIGNS = {
    "update": 1,
    "own": 1,
    "projected": 1,
    "coherence": -1,
    "ratio": -1,
    "exponent": -1,
    "horizon": -1,
}
"""What is measured, with the sign that makes a large number forecast a slow run."""

OTHERS = "others"
"""The forecast that needs no measurement: how the runs of other seeds and tasks with
the same start and length went."""

Row = Float[np.ndarray, "runs"]


@dataclasses.dataclass(frozen=True)
class Runs:
    """All runs of a forecast, one entry each.

    Attributes:
        examples: log10 of updates × batch until solved; inf: not within the budget.
        task, start, length: their places in the settings.
        cell: number of the cell.
        features: what was measured at the start, by name, with the signs of `SIGNS`,
            and `OTHERS`.
        early: the same after the first updates, without `OTHERS`.
    """

    examples: Row
    task: Int[np.ndarray, "runs"]
    start: Int[np.ndarray, "runs"]
    length: Int[np.ndarray, "runs"]
    cell: Int[np.ndarray, "runs"]
    features: dict[str, Row]
    early: dict[str, Row]

    @property
    def solved(self) -> Bool[np.ndarray, "runs"]:
        """Which runs solved their task."""
        return np.isfinite(self.examples)

    def some(self, which: np.ndarray) -> "Runs":
        """Some of the runs, by a mask or by their indices."""
        return Runs(
            self.examples[which],
            self.task[which],
            self.start[which],
            self.length[which],
            self.cell[which],
            {name: row[which] for name, row in self.features.items()},
            {name: row[which] for name, row in self.early.items()},
        )


def runs_of(results: xr.Dataset) -> Runs:
    """The runs in `updates` and `measured`, see `experiments/retrial.py`."""
    axes = ("start", "task", "reach", "seed")
    updates = results.updates.transpose(*axes).to_numpy()
    batch = results.attrs["batch"]
    with np.errstate(divide="ignore"):
        examples = np.log10(updates * batch)
    start, task, length, _ = np.indices(updates.shape)
    cell = np.ravel_multi_index((start, task, length), updates.shape[:3])
    at: list[dict[str, Row]] = [
        {
            name: sign
            * results.measured.sel(quantity=name, moment=moment)
            .transpose(*axes)
            .to_numpy()
            .ravel()
            for name, sign in SIGNS.items()
        }
        for moment in ("start", "early")
    ]
    budget = np.log10(results.attrs["budget"] * batch)
    at[0][OTHERS] = others(examples, budget + np.log10(2)).ravel()
    flat = [x.ravel() for x in (examples, task, start, length, cell)]
    return Runs(flat[0], flat[1], flat[2], flat[3], flat[4], at[0], at[1])


def still_training(runs: Runs, results: xr.Dataset) -> Runs:
    """The runs that had not solved their task when they were measured again.

    In one that had, the loss has fallen and the noise of its gradient with it, so that
    the number would know the outcome.
    """
    first = np.log10(results.attrs["early"] * results.attrs["batch"])
    return runs.some(runs.examples > first)


def others(
    examples: Float[np.ndarray, "start task reach seed"], unsolved: float
) -> Float[np.ndarray, "start task reach seed"]:
    """For each run the mean outcome of all other runs with its start and length.

    It is rounded to nine decimals: equal means have to tie on every processor, whatever
    the order in which it adds.

    Args:
        examples: the outcomes; inf counts as `unsolved`.
        unsolved: what a run counts as that has not solved its task.

    >>> others(np.array([[[[1.0, 2.0]], [[3.0, np.inf]]]]), 7.0).ravel().tolist()
    [4.0, 3.666666667, 3.333333333, 2.0]
    """
    known = np.where(np.isfinite(examples), examples, unsolved)
    total = known.sum(axis=(1, 3), keepdims=True)
    count = known.shape[1] * known.shape[3] - 1
    if not count:
        return np.full(known.shape, np.nan)
    return np.round((total - known) / count, 9)


def rank_correlation(feature: Row, examples: Row) -> float:
    """Spearman's ρ with ties; NaN where either is constant or not a number."""
    known = ~np.isnan(feature)
    x, y = (stats.rankdata(row[known]) for row in (feature, examples))
    if x.size < 3 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return float("nan")
    return float(np.corrcoef(x, y)[0, 1])


def within(runs: Runs, feature: Row) -> float:
    """Median of ρ over the strata (task, length) in which it is defined."""
    keys = np.stack([runs.task, runs.length])
    found = []
    for key in np.unique(keys, axis=1).T:
        here = (keys == key[:, None]).all(0)
        found.append(rank_correlation(feature[here], runs.examples[here]))
    known = [value for value in found if not np.isnan(value)]
    return float(np.median(known)) if known else float("nan")


def area(feature: Row, solved: Bool[np.ndarray, "runs"]) -> float:
    """Area under the ROC curve: how often a solved run has the smaller number.

    >>> area(np.array([1.0, 2.0, 3.0, 3.0]), np.array([True, True, True, False]))
    0.8333333333333334
    """
    known = ~np.isnan(feature)
    ranks, right = stats.rankdata(feature[known]), solved[known]
    few, many = int(right.sum()), int((~right).sum())
    if not few or not many:
        return float("nan")
    return float((ranks[~right].sum() - many * (many + 1) / 2) / (few * many))


def is_fitted(runs: Runs) -> Bool[np.ndarray, "runs"]:
    """Runs to which c is fitted: every second cell of all tasks but the last.

    Those in which the places of start and length add up to an even number.
    """
    return _is_known(runs) & ((runs.start + runs.length) % 2 == 0)


def is_held_out(runs: Runs, task: bool) -> Bool[np.ndarray, "runs"]:
    """Runs on which the forecast is judged: those of the last task, or other cells."""
    return ~_is_known(runs) if task else _is_known(runs) & ~is_fitted(runs)


def _is_known(runs: Runs) -> Bool[np.ndarray, "runs"]:
    return runs.task < runs.task.max() if runs.task.max() else runs.task == 0


def constant(runs: Runs, feature: Row, slope: float = 1.0) -> float:
    """c of log10(updates × batch) = c + slope · feature, median over solved runs."""
    fitted = is_fitted(runs) & runs.solved & np.isfinite(feature)
    if not fitted.any():
        return float("nan")
    return float(np.median(runs.examples[fitted] - slope * feature[fitted]))


def error(runs: Runs, feature: Row, c: float, slope: float = 1.0) -> float:
    """Median of |log10(updates × batch) − forecast| over solved runs, in decades."""
    known = runs.solved & ~np.isnan(feature)
    if not known.any():
        return float("nan")
    forecast = c + slope * feature[known]
    return float(np.median(np.abs(runs.examples[known] - forecast)))


def by_cells(runs: Runs, statistic: Callable[[Runs], float]) -> Estimate:
    """A statistic of runs with its 95 % interval from the bootstrap over cells."""
    cells = np.unique(runs.cell)
    members = [np.flatnonzero(runs.cell == cell) for cell in cells]
    random = np.random.default_rng(0)
    drawn = []
    for _ in range(DRAWS):
        chosen = random.integers(0, len(cells), len(cells))
        which = np.concatenate([members[k] for k in chosen])
        drawn.append(statistic(runs.some(which)))
    known = np.array([value for value in drawn if not np.isnan(value)])
    value = statistic(runs)
    if len(cells) < 2 or known.size < DRAWS / 2:
        return Estimate(value, -np.inf, np.inf, len(runs.cell))
    low, high = np.quantile(known, [0.025, 0.975])
    return Estimate(value, float(low), float(high), len(runs.cell))
