"""Run a figure, or draw it again from the stored results of an earlier run."""

import dataclasses
import time
from pathlib import Path
from typing import Any

from rnnjax.errors import UserError, unknown
from rnnjax.report.style import save_figure
from rnnjax.reproduce.figure import Figure, Preset
from rnnjax.reproduce.figure_files import FigureFiles, Record
from rnnjax.reproduce.heading import add_heading
from rnnjax.reproduce.setting import compare, in_words
from rnnjax.reproduce.verdict import judge
from rnnjax.store import sealed_json
from rnnjax.store.environment import environment


GALLERY = "gallery"


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

    Drawing and verdicts are based on the results as read back from disk.

    Args:
        figure: see `rnnjax.reproduce.catalogue`.
        preset: name of the preset.
        out: folder that contains the gallery.
        pool: pool for the runs of figures that train.

    Raises:
        UserError: there is no such preset, or a file cannot be written.
    """
    settings = preset_of(figure, preset).settings
    files = figure_files(figure, out)
    began, worked = time.perf_counter(), time.process_time()
    # a pool for each preset: in a shared one, a longer run of another figure would be
    # used in place of a shorter one
    results = figure.run(settings, pool / figure.name / preset)
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
        verdicts=(),
        processor_seconds=round(worked, 1),
        results_digest=written,
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
    add_heading(drawn, figure, preset)
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
