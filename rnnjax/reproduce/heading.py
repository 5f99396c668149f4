"""The heading of every figure: its title, the preset, and what the paper shows."""

import textwrap

from matplotlib.figure import Figure as Drawn

from rnnjax.report.style import INK, SOFT, style
from rnnjax.reproduce.figure import Figure


TITLE, LINE, MARGIN = 0.27, 0.15, 0.12
"""Inches of the title, of a line of text, and of the margin above."""

CHARACTERS = 16.5
"""Characters of the small text per inch of width."""


def add_heading(drawn: Drawn, figure: Figure, preset: str) -> None:
    """Make room above a drawing and write its heading there.

    The title names the preset unless it is `paper`, so that a reduced version is not
    mistaken for the paper's.
    """
    width, height = drawn.get_size_inches()
    size = int((width - 2 * MARGIN) * CHARACTERS)
    lines = [*textwrap.wrap(figure.source, size), *textwrap.wrap(figure.shows, size)]
    room = MARGIN + TITLE + LINE * len(lines) + 0.1
    total = height + room
    # a twin moves with its axes: read all positions before changing any
    boxes = [axes.get_position() for axes in drawn.axes]
    for axes, box in zip(drawn.axes, boxes, strict=True):
        part = height / total
        axes.set_position((box.x0, box.y0 * part, box.width, box.height * part))
    for text in drawn.texts:
        x, y = text.get_position()
        text.set_position((x, y * height / total))
    drawn.set_size_inches(width, total)
    suffix = "" if preset == "paper" else f" · {preset}"
    left = MARGIN / width
    with style():
        drawn.text(
            left,
            1 - MARGIN / total,
            figure.title + suffix,
            fontsize=10.5,
            fontweight="bold",
            color=INK,
            va="top",
        )
        drawn.text(
            left,
            1 - (MARGIN + TITLE) / total,
            "\n".join(lines),
            fontsize=7,
            color=SOFT,
            va="top",
            linespacing=1.35,
        )
