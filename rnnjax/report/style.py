"""One look for all figures and pages: fixed colours, the same files when redrawn."""

import dataclasses
import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
import matplotlib
import polars as pl
from markupsafe import Markup
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import Formatter, LogFormatterMathtext

from rnnjax.report.naming import superscript
from rnnjax.store.atomic import write_bytes
from rnnjax.store.frames import csv_bytes


INK, SOFT, GRID, PAPER = "#1b1f24", "#667080", "#d9dde3", "#ffffff"

SERIES = (
    ("#0072b2", "#4da6e0"),
    ("#d55e00", "#ff8b3e"),
    ("#009e73", "#2fc99c"),
    ("#b8448c", "#ec92c6"),
    ("#a87400", "#f0bb3c"),
    ("#3a96cf", "#8fd0f7"),
    ("#5d3a9b", "#ad92e6"),
    ("#6a6f76", "#b3b8bf"),
)
"""Colours on paper and on a dark screen, after Okabe & Ito, with contrast 3 to 1."""

DASHES = ("-", (0, (5, 1.5)), (0, (1.5, 1.2)))

VARIABLES = {
    INK: "--ink",
    SOFT: "--soft",
    GRID: "--grid",
    PAPER: "--card",
    **{light: f"--series-{i}" for i, (light, _) in enumerate(SERIES)},
}
"""CSS variables that stand for the colours of a figure inside the page."""

RC: dict[Any, Any] = {
    "axes.edgecolor": SOFT,
    "axes.facecolor": "none",
    "axes.labelcolor": INK,
    "axes.labelsize": 8,
    "axes.linewidth": 0.6,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlecolor": INK,
    "axes.titlelocation": "left",
    "axes.titlesize": 8.5,
    "axes.titlepad": 5,
    "figure.facecolor": PAPER,
    "font.family": ["DejaVu Sans"],
    "font.size": 8,
    "image.interpolation": "nearest",
    "lines.linewidth": 1.4,
    "lines.solid_capstyle": "round",
    "pdf.fonttype": 42,
    "svg.fonttype": "none",
    # What stands between two $ is a word or a name of the user's, not mathematics.
    "text.parse_math": False,
    "text.color": INK,
    "xtick.color": SOFT,
    "xtick.labelcolor": INK,
    "xtick.labelsize": 7.5,
    "xtick.major.size": 2.5,
    "xtick.major.width": 0.6,
    "ytick.color": SOFT,
    "ytick.labelcolor": INK,
    "ytick.labelsize": 7.5,
    "ytick.major.size": 2.5,
    "ytick.major.width": 0.6,
}


@dataclasses.dataclass(frozen=True)
class Line:
    """How one variant looks in every figure."""

    colour: str
    dash: str | tuple[int, tuple[float, ...]]


Palette = dict[str, Line]


def palette(variants: Sequence[str]) -> Palette:
    """A colour for each variant; beyond eight the dashes tell them apart."""
    size = len(SERIES)
    return {
        name: Line(SERIES[i % size][0], DASHES[i // size % len(DASHES)])
        for i, name in enumerate(variants)
    }


@dataclasses.dataclass(frozen=True)
class Drawing:
    """A figure with what belongs to it.

    Attributes:
        name: name of its files, without suffix.
        title: in a few words.
        caption: what is drawn, and how it was computed.
        figure: the matplotlib figure.
        data: what is drawn, as a table.
        folded: whether a page shows it only on demand.
    """

    name: str
    title: str
    caption: str
    figure: Figure
    data: pl.DataFrame
    folded: bool = False


_PLAIN: dict[Any, Any] = {
    key: value for key, value in matplotlib.rcParamsDefault.items() if key != "backend"
}
"""Matplotlib also reads ``matplotlibrc`` where it is started, which may be a folder
from somebody else, and which can have every label set by LaTeX."""


@contextmanager
def style(name: str = "") -> Iterator[None]:
    """The look, for drawing and for saving; `name` makes the marks in an SVG unique."""
    look: dict[Any, Any] = {**_PLAIN, **RC, "svg.hashsalt": name}
    with matplotlib.rc_context(look):
        yield


def save(drawing: Drawing, folder: Path) -> str:
    """Write PNG, SVG, PDF and CSV; equal figures give equal bytes.

    Returns:
        The figure as an element of a page, see `inline`.

    Raises:
        UserError: a file cannot be written.
    """
    figure, name = drawing.figure, drawing.name
    element = save_figure(figure, name, folder)
    with style(name):
        paged = io.BytesIO()
        dateless = {"CreationDate": None, "Creator": None, "Producer": None}
        figure.savefig(paged, format="pdf", metadata=dateless)
        write_bytes(folder / f"{name}.pdf", paged.getvalue())
    write_bytes(folder / f"{name}.csv", csv_bytes(drawing.data))
    return element


def save_figure(figure: Figure, name: str, folder: Path) -> str:
    """Write PNG and SVG alone; otherwise as `save`."""
    element, raster = save_svg(figure, name, folder), io.BytesIO()
    with style(name):
        figure.savefig(raster, format="png", dpi=160, metadata={"Software": None})
        write_bytes(folder / f"{name}.png", raster.getvalue())
    return element


def save_svg(figure: Figure, name: str, folder: Path) -> str:
    """Write SVG alone; otherwise as `save`."""
    FigureCanvasAgg(figure)
    _write_powers_plainly(figure)
    vector = io.BytesIO()
    with style(name):
        metadata = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(vector, format="svg", metadata=metadata)
        write_bytes(folder / f"{name}.svg", vector.getvalue())
    return inline(vector.getvalue().decode(), name)


def _write_powers_plainly(figure: Figure) -> None:
    """Label logarithmic axes in characters; matplotlib would write mathematics."""
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            major, minor = axis.get_major_formatter(), axis.get_minor_formatter()
            if isinstance(major, LogFormatterMathtext):
                axis.set_major_formatter(_Plain(major))
            if isinstance(minor, LogFormatterMathtext):
                axis.set_minor_formatter(_Plain(minor))


class _Plain(Formatter):
    """Writes what another formatter says in mathematics as ``2×10⁻³``."""

    def __init__(self, inner: LogFormatterMathtext) -> None:
        self.inner = inner

    def set_locs(self, locs: Any) -> None:
        self.inner.set_locs(locs)

    def __call__(self, x: float, pos: int | None = None) -> str:
        text = self.inner(x, pos).replace(r"\times", "×")
        raised = re.sub(r"\^\{([^}]*)\}", lambda found: superscript(found[1]), text)
        return re.sub(r"\$|\\mathdefault|[{}]", "", raised)


def inline(svg: str, name: str) -> str:
    """An SVG file as part of a page: colours follow its theme, ids are its own."""
    body = svg[svg.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    body = re.sub(r' xmlns(:xlink)?="[^"]*"', "", body, count=2)
    head, rest = body.split(">", 1)
    width = re.search(r'width="([\d.]+)pt"', head)
    head = re.sub(r' (width|height)="[^"]*"', "", head)
    points = float(width.group(1)) if width else 600.0
    head += f' role="img" aria-labelledby="{name}-title"'
    head += f' style="max-width:{points * 4 / 3:.0f}px"'
    body = f"{head}>{rest}"
    body = re.sub(r'\bid="', f'id="{name}-', body)
    body = body.replace("url(#", f"url(#{name}-").replace('href="#', f'href="#{name}-')
    for colour, variable in VARIABLES.items():
        body = body.replace(colour, f"var({variable})")
    return body


def fill(template: str, **fields: Any) -> str:
    """A template of this package filled in, with the look that all pages share."""
    environment = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
        loader=jinja2.FunctionLoader(_source),
    )
    css = environment.get_template("page.css").render(series=SERIES)
    # Style and script are files of this package: nothing of a run gets into them.
    return environment.get_template(template).render(
        **fields, css=Markup(css), js=Markup(_source("page.js"))
    )


def _source(name: str) -> str:
    return resources.files("rnnjax.report").joinpath(name).read_text(encoding="utf-8")
