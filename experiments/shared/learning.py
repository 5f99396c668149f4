"""Learning curves of several networks on several tasks, in one data set."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawn

from rnnjax.report.layout import EndLabel, Size, label_ends, panels, title
from rnnjax.report.style import GRID, SOFT, Palette, palette, style
from rnnjax.reproduce.training import sweep
from rnnjax.run import Run


Named = Mapping[str, Sequence[str]]
"""Overrides of each network or task, by name."""

NEVER = np.inf
"""The number of updates to a goal that was not reached within the budget."""


def learning_curves(
    pool: Path,
    tasks: Named,
    networks: Named,
    common: Sequence[str],
    rates: Sequence[float],
    seeds: Sequence[int],
) -> xr.Dataset:
    """Train every network on every task with every learning rate and seed.

    Args:
        pool: pool of the runs.
        tasks, networks: overrides of each.
        common: overrides of all, including ``steps`` and ``eval.every``.
        rates: learning rates; all networks get the same ones.
        seeds: seeds of parameters and data.

    Returns:
        Held-out `loss` (task, network, rate, seed, step), NaN where a run has diverged,
        and `baseline` (task), the loss of the best predictor without memory.

    Raises:
        UserError: see `rnnjax.reproduce.training.sweep`.
    """
    values = [f"lr={','.join(map(str, rates))}", f"seed={','.join(map(str, seeds))}"]
    runs = sweep(
        pool,
        *(
            [*common, *task, *network, *values]
            for task in tasks.values()
            for network in networks.values()
        ),
    )
    curves = [_heldout_loss(run) for run in runs]
    steps = sorted({step for curve in curves for step in curve})
    loss = np.array([[curve.get(s, np.nan) for s in steps] for curve in curves])
    shape = (len(tasks), len(networks), len(rates), len(seeds), len(steps))
    each = len(runs) // len(tasks)
    return xr.Dataset(
        {
            "loss": (
                ("task", "network", "rate", "seed", "step"),
                loss.astype(np.float32).reshape(shape),
            ),
            "baseline": (
                "task",
                [r.manifest.task["baseline_loss"] for r in runs[::each]],
            ),
        },
        {
            "task": list(tasks),
            "network": list(networks),
            "rate": list(rates),
            "seed": list(seeds),
            "step": steps,
        },
    )


def _heldout_loss(run: Run) -> dict[int, float]:
    rows = run.metrics.select("step", "validation_loss").drop_nulls().iter_rows()
    return {int(step): loss for step, loss in rows if np.isfinite(loss)}


def final_loss(loss: xr.DataArray) -> xr.DataArray:
    """Median of the last tenth of the evaluations; infinite for a diverged run."""
    last = max(1, loss.sizes["step"] // 10)
    return loss.fillna(np.inf).isel(step=slice(-last, None)).median("step")


def best_rate(loss: xr.DataArray) -> xr.DataArray:
    """The curves of each task and network at the rate with the lowest final loss.

    The median over seeds is compared; all networks choose from the same rates.
    """
    chosen = final_loss(loss).median("seed").argmin("rate")
    return loss.isel(rate=chosen)


def updates_to(loss: xr.DataArray, threshold: float) -> xr.DataArray:
    """The first evaluated update with a loss below `threshold`; `NEVER` if none."""
    below = loss < threshold
    first = loss.step.isel(step=below.argmax("step"))
    return xr.where(below.any("step"), first, NEVER)


class Panel(NamedTuple):
    """A panel of curves: its title, loss (network, seed, step), baseline and top."""

    title: str
    loss: xr.DataArray
    baseline: float
    top: float


def rate_panels(
    results: xr.Dataset, paper: float, name: str, top: float
) -> list[Panel]:
    """For each task a panel with the paper's rate, and one with each network's best.

    `name` is what differs between the tasks, such as "T"; `top` ends the vertical
    axis, relative to the baseline.
    """
    views = [(f"rate {paper:g}", results.loss.sel(rate=paper))]
    if results.sizes["rate"] > 1:
        rates = ", ".join(f"{rate:g}" for rate in results.rate.to_numpy())
        views.append((f"best of {rates}", best_rate(results.loss)))
    return [
        Panel(f"{name} = {task}, {view}", loss.sel(task=task), base, top * base)
        for task, base in zip(
            results.task.to_numpy(), results.baseline.to_numpy().tolist(), strict=True
        )
        for view, loss in views
    ]


def draw_learning(shown: Sequence[Panel], quantity: str) -> Drawn:
    """Panels side by side, with a thin line for each seed and a thick median.

    The networks of the first panel determine the colours of all.
    """
    lines = palette([str(name) for name in shown[0].loss.network.to_numpy()])
    size = Size(2.6, 2.1, gap_x=1.0, left=0.6, right=0.85, bottom=0.45)
    with style():
        figure, grid = panels(1, len(shown), size)
        for axes, panel in zip(grid[0], shown, strict=True):
            _draw_curves(axes, panel, lines)
            title(axes, panel.title)
        grid[0, 0].set_ylabel(quantity)
    return figure


def _draw_curves(axes: Axes, panel: Panel, lines: Palette) -> None:
    updates = panel.loss.step.to_numpy()
    many = updates[-1] >= 1000
    updates = updates / 1000 if many else updates
    axes.axhline(panel.baseline, color=SOFT, linewidth=0.9, linestyle=":")
    labels = []
    for name, line in lines.items():
        values = panel.loss.sel(network=name).to_numpy()
        axes.plot(updates, values.T, color=line.colour, linewidth=0.5, alpha=0.45)
        median = np.median(np.nan_to_num(values, nan=np.inf), axis=0)
        shown = np.where(np.isfinite(median), median, np.nan)
        axes.plot(updates, shown, color=line.colour, linestyle=line.dash)
        labels.append(EndLabel(min(float(median[-1]), panel.top), name, line.colour))
    axes.set(xlim=(0, updates[-1]), ylim=(0, panel.top))
    axes.set_xlabel("thousand updates" if many else "updates")
    axes.grid(axis="y", color=GRID, linewidth=0.5)
    label_ends(axes, labels)
