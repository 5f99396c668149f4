"""The drawing of the figure `retrial`."""

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawn
from matplotlib.patches import Rectangle

from rnnjax.report.layout import title
from rnnjax.report.naming import number
from rnnjax.report.style import GRID, INK, PAPER, SERIES, SOFT, style

from .causes import Trial, trials
from .forecast import (
    OTHERS,
    Runs,
    constant,
    rank_correlation,
    runs_of,
    still_training,
    within,
)


WIDTH, LEFT, ROW = 9.6, 0.62, 0.2
"""Inches: the figure, its left margin, and a row of the table."""

NAMES = {
    "update": "N*_up",
    "projected": "N*, projected",
    "own": "N*",
    "ratio": "‖λ‖ first / last",
    "coherence": "coherence",
    "exponent": "exponent λ₁",
    "horizon": "horizon",
    OTHERS: "other seeds, tasks",
}
"""What is compared, in the order of the bars."""

ARM_NAMES = {
    "renormalise": "renor-\nmalise",
    "sham": "sham",
    "pairs": "pairs",
    "batch": "large\nbatch",
    "critical": "critical\nstart",
    "slow": "rate\n× ⅓",
    "fast": "rate\n× 3",
}


def draw(results: xr.Dataset) -> Drawn:
    """Forecast, rank correlations, plateaus, and the table of causes."""
    cells = trials(results)
    table, top = 0.75 + ROW * len(cells), 3.1
    height = top + 0.55 + table
    with style():
        figure = Drawn(figsize=(WIDTH, height))

        def place(x: float, y: float, wide: float, high: float) -> Axes:
            box = (x / WIDTH, y / height, wide / WIDTH, high / height)
            return figure.add_axes(box)

        base = table + 0.6
        runs = runs_of(results)
        _draw_forecast(place(LEFT, base, 2.75, top - 0.35), runs, results)
        _draw_ranks(place(4.75, base, 1.45, top - 0.35), runs, results)
        high = (top - 0.35 - 0.4) / 3
        stacked = [
            place(7.05, base + k * (high + 0.2), WIDTH - 7.05 - 0.15, high)
            for k in (2, 1, 0)
        ]
        _draw_plateaus(stacked, results)
        _draw_causes(place(0.15, 0.1, WIDTH - 0.3, table - 0.1), cells, results)
    return figure


def _draw_forecast(axes: Axes, runs: Runs, results: xr.Dataset) -> None:
    """Examples to the solution against N*_up; unsolved runs hollow at the top."""
    needed = runs.features["update"]
    known = needed[np.isfinite(needed)]
    low, high = (known.min(), known.max()) if known.size else (0.0, 1.0)
    edge = high + 0.08 * (high - low) + 0.3
    budget = np.log10(results.attrs["budget"] * results.attrs["batch"])
    jitter = np.random.default_rng(0).uniform(0.1, 0.5, len(needed))
    y = np.where(runs.solved, runs.examples, budget + jitter)
    x = np.where(np.isfinite(needed), needed, edge)
    for k, task in enumerate(results.task.to_numpy()):
        for solved in (True, False):
            here = (runs.task == k) & (runs.solved == solved)
            colour = SERIES[k][0]
            axes.plot(
                x[here],
                y[here],
                "o",
                color=colour,
                markersize=3.2,
                markerfacecolor=colour if solved else "none",
                markeredgewidth=0.7,
                alpha=0.75,
                label=str(task).replace("_", " ") if solved else None,
            )
    axes.axhline(budget, color=SOFT, linewidth=0.7, linestyle=":")
    axes.text(1.0, budget, "budget", transform=axes.get_yaxis_transform(), fontsize=6.5,
              color=SOFT, va="top", ha="right")  # fmt: skip
    c = constant(runs, needed)
    line = np.array([low, high])
    seen = y[runs.solved]
    floor = (seen.min() if seen.size else budget - 1) - 0.3
    if np.isfinite(c):
        axes.plot(line, c + line, color=INK, linewidth=1)
        half = constant(runs, needed, 0.5)
        axes.plot(
            line, half + line / 2, color=INK, linewidth=0.8, linestyle=(0, (4, 2))
        )
    if np.isinf(needed).any():
        axes.text(edge, floor + 0.05, "∞", fontsize=8, color=SOFT, ha="center")
    axes.set(
        xlabel="log₁₀ N*_up before training",
        ylabel="log₁₀ of updates × batch to the solution",
        ylim=(floor, budget + 0.65),
        xlim=(low - 0.3, edge + 0.3),
    )
    axes.legend(fontsize=6.5, frameon=False, loc="lower right", handletextpad=0.2)
    title(axes, "forecast (lines: slopes 1 and ½)")


def _draw_ranks(axes: Axes, runs: Runs, results: xr.Dataset) -> None:
    """Spearman's ρ of every number, over all runs and within task and length.

    After the first updates only those that still train, at the start as well.
    """
    rows = [(name, runs, runs.features[key]) for key, name in NAMES.items()]
    still = still_training(runs, results)
    first, later = still.features["update"], still.early["update"]
    rows.append(("still training: N*_up", still, first))
    rows.append((f"after {results.attrs['early']} updates", still, later))
    for k, (_, of, feature) in enumerate(rows):
        both = rank_correlation(feature, of.examples), within(of, feature)
        for j, (value, colour) in enumerate(zip(both, SERIES[0], strict=True)):
            place = -k - 0.19 + 0.38 * (1 - j)
            shown = 0.0 if np.isnan(value) else value
            axes.barh(place, shown, 0.36, color=colour)
            axes.text(max(shown, 0) + 0.03, place, number(value), fontsize=6,
                      va="center", color=INK)  # fmt: skip
    axes.axvline(0, color=SOFT, linewidth=0.6)
    axes.set_yticks(-np.arange(len(rows)), [name for name, *_ in rows])
    axes.set(xlim=(min(axes.get_xlim()[0], -0.1), 1.2), xlabel="Spearman's ρ")
    axes.set_xticks([0, 0.5, 1])
    axes.text(1.0, 1.01, "dark: all, light: within", transform=axes.transAxes,
              fontsize=6.5, color=SOFT, ha="right")  # fmt: skip
    title(axes, "rank")


def _draw_plateaus(stacked: list[Axes], results: xr.Dataset) -> None:
    """Progress of the metric, N*_up and the ratio while late runs train."""
    look = results.look.to_numpy()
    rows: list[tuple[str, Any]] = [
        ("progress", results.progress),
        ("log₁₀ N*_up", results.seen.sel(quantity="update")),
        ("log₁₀ ratio", results.seen.sel(quantity="ratio")),
    ]
    for axes, (name, values) in zip(stacked, rows, strict=True):
        for k in range(results.sizes["plateau"]):
            own = values.isel(plateau=k).to_numpy()
            at = np.isfinite(own)
            mark = "" if name == "progress" else "o"
            axes.plot(
                look[at],
                own[at],
                color=SERIES[k % len(SERIES)][0],
                marker=mark,
                markersize=2.2,
                linewidth=1,
                label=_run_name(results, k),
            )
        axes.set_ylabel(name, fontsize=7)
        axes.grid(axis="y", color=GRID, linewidth=0.5)
        axes.set_xlim(left=0)
        if axes is not stacked[-1]:
            axes.tick_params(labelbottom=False)
    for axes in stacked:
        axes.set_xlim(0, stacked[0].get_xlim()[1])
    stacked[0].axhline(0.5, color=SOFT, linewidth=0.6, linestyle=":")
    stacked[0].set_ylim(-0.15, 1.15)
    low, high = stacked[-1].get_ylim()
    stacked[-1].set_ylim(low - 0.6 * (high - low), high)  # room for the legend
    stacked[-1].legend(fontsize=5.5, frameon=False, loc="lower left", handlelength=1.2,
                       labelspacing=0.15)  # fmt: skip
    stacked[-1].set_xlabel("updates")
    title(stacked[0], "plateaus that end")


def _run_name(results: xr.Dataset, plateau: int) -> str | None:
    start, task, reach, _ = results.late.to_numpy()[plateau].tolist()
    if start < 0:
        return None
    name = str(results.task.to_numpy()[task]).replace("_", " ")
    length = int(results.length[task, reach])
    return f"{name} {length}, {results.start.to_numpy()[start]}"


def _draw_causes(axes: Axes, cells: list[Trial], results: xr.Dataset) -> None:
    """A row for each cell: numbers, the forecast cause, and what each arm rescued."""
    high, wide = ROW * (len(cells) + 3), WIDTH - 0.3
    axes.set(xlim=(0, wide), ylim=(-high, 0))
    axes.set_axis_off()
    places = {"own": 2.35, "update": 2.95, "ratio": 3.55, "coherence": 4.2}
    heads = {
        "own": "N*",
        "update": "N*_up",
        "ratio": "ratio",
        "coherence": "coher-\nence",
    }
    small: dict[str, Any] = {"fontsize": 7, "va": "center"}
    top = -ROW * 1.9
    said = (
        "why it fails: log₁₀ at the start, forecast, seeds rescued (framed: forecast)"
    )
    axes.text(0, -0.02, said, fontsize=8.5, fontweight="bold", va="top", color=INK)
    for key, x in places.items():
        axes.text(x, top, heads[key], ha="right", color=SOFT, **small)
    axes.text(4.4, top, "forecast", color=SOFT, **small)
    arms = [str(arm) for arm in results.arm.to_numpy()]
    column = (wide - 5.75) / max(len(arms), 5)
    for j, arm in enumerate(arms):
        axes.text(5.3 + column * (j + 0.5), top, ARM_NAMES[arm], ha="center",
                  color=SOFT, linespacing=0.95, **small)  # fmt: skip
    axes.text(wide, top, "right", ha="right", color=SOFT, **small)
    for i, cell in enumerate(cells):
        y = -ROW * (i + 3.1)
        axes.text(0, y, cell.name, color=INK, **small)
        for key, x in places.items():
            axes.text(x, y, number(cell.numbers[key], 2 if key == "coherence" else 1),
                      ha="right", color=INK, **small)  # fmt: skip
        why = cell.why if cell.fails else "(it learns)"
        axes.text(4.4, y, why, color=INK, **small)
        for j, arm in enumerate(arms):
            share = cell.share(arm)
            wanted = cell.forecast.get(arm, False)
            axes.add_patch(
                Rectangle(
                    (5.3 + column * j + 0.03, y - 0.44 * ROW),
                    column - 0.06,
                    0.88 * ROW,
                    facecolor=_shade(share),
                    edgecolor=INK if wanted else "none",
                    linewidth=1.0,
                )
            )
            text = f"{cell.rescued[arm]}/{cell.failed}"
            colour = INK if share < 0.7 else PAPER
            middle = 5.3 + column * (j + 0.5)
            axes.text(middle, y, text, ha="center", color=colour, **small)
        if cell.fails:
            axes.text(wide, y, "yes" if cell.right else "no", ha="right", color=INK,
                      **small)  # fmt: skip


def _shade(share: float) -> tuple[float, float, float]:
    """From the colour of the grid to that of the first series."""
    low, high = (
        np.array([int(text[k : k + 2], 16) for k in (1, 3, 5)]) / 255
        for text in ("#eef0f3", SERIES[0][0])
    )
    red, green, blue = (low + share * (high - low)).tolist()
    return red, green, blue
