"""The command `rnnjax reproduce`: reproduce figures of papers, or redraw them."""

import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rnnjax.errors import UserError, unknown
from rnnjax.paths import user_path


if TYPE_CHECKING:
    from rnnjax.reproduce.figure import Figure
    from rnnjax.reproduce.figure_files import Record


DEFAULTS = {"preset": "quick", "out": "reproduced", "pool": "runs"}


def reproduce(arguments: Sequence[str], every: bool, stored: str | None) -> int:
    """Run figures and judge their claims; returns 1 if a figure failed, else 0.

    Args:
        arguments: names of figures, and ``preset=quick|paper``, ``out=`` (folder in
            which ``gallery/`` is written), ``pool=`` (pool for figures that train
            networks).
        every: whether to run all figures.
        stored: folder with the stored results of a figure, which is only redrawn.

    Raises:
        UserError: the input is invalid; nothing has been written.
    """
    from rnnjax.devices import use_every_core
    from rnnjax.reproduce import catalogue
    from rnnjax.reproduce.figure_files import FigureFiles
    from rnnjax.reproduce.gallery import PAGE, is_gallery, render
    from rnnjax.reproduce.runner import figure_files, preset_of, redraw
    from rnnjax.reproduce.runner import reproduce as run
    from rnnjax.store.atomic import write_text

    names, options = _parse(arguments)
    if every == bool(names):
        raise UserError("name a figure (see rnnjax list figures), or give only --all")
    if stored is not None:
        if len(names) != 1:
            raise UserError(
                "--redraw takes one figure: rnnjax reproduce NAME --redraw DIR"
            )
        figure = catalogue.find(names[0])
        files = FigureFiles(user_path(stored, f"--redraw {stored}"))
        try:
            record = redraw(figure, options["preset"], files)
        except (AttributeError, KeyError, ValueError, IndexError) as error:
            raise UserError(
                f"'{files.folder}' does not hold the data of {figure.name}: {error}"
            ) from error
        home = files.folder.parent.parent
        if is_gallery(home) and figure_files(figure, home).folder == files.folder:
            write_text(home / PAGE, render(catalogue.figures(), home))
        return _show(figure, record, files.file(options["preset"], ".png"))
    use_every_core()
    chosen = catalogue.figures() if every else [catalogue.find(name) for name in names]
    for figure in chosen:
        preset_of(figure, options["preset"])
    out, pool = Path(options["out"]), Path(options["pool"])
    failed = 0
    for figure in chosen:
        try:
            record = run(figure, options["preset"], out, pool)
        except UserError:
            raise
        except Exception:
            if len(chosen) == 1:
                raise
            traceback.print_exc()
            failed += 1
            continue
        picture = figure_files(figure, out).file(record.preset, ".png")
        _show(figure, record, picture)
    write_text(out / PAGE, render(catalogue.figures(), out))
    return 1 if failed else 0


def _parse(arguments: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    names, options = [], dict(DEFAULTS)
    for argument in arguments:
        key, equals, value = argument.partition("=")
        if not equals:
            names.append(argument)
        elif key not in DEFAULTS:
            raise unknown("key", key, DEFAULTS)
        else:
            options[key] = value
    for key in ("out", "pool"):
        user_path(options[key], f"{key}={options[key]} cannot be used as a folder")
    return names, options


def _show(figure: "Figure", record: "Record", picture: Path) -> int:
    from rich.table import Table

    from rnnjax.reproduce.gallery import bounds_text, reasons_text, value_text
    from rnnjax.reproduce.verdict import MEANINGS
    from rnnjax.terminal import console

    title = f"{figure.place}. {figure.title} ({record.preset}, {record.seconds:.3g} s)"
    table = Table("verdict", "claim", "found", "wanted", "setting", title=title)
    for verdict in record.verdicts:
        table.add_row(
            verdict.outcome,
            verdict.sentence,
            value_text(verdict),
            bounds_text(verdict.bounds, verdict.strict),
            reasons_text(verdict),
        )
    console().print(table)
    used = {verdict.outcome for verdict in record.verdicts}
    for outcome, meaning in MEANINGS.items():
        if outcome in used:
            console().print(f"{outcome}: {meaning}", style="dim")
    console().print(f"picture: {picture}", soft_wrap=True)
    return 0
