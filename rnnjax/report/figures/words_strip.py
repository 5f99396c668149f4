"""Share per word of the update that an example sentence alone would make."""

import re

import matplotlib
import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.colors import Normalize

from rnnjax.probes.backward.trace import EMBEDDING
from rnnjax.report.aggregate import maximum
from rnnjax.report.conditions import Condition, in_order, places
from rnnjax.report.figures.lag import STAGES
from rnnjax.report.layout import Size, panels, title
from rnnjax.report.naming import WORD, label, number, slug, whole
from rnnjax.report.style import Drawing, Palette, style


READABLE = 24
"""Up to so many words are written below a strip."""
NUMBERED = 8
"""Up to so many words carry their share as a number."""
NARROW = 6
"""Up to so many words the kernels stand side by side."""
KERNELS = 3

DARK, LIGHT = "#000001", "#fffffe"


def share_per_word(shares: pl.DataFrame, palette: Palette, axis: str) -> list[Drawing]:
    """The signed share of each word, for the shortest and the longest sentences."""
    found = places(shares)
    chosen = dict.fromkeys(
        place
        for setting in dict.fromkeys(place.setting for place in found)
        for own in [[place for place in found if place.setting == setting]]
        for place in (own[0], own[-1])
    )
    drawn = (_draw(place.of(shares), place, palette, axis) for place in chosen)
    return [drawing for drawing in drawn if drawing is not None]


def _draw(
    shares: pl.DataFrame, place: Condition, palette: Palette, axis: str
) -> Drawing | None:
    shares = shares.filter(
        pl.col("seed").eq_missing(pl.col("seed").min().over("variant"))
    )
    one = _sentence(shares)
    kernels = main_kernels(one, KERNELS)
    if one.is_empty() or not one["share"].is_finite().any():
        return None
    names = in_order(one, list(palette))
    read = one.filter(variant=names[0]).unique("time").sort("time")["word"]
    words = [label(word, WORD) for word in read]
    few = len(words) <= READABLE
    stages = [stage for stage in STAGES if (one["stage"] == stage).any()]
    width = max(1.9, 0.5 * len(words)) if len(words) <= NUMBERED else 4.6
    longest = max(map(len, words)) if few else 0
    slant = few and len(words) > NUMBERED
    size = Size(
        width,
        0.19 * len(names),
        gap_x=0.25,
        gap_y=0.4,
        left=0.075 * max(map(len, names)) + 0.1,
        bottom=0.3 + (0.055 * longest if slant else 0.15),
    )
    limit = min(1.0, max(0.1, maximum(one["share"].abs())))
    scale = Normalize(-limit, limit)
    # Short sentences leave room for the kernels side by side.
    turned = len(words) <= NARROW
    rows, columns = len(kernels), len(stages)
    if turned:
        rows, columns = columns, rows
    with style():
        figure, grid = panels(rows, columns, size)
        for (row, column), axes in np.ndenumerate(grid):
            i, j = (column, row) if turned else (row, column)
            here = one.filter(parameter=kernels[i], stage=stages[j])
            if here.is_empty():
                axes.set_axis_off()
                continue
            _strip(axes, here, names, len(words), scale)
            title(axes, f"{kernel_name(kernels[i])}, {STAGES[stages[j]]}")
            axes.set_yticks(range(len(names)), names if column == 0 else [])
            if row == len(grid) - 1:
                _word_axis(axes, words, few, slant)
            else:
                axes.set_xticks([])
    sentence = " ".join(words) if few else f"{' '.join(words[:4])} … {words[-1]}"
    caption = (
        f"“{sentence}” ({len(words)} words; first seed): share of each word in the "
        "update of a kernel that this sentence alone would make, ⟨G_t, G⟩/‖G‖², which "
        "sums to 1 over the words. It says what fills that update, noise included, "
        "not what is learnt from. Orange: "
        f"with the update, purple: against it; the colours end at ±{number(limit)}"
        f"{'' if few else ' and grow with the root of the share'}."
    )
    where = place.title(axis)
    suffix = re.sub("_+", "_", f"_{slug(where)}") if where else ""
    return Drawing(
        f"share_per_word{suffix}",
        f"Share of one sentence's update per word{': ' + where if where else ''}",
        caption,
        figure,
        one,
    )


def main_kernels(shares: pl.DataFrame, most: int) -> list[str]:
    """The kernels that most variants have, the input kernel first; no embedding.

    Each word has a row of its own in an embedding, so that a share compares nothing.
    """
    shares = shares.filter(pl.col("parameter") != EMBEDDING)
    there = shares.group_by("parameter").agg(pl.col("variant").n_unique().alias("n"))
    rank = {"V": 0, "U": 1}
    ordered = sorted(
        there.iter_rows(),
        key=lambda row: (-row[1], rank.get(kernel_name(row[0]), 3), row[0]),
    )
    chosen = [name for name, _ in ordered][:most]
    return sorted(chosen, key=lambda name: rank.get(kernel_name(name), 3))


def kernel_name(kernel: str) -> str:
    """The kernel without its layer if that is the first.

    >>> kernel_name("layer0/U"), kernel_name("layer1/U")
    ('U', 'layer1/U')
    """
    return kernel.removeprefix("layer0/")


def _sentence(shares: pl.DataFrame) -> pl.DataFrame:
    """The rows of the first sentence that is not a single word."""
    long = shares.filter(pl.col("length") > 1)
    return long.filter(pl.col("sentence") == long["sentence"].min())


def _strip(
    axes: Axes, shares: pl.DataFrame, names: list[str], steps: int, scale: Normalize
) -> None:
    table = np.full((len(names), steps), np.nan)
    rows = [names.index(name) for name in shares["variant"]]
    table[rows, shares["time"].to_numpy()] = shares["share"].to_numpy()
    shade = np.nan_to_num(table)
    if steps > READABLE:
        # Even shares of a hundred words would all look white.
        shade = np.sign(shade) * np.sqrt(np.abs(shade) * (scale.vmax or 1))
    colours = matplotlib.colormaps["PuOr_r"](scale(shade))
    colours[np.isnan(table)] = 0.0
    axes.imshow(colours, aspect="auto")
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    if steps > NUMBERED:
        return
    for (i, j), value in np.ndenumerate(table):
        if np.isfinite(value):
            dark = abs(value) > 0.62 * (scale.vmax or 1)
            axes.text(
                j,
                i,
                number(value),
                color=LIGHT if dark else DARK,
                fontsize=6.5,
                ha="center",
                va="center_baseline",
            )


def _word_axis(axes: Axes, words: list[str], few: bool, slant: bool) -> None:
    if few:
        labels = [word or whole(i + 1) for i, word in enumerate(words)]
        options = {"rotation": 60, "ha": "right", "rotation_mode": "anchor"}
        axes.set_xticks(range(len(words)), labels, **(options if slant else {}))
        return
    ticks = [0, *range(24, len(words) - 12, 25), len(words) - 1]
    ends = {ticks[0], ticks[-1]}
    labels = [f"{t + 1}\n{words[t]}" if t in ends else f"{t + 1}" for t in ticks]
    texts = axes.set_xticks(ticks, labels)
    texts[0].label1.set_horizontalalignment("left")
    texts[-1].label1.set_horizontalalignment("right")
