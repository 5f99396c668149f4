"""Effect of another state by step and unit, beside what the adjoint says of it."""

import dataclasses

import matplotlib
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize, to_rgba
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from scipy.stats import spearmanr

from rnnjax.probes.adjoints.norms import JOINT
from rnnjax.report.figures.heat import ZERO
from rnnjax.report.instruments.curves import Curve, by_layer
from rnnjax.report.instruments.numbers import labels, needs, pick
from rnnjax.report.layout import Size, note, panels, power_ticks, title
from rnnjax.report.naming import power
from rnnjax.report.style import DASHES, GRID, INK, SERIES, SOFT, Line, style


DECADES = 8.0
"""Of the colours; what is smaller has the colour of the smallest."""

COLOURS = "cividis"


@dataclasses.dataclass(frozen=True)
class Sizes:
    """Sizes of effects and of their predictions in one state array.

    Attributes:
        effect, predicted: mean over examples of the absolute value, or the absolute
            value where there are no examples, ``(T, U)``.
        times: the steps.
        whole, whole_predicted: the same of the whole array, ``(T,)``.
        rounding: effects below it are not resolved.
    """

    effect: np.ndarray
    predicted: np.ndarray
    times: np.ndarray
    whole: np.ndarray
    whole_predicted: np.ndarray
    rounding: float

    @property
    def resolved(self) -> np.ndarray:
        """Where both are numbers other than 0, and the effect is no rounding."""
        both = np.stack([self.effect, self.predicted])
        known = np.all(np.isfinite(both) & (both > 0), axis=0)
        return known & (self.effect >= self.rounding)

    @property
    def agreement(self) -> float:
        """Spearman's rank correlation over steps and units; NaN for less than 3."""
        chosen = self.resolved
        if chosen.sum() < 3:
            return float("nan")
        pair = self.effect[chosen], self.predicted[chosen]
        return float(spearmanr(*pair).statistic)  # pyright: ignore

    @property
    def ratio(self) -> float:
        """Median of effect over prediction; NaN where there is none."""
        chosen = self.resolved
        if not chosen.any():
            return float("nan")
        return float(np.median(self.effect[chosen] / self.predicted[chosen]))


def sizes(data: xr.Dataset, layer: str, array: str) -> Sizes | None:
    """The sizes in one array; None if its units were not changed."""
    one = data.sel(layer=layer, array=array)

    def size(name: str, *dims: str) -> np.ndarray:
        return one[name].transpose(*dims).to_numpy().astype(np.float64)

    effect = size("effect_loss_abs", "time", "unit")
    there = ~np.isnan(effect)
    if not there.any():
        return None
    units, times = there.any(0), there.any(1)
    keep = np.ix_(times, units)
    return Sizes(
        effect[keep],
        size("effect_loss_predicted_abs", "time", "unit")[keep],
        one["time"].to_numpy()[times],
        size("whole_effect_loss_abs", "time")[times],
        size("whole_effect_loss_predicted_abs", "time")[times],
        float(one["effect_rounding"]),
    )


def measured(data: xr.Dataset) -> list[tuple[str, str, Sizes]]:
    """Layer, array and sizes of all that was measured."""
    found = []
    for layer in labels(data, "layer"):
        for array in labels(data, "array"):
            if (one := sizes(data, layer, array)) is not None:
                found.append((layer, array, one))
    return found


@needs("whole_effect_loss_abs", "whole_effect_loss_predicted_abs", "effect_rounding")
def interventions_by_step(data: xr.Dataset) -> Figure | None:
    """Effect of each whole state array by step, and its prediction, dashed."""
    drawn: dict[str, list[Curve]] = {}
    for layer in labels(data, "layer"):
        curves = drawn.setdefault(layer, [])
        for number, array in enumerate(labels(data, "array")):
            where = {"layer": layer, "array": array}
            effect, said = (
                pick(data, f"whole_{name}", "time", **where)
                for name in ("effect_loss_abs", "effect_loss_predicted_abs")
            )
            there = ~np.isnan(effect)
            if not there.any():
                continue
            colour = INK if array == JOINT else SERIES[number % len(SERIES)][0]
            times = data["time"].to_numpy()[there]
            for values, dash, text in (
                (effect, DASHES[0], array),
                (said, DASHES[2], f"{array}, predicted"),
            ):
                with np.errstate(divide="ignore"):
                    logs = np.log10(values[there])
                curves.append(Curve(times, logs, text, Line(colour, dash)))
    dots = (0, (1, 2))
    level = float(np.log10(data["effect_rounding"].max()))

    def floor(axes: Axes) -> None:
        low, high = axes.get_ylim()
        if low < level < high:
            axes.axhline(level, color=SOFT, linewidth=0.7, linestyle=dots)
            note(axes, axes.get_xlim()[0], level, " rounding")

    return by_layer(drawn, "step", "change of the loss", also=floor)


@needs(
    "effect_loss_abs",
    "effect_loss_predicted_abs",
    "whole_effect_loss_abs",
    "effect_rounding",
)
def interventions(data: xr.Dataset) -> Figure | None:
    """A row for each state array: effect, prediction, and one against the other."""
    rows = measured(data)
    size = Size(
        1.95, 1.5, gap_x=0.85, gap_y=0.6, left=0.3, right=0.15, top=0.3, bottom=0.45
    )
    with style():
        figure, grid = panels(len(rows), 3, size)
        for line, (layer, array, one) in zip(grid, rows, strict=True):
            scale = _scale(one)
            order = np.argsort(-one.effect.max(axis=0), kind="stable")
            _map(line[0], one.effect[:, order], one.times, scale)
            _map(line[1], one.predicted[:, order], one.times, scale)
            line[0].set_ylabel("units, by effect")
            title(line[0], f"{layer}, {array}: effect on loss")
            title(line[1], "predicted by the adjoint")
            _bar(figure, line[1], scale)
            _against(line[2], one)
            title(line[2], "effect against prediction")
        for axes in grid[-1, :2]:
            axes.set_xlabel("step")
        grid[-1, 2].set_xlabel("predicted")
    return figure


def _scale(one: Sizes) -> Normalize:
    """Colours of log10 sizes."""
    every = np.concatenate([one.effect.ravel(), one.predicted.ravel()])
    known = np.log10(every[np.isfinite(every) & (every > 0)])
    if not known.size:
        return Normalize(-1.0, 0.0)
    high = float(known.max())
    low = max(float(known.min()), high - DECADES, float(np.log10(one.rounding)))
    return Normalize(min(low, high - 1), high)


def _map(axes: Axes, table: np.ndarray, times: np.ndarray, scale: Normalize) -> None:
    """Steps from left to right, units from top to bottom; grey: exactly zero."""
    with np.errstate(divide="ignore"):
        logs = np.log10(table.T)
    colours = matplotlib.colormaps[COLOURS](scale(np.clip(logs, scale.vmin, None)))
    colours[np.isneginf(logs)] = to_rgba(ZERO)
    colours[np.isnan(logs)] = 0.0
    edge = 0.5 * (times[-1] - times[0]) / max(len(times) - 1, 1) or 0.5
    extent = (times[0] - edge, times[-1] + edge, len(logs) - 0.5, -0.5)
    axes.imshow(colours, aspect="auto", extent=extent)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)


def _bar(figure: Figure, axes: Axes, scale: Normalize) -> None:
    """The colours of a row, right of its second panel."""
    box = axes.get_position()
    width = figure.get_size_inches()[0]
    place = (box.x1 + 0.06 / width, box.y0, 0.07 / width, box.height)
    mappable = ScalarMappable(scale, matplotlib.colormaps[COLOURS])
    bar = figure.colorbar(mappable, cax=figure.add_axes(place))
    low, high = float(scale.vmin or 0), float(scale.vmax or 0)
    ticks = sorted(set(np.linspace(np.ceil(low), np.floor(high), 4).round()))
    bar.set_ticks(ticks, labels=[power(tick) for tick in ticks])
    bar.ax.spines["outline"].set_visible(False)
    bar.ax.tick_params(length=0, labelsize=6.5, pad=1)


def _against(axes: Axes, one: Sizes) -> None:
    """Prediction and effect of each unit and of the whole, on equal axes."""
    chosen = one.resolved
    x, y = np.log10(one.predicted[chosen]), np.log10(one.effect[chosen])
    both = np.isfinite(one.whole) & np.isfinite(one.whole_predicted)
    both &= (one.whole > one.rounding) & (one.whole_predicted > 0)
    wide = np.log10(one.whole_predicted[both]), np.log10(one.whole[both])
    every = np.concatenate([x, y, *wide])
    if not every.size:
        return
    low, high = float(every.min()) - 0.5, float(every.max()) + 0.5
    axes.plot([low, high], [low, high], color=GRID, linewidth=0.8, zorder=1)
    axes.plot(x, y, ".", color=SOFT, markersize=1.6, rasterized=True)
    axes.plot(*wide, "o", color=SERIES[1][0], markersize=2.4)
    axes.set(xlim=(low, high), ylim=(low, high))
    power_ticks(axes, 6)
    ticks = axes.get_yticks()
    axes.set_xticks(ticks, [power(tick) for tick in ticks])
    axes.set(xlim=(low, high), ylim=(low, high))
