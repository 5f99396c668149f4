"""The page: one HTML file that needs no network."""

import dataclasses
from collections.abc import Sequence
from importlib import resources
from typing import Any

import jinja2
from markupsafe import Markup

from rnnjax.report.grids import Grid
from rnnjax.report.provenance import Provenance
from rnnjax.report.style import SERIES, VARIABLES, Drawing, Palette


@dataclasses.dataclass(frozen=True)
class Page:
    """What a page shows.

    Attributes:
        origin: of the sweep.
        headline: one sentence.
        findings: a heading and its sentences.
        figures: drawings with their inline SVG.
        tables: a title, a remark, and the table.
        runs: the table of runs.
        failures: a sentence for each run without a regular end.
        palette: the colours of the variants.
    """

    origin: Provenance
    headline: str
    findings: Sequence[tuple[str, Sequence[str]]]
    figures: Sequence[tuple[Drawing, str]]
    tables: Sequence[tuple[str, str, Grid]]
    runs: Grid
    failures: Sequence[str]
    palette: Palette


def render(page: Page) -> str:
    """The text of the page."""
    colours = {name: VARIABLES[line.colour] for name, line in page.palette.items()}
    fields = {f.name: getattr(page, f.name) for f in dataclasses.fields(page)}
    return fill("page.html", **fields, colours=colours)


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
