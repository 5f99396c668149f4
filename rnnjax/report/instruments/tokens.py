"""Word by word: four answers to "how much does this word matter", one row each."""

import dataclasses
from collections.abc import Sequence

import matplotlib
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure

from rnnjax.probes.backward.trace import EMBEDDING
from rnnjax.report.figures.heat import ZERO
from rnnjax.report.figures.words_strip import DARK, LIGHT, kernel_name
from rnnjax.report.instruments.numbers import brief, labels, latest
from rnnjax.report.layout import Size, panels, title
from rnnjax.report.naming import WORD, label, number
from rnnjax.report.style import SERIES, SOFT, style


COLUMNS = 22
"""Most words of a sentence that are drawn."""

CELL = 0.42
"""Inches of a word."""

SENTENCES = 4
MARKED = SERIES[1][0]


@dataclasses.dataclass(frozen=True)
class Row:
    """One quantity along a sentence.

    Attributes:
        name: at the left.
        values: ``(T,)``.
        low, high: values at the ends of the colours, over all sentences.
        colours: name of a colour map; a diverging one has `low` = −`high`.
        fixed: two digits after the point; otherwise two that count.
    """

    name: str
    values: np.ndarray
    low: float
    high: float
    colours: str
    fixed: bool


def word_strip(data: xr.Dataset) -> Figure | None:
    """Share, influence, saliency and decodability of every word of the sentences.

    Rows that were not measured are left out. Words on which the target depends are
    marked. A sentence of more than `COLUMNS` words keeps its start, its end and what
    lies around the marked words; dots stand for the others.
    """
    data = latest(data)
    if not {"sentence", "time"} <= set(data.dims):
        return None
    count = min(data.sizes["sentence"], SENTENCES)
    found = [(i, rows) for i in range(count) if (rows := sentence_rows(data, i))]
    if not found:
        return None
    read = _decoded(data)
    kept = [columns(_length(data, i), [*informative(data, i), *read]) for i, _ in found]
    width = max(len(one) for one in kept)
    height = max(len(rows) for _, rows in found)
    names = [row.name for _, rows in found for row in rows]
    longest = max(len(word) for i, _ in found for word in words(data, i))
    size = Size(
        CELL * width,
        0.2 * height,
        gap_y=0.48 + 0.048 * longest,
        left=0.068 * max(map(len, names)) + 0.1,
        bottom=0.2 + 0.048 * longest,
    )
    with style():
        figure, grid = panels(len(found), 1, size)
        for axes, (i, rows), steps in zip(grid[:, 0], found, kept, strict=True):
            _strip(axes, rows, steps, width)
            _names(axes, words(data, i), informative(data, i), steps)
            unit = "words" if "word" in data else "steps"
            title(axes, f"sentence {i + 1}: {_length(data, i)} {unit}")
    return figure


def sentence_rows(data: xr.Dataset, sentence: int) -> list[Row]:
    """The quantities that are known of a sentence; colours mean the same in all."""
    kernel = ""
    share = data.get("word_share")
    if share is not None and "parameter" in share.dims:
        # in an embedding each word has a row of its own: a share compares nothing
        names = [n for n in labels(data, "parameter") if n != EMBEDDING]
        ranked = sorted(names, key=lambda n: not n.endswith("/V"))
        kernel = ranked[0] if ranked else EMBEDDING
        share = share.sel(parameter=kernel)
    elif share is not None:
        kernel = str(share.attrs.get("parameter", ""))
    of = f" ({kernel_name(kernel)})" if kernel else ""
    found = (
        (f"share{of}", share, "PuOr_r"),
        ("influence", data.get("influence_distance"), "Purples"),
        ("log₁₀ saliency", data.get("log10_saliency"), "cividis"),
        ("decodable", data.get("decodability"), "Greens"),
    )
    rows = []
    for name, values, colours in found:
        if values is None or np.all(np.isnan(values)):
            continue
        table = values.to_numpy().astype(float)
        finite = table[np.isfinite(table)]
        high = float(finite.max()) if finite.size else 1.0
        low = float(finite.min()) if name.startswith("log") and finite.size else 0.0
        if colours == "PuOr_r":
            high = max(0.1, float(np.abs(finite).max()) if finite.size else 0.1)
            low = -high
        if name == "decodable":
            high = max(high, 1.0)
            if "decodability_chance" in data:
                low = float(np.nanmedian(data["decodability_chance"]))
            name = " ".join([*(f"step {t}" for t in _decoded(data)), name])
        one = values.isel(sentence=sentence) if "sentence" in values.dims else values
        row = one.to_numpy().astype(float)
        if not np.all(np.isnan(row)):
            fixed = colours in ("cividis", "Greens")
            rows.append(Row(name, row, low, max(high, low + 1e-30), colours, fixed))
    return rows


def columns(length: int, marked: Sequence[int]) -> list[int]:
    """The steps of a sentence that are drawn; −1 stands for a gap.

    All of a short one; of a long one the first two, the last eight, the marked ones
    with a neighbour on either side, then more of the end, as long as there is room.

    >>> columns(4, [0])
    [0, 1, 2, 3]
    >>> columns(50, [20])[:12]
    [0, 1, -1, 19, 20, 21, -1, 35, 36, 37, 38, 39]
    """
    if length <= COLUMNS:
        return list(range(length))
    chosen = {0, 1, *range(length - 8, length)}
    for reach in ([0], [-1, 1]):
        for step in marked:
            near = {step + by for by in reach if 0 <= step + by < length}
            if _width(chosen | near) <= COLUMNS:
                chosen |= near
    for step in range(length - 9, -1, -1):
        if _width(chosen | {step}) > COLUMNS:
            break
        chosen.add(step)
    found: list[int] = []
    for step in sorted(chosen):
        if found and step != found[-1] + 1:
            found.append(-1)
        found.append(step)
    return found


def _width(chosen: set[int]) -> int:
    """Steps, and a gap before every run of them but the first."""
    return len(chosen) + sum(step - 1 not in chosen for step in chosen) - 1


def informative(data: xr.Dataset, sentence: int) -> list[int]:
    """Steps on which the target depends; none if it may depend on half of them."""
    if "informative" not in data:
        return []
    dim = "sentence" if "sentence" in data["informative"].dims else "example"
    marks = data["informative"].isel({dim: sentence}).to_numpy() == 1
    steps = np.flatnonzero(marks[: _length(data, sentence)]).tolist()
    return steps if 2 * len(steps) <= max(_length(data, sentence), 2) else []


def words(data: xr.Dataset, sentence: int) -> list[str]:
    """The words of a sentence, or the numbers of its steps."""
    length = _length(data, sentence)
    if "word" not in data:
        return [str(t) for t in range(length)]
    found = data["word"].isel(sentence=sentence).to_numpy()
    return [label(str(word), WORD) or str(t) for t, word in enumerate(found[:length])]


def _length(data: xr.Dataset, sentence: int) -> int:
    """Number of steps of a sentence; the sentences are the first examples."""
    known = data["length"].isel(example=sentence) if "length" in data else None
    return data.sizes["time"] if known is None else int(known)


def _decoded(data: xr.Dataset) -> list[int]:
    """The step whose word the linear probe reads."""
    known = data["decodability"].attrs if "decodability" in data else {}
    return [int(known["step"])] if "step" in known else []


def _strip(axes: Axes, rows: list[Row], steps: list[int], width: int) -> None:
    colours = np.zeros((len(rows), len(steps), 4))
    for i, row in enumerate(rows):
        shades = matplotlib.colormaps[row.colours]
        for j, step in enumerate(steps):
            value = row.values[step] if step >= 0 else np.nan
            if np.isnan(value):
                continue
            at = float(np.clip((value - row.low) / (row.high - row.low), 0, 1))
            shade = to_rgba(ZERO) if np.isneginf(value) else shades(at)
            colours[i, j] = shade
            luminance = np.dot(shade[:3], (0.299, 0.587, 0.114))
            axes.text(
                j,
                i,
                number(value) if row.fixed else brief(float(value)),
                color=DARK if luminance > 0.5 else LIGHT,
                fontsize=6,
                ha="center",
                va="center_baseline",
            )
    axes.imshow(colours, aspect="auto")
    axes.set_xlim(-0.5, width - 0.5)
    axes.set_yticks(range(len(rows)), [row.name for row in rows])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def _names(
    axes: Axes, names: list[str], marked: Sequence[int], steps: list[int]
) -> None:
    texts = [names[step] if step >= 0 else "…" for step in steps]
    options = {"rotation": 50, "ha": "right", "rotation_mode": "anchor"}
    slant = max(map(len, texts)) > 5
    axes.set_xticks(range(len(steps)), texts, **(options if slant else {}))
    for step, tick in zip(steps, axes.get_xticklabels(), strict=True):
        if step in marked:
            tick.set_color(MARKED)
            tick.set_fontweight("bold")
        elif step < 0:
            tick.set_color(SOFT)
