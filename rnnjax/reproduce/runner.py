"""Run a figure, or draw it again from the stored results of an earlier run."""

import dataclasses
import textwrap
import time
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure as Drawn

from rnnjax.errors import UserError, unknown
from rnnjax.report.style import INK, SOFT, save_figure, style
from rnnjax.reproduce.figure import Figure, Preset, compare, in_words
from rnnjax.reproduce.figure_files import FigureFiles, Record
from rnnjax.reproduce.verdict import judge
from rnnjax.store import sealed_json
from rnnjax.store.environment import environment


GALLERY = "gallery"

TITLE, LINE, MARGIN = 0.27, 0.15, 0.12
"""Inches of the title, of a line of text, and of the margin above."""

CHARACTERS = 16.5
"""Characters of the small text per inch of width."""


def figure_files(figure: Figure, out: Path) -> FigureFiles:
    """The files of a figure."""
    return FigureFiles(out / GALLERY / figure.name)


def preset_of(figure: Figure, preset: str) -> Preset:
    """The preset with this name.

    Raises:
        UserError: the figure has none.
    """
    if preset not in figure.presets:
        raise unknown(f"preset of {figure.name}", preset, figure.presets)
    return figure.presets[preset]


def reproduce(figure: Figure, preset: str, out: Path, pool: Path) -> Record:
    """Run a figure, store its results, draw it and test its claims.

    Drawing and verdicts are based on the results as read back from disk. `out` contains
    the gallery, `pool` receives the runs of figures that train.

    Raises:
        UserError: there is no such preset, or a file cannot be written.
    """
    settings = preset_of(figure, preset).settings
    files = figure_files(figure, out)
    # a pool for each preset: in a shared one, a longer run of another figure would be
    # used in place of a shorter one
    own = pool / figure.name / preset
    continued = own.exists()
    began, worked = time.perf_counter(), time.process_time()
    results = figure.run(settings, own)
    seconds, worked = time.perf_counter() - began, time.process_time() - worked
    written = files.write(preset, results)
    where = environment()
    record = Record(
        figure=figure.name,
        preset=preset,
        settings=dataclasses.asdict(settings),
        seconds=round(seconds, 1),
        cores=where.cpu_count,
        device=where.device,
        versions=where.versions,
        commit=where.git.commit if where.git else None,
        processor_seconds=round(worked, 1),
        results_digest=written,
        continued=continued,
    )
    files.note(record)
    return redraw(figure, preset, files)


def redraw(figure: Figure, preset: str, files: FigureFiles) -> Record:
    """Draw stored results and test the claims; equal results give identical files.

    Raises:
        UserError: nothing is stored, the stored results have other settings than the
            preset has now, or a file cannot be written.
    """
    settings = preset_of(figure, preset).settings
    results, record = files.results(preset), files.record(preset)
    if record.figure != figure.name:
        raise UserError(
            f"'{files.folder}' holds the figure '{record.figure}', not '{figure.name}'"
        )
    _check_settings(record, settings, files)
    record = dataclasses.replace(
        record,
        verdicts=judge(figure, preset, results),
        compared=compare(figure.settings, settings),
    )
    drawn = figure.draw(results)
    _add_heading(drawn, figure, preset)
    save_figure(drawn, preset, files.folder)
    files.note(record)
    return record


def _check_settings(record: Record, settings: Any, files: FigureFiles) -> None:
    """Raise a `UserError` if the results were obtained with other settings.

    A verdict about settings that were not run would be false.
    """
    now = sealed_json.loads(sealed_json.dumps(dataclasses.asdict(settings)))
    for name in [*now, *(key for key in record.settings if key not in now)]:
        then = record.settings.get(name)
        if then != now.get(name):
            raise UserError(
                f"'{files.folder}': the stored {record.preset} results have {name} = "
                f"{in_words(then)}, the preset has {in_words(now.get(name))} now; run "
                "the figure again"
            )


def _add_heading(drawn: Drawn, figure: Figure, preset: str) -> None:
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
    bold: dict[str, Any] = {"fontsize": 10.5, "fontweight": "bold", "color": INK}
    small: dict[str, Any] = {"fontsize": 7, "color": SOFT, "linespacing": 1.35}
    top, below = 1 - MARGIN / total, 1 - (MARGIN + TITLE) / total
    with style():
        drawn.text(left, top, figure.title + suffix, va="top", **bold)
        drawn.text(left, below, "\n".join(lines), va="top", **small)
