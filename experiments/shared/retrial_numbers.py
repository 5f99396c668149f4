"""The numbers by which the claims of the figure `retrial` are decided."""

import numpy as np
import xarray as xr

from rnnjax.reproduce import Estimate, mean, share

from .causes import NOISE, Trial, trials
from .forecast import (
    Runs,
    area,
    by_cells,
    constant,
    error,
    is_held_out,
    rank_correlation,
    runs_of,
    still_training,
)


def pooled(results: xr.Dataset, name: str) -> Estimate:
    """Spearman's ρ of a number at the start with the examples needed, over all runs."""
    return by_cells(runs_of(results), lambda runs: _rho(runs, name))


def _rho(runs: Runs, name: str) -> float:
    return rank_correlation(runs.features[name], runs.examples)


def excess(results: xr.Dataset, name: str) -> Estimate:
    """ρ of N*_up less that of another forecast, in the same samples of cells."""
    return by_cells(
        runs_of(results), lambda runs: _rho(runs, "update") - _rho(runs, name)
    )


def solving(results: xr.Dataset) -> Estimate:
    """Area under the curve with which N*_up tells solved from unsolved runs."""
    return by_cells(
        runs_of(results), lambda runs: area(runs.features["update"], runs.solved)
    )


def gap(results: xr.Dataset, task: bool, slope: float = 1.0) -> Estimate:
    """Median error of c + slope · log10 N*_up in held-out cells, or on another task."""
    runs = runs_of(results)
    c = constant(runs, runs.features["update"], slope)
    rest = runs.some(is_held_out(runs, task))
    return by_cells(rest, lambda some: error(some, some.features["update"], c, slope))


def later(results: xr.Dataset) -> Estimate:
    """ρ of N*_up after the first updates less that at the start, `still_training`."""
    return by_cells(
        still_training(runs_of(results), results),
        lambda some: (
            rank_correlation(some.early["update"], some.examples) - _rho(some, "update")
        ),
    )


def _failures(results: xr.Dataset) -> list[Trial]:
    return [trial for trial in trials(results) if trial.fails]


def rescue(results: xr.Dataset) -> Estimate:
    """Share of seeds rescued by `renormalise` less that by `sham`, by drowned cell."""
    drowned = [trial for trial in _failures(results) if trial.why == "drowned"]
    return mean([one.share("renormalise") - one.share("sham") for one in drowned])


def noise_forecasts(results: xr.Dataset) -> Estimate:
    """Share of the forecasts of pairs and the large batch that come true, by cell."""
    return mean(
        [np.mean([one.is_right(arm) for arm in NOISE]) for one in _failures(results)]
    )


def gradient_first(results: xr.Dataset) -> Estimate:
    """Share of plateaus in which N*_up gets half way down before the metric gets up.

    Half way: of the logarithm, between its value at the start and its least one; of the
    metric, between its baseline and the solution.
    """
    found = []
    for k in range(results.sizes["plateau"]):
        curve = results.seen.sel(quantity="update").isel(plateau=k).to_numpy()
        at = np.flatnonzero(np.isfinite(curve))
        rises = results.progress.isel(plateau=k).to_numpy() >= 0.5
        if len(at) < 2 or not rises.any():
            continue
        half = (curve[at[0]] + curve[at].min()) / 2
        falls = at[np.flatnonzero(curve[at] <= half)[0]]
        found.append(falls < np.argmax(rises))
    return share(found)
