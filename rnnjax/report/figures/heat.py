"""Heat map: the adjoint by time step and training step."""

import matplotlib
import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize, to_rgba
from matplotlib.figure import Figure

from rnnjax.report.aggregate import maximum, minimum
from rnnjax.report.conditions import Condition, farthest, in_order
from rnnjax.report.figures.lag import LEFT, SIZE, column_of
from rnnjax.report.layout import FLOAT32_ENDS, Size, small_multiples, title
from rnnjax.report.naming import power, slug, whole
from rnnjax.report.style import Drawing, Palette, style


COLUMNS = 4
ZERO = "#8b8f96"


def adjoint_over_training(
    lags: pl.DataFrame, palette: Palette, axis: str, what: str = LEFT
) -> list[Drawing]:
    """The gradient by lag and training step, one panel per variant, for each setting.

    The largest distance of a setting, and the first seed of each variant; `LEFT`
    relative to that near the loss, or its `SIZE`.
    """
    if lags.is_empty():
        return []
    lags = lags.with_columns(pl.col(column_of(lags, what)).alias("drawn"))
    drawn = (
        _draw(place.of(lags), place, palette, axis, what) for place in farthest(lags)
    )
    return [drawing for drawing in drawn if drawing is not None]


def _draw(
    lags: pl.DataFrame, place: Condition, palette: Palette, axis: str, what: str
) -> Drawing | None:
    lags = lags.filter(pl.col("seed").eq_missing(pl.col("seed").min().over("variant")))
    finite = lags.filter(pl.col("drawn").is_finite())["drawn"]
    if lags["train_step"].n_unique() < 2 or finite.is_empty():
        return None
    names = in_order(lags, list(palette))
    steps = max(lags.filter(variant=name)["train_step"].n_unique() for name in names)
    low = max(minimum(finite), FLOAT32_ENDS)
    scale = Normalize(min(low, maximum(finite) - 1), maximum(finite))
    size = Size(1.75, max(0.75, 0.16 * steps), gap_x=0.85, gap_y=0.5, right=1.15)
    with style():
        figure, grid = small_multiples(len(names), size, COLUMNS)
        for i, (axes, name) in enumerate(zip(grid, names, strict=True)):
            _panel(axes, lags.filter(variant=name), scale)
            title(axes, name, palette[name].colour)
            if i % COLUMNS == 0:
                axes.set_ylabel("updates made")
            if i >= len(names) - COLUMNS:
                axes.set_xlabel("lag s − t")
        _bar(figure, scale, minimum(finite) < FLOAT32_ENDS)
    size = what == SIZE
    meaning = "its absolute size" if size else "relative to that near the loss"
    caption = (
        f"Gradient by lag{place.at(axis)}, {meaning}, first seed of "
        "each network: the first word is on the left, the loss on the right, a row for "
        "each measurement during training. The number beside a row is that of the "
        f"first word. The colours end at {power(scale.vmin or 0)}; grey: exactly zero."
    )
    suffix = f"_{slug(place.setting)}" if place.setting else ""
    said = "Absolute size of the gradient" if size else "Gradient"
    return Drawing(
        f"{'gradient_size' if size else 'adjoint'}_over_training{suffix}",
        f"{said} by time step and training step",
        caption,
        figure,
        lags.drop("drawn"),
        folded=size,
    )


def _panel(axes: Axes, lags: pl.DataFrame, scale: Normalize) -> None:
    steps = sorted(lags["train_step"].unique())
    width = int(maximum(lags["lag"])) + 1
    table = np.full((len(steps), width), np.nan)
    rows = [steps.index(step) for step in lags["train_step"]]
    table[rows, lags["lag"].to_numpy()] = lags["drawn"].to_numpy()
    colours = matplotlib.colormaps["cividis"](scale(np.clip(table, scale.vmin, None)))
    colours[np.isneginf(table)] = to_rgba(ZERO)
    colours[np.isnan(table)] = 0.0
    axes.imshow(
        colours,
        aspect="auto",
        origin="lower",
        extent=(-0.5, width - 0.5, -0.5, len(steps) - 0.5),
    )
    axes.set_xlim(width - 0.5, -0.5)
    axes.set_yticks(range(len(steps)), [whole(step) for step in steps])
    for row, values in enumerate(table):
        seen = values[~np.isnan(values)]
        if seen.size:
            text = "0" if np.isneginf(seen[-1]) else power(seen[-1])
            axes.text(
                1.02,
                (row + 0.5) / len(steps),
                text,
                transform=axes.transAxes,
                fontsize=6.5,
                va="center",
            )
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)


def _bar(figure: Figure, scale: Normalize, clipped: bool) -> None:
    width, height = figure.get_size_inches()
    long = min(1.6, height - 1.0)
    box = (1 - 0.55 / width, 1 - (0.35 + long) / height, 0.1 / width, long / height)
    mappable = ScalarMappable(scale, matplotlib.colormaps["cividis"])
    bar = figure.colorbar(
        mappable, cax=figure.add_axes(box), extend="min" if clipped else "neither"
    )
    low, high = float(scale.vmin or 0), float(scale.vmax or 0)
    ticks = np.linspace(np.ceil(low), np.floor(high), 4).round()
    bar.set_ticks(sorted(set(ticks)), labels=[power(t) for t in sorted(set(ticks))])
    bar.ax.spines["outline"].set_visible(False)
    bar.ax.tick_params(length=0, labelsize=6.5)
