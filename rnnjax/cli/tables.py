"""The commands `rnnjax runs` and `rnnjax compare`: tables of runs."""

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rnnjax.counting import count
from rnnjax.errors import UserError
from rnnjax.paths import user_path
from rnnjax.terminal import console


if TYPE_CHECKING:
    import polars as pl

    from rnnjax.results import Results
    from rnnjax.store.rundir import RunDir


SHOWN = 200
"""Most rows that are shown; nobody reads thousands, and printing them is slow."""


def runs(view: argparse.Namespace) -> int:
    """Show a table of runs, or of groups of runs, or write it to a file.

    Args:
        view: the options of ``rnnjax runs``, see `rnnjax.cli.parsing`.

    Raises:
        UserError: the folder holds no runs, or a condition or column is invalid.
    """
    from rnnjax.results import load
    from rnnjax.store.names import column

    results = load(view.dir)
    if view.where is not None:
        results = results.select(view.where)
    by = [] if view.by is None else view.by.split(",")
    frame = _groups(results, by) if by else results.runs
    if view.sort is not None:
        keys = [column(name, frame.columns) for name in view.sort.split(",")]
        frame = frame.sort(keys, descending=view.reverse, nulls_last=True)
    if view.csv or view.parquet:
        _write_out(frame, view)
        return 0
    table = _merged(frame) if by else frame.select(_shown(results))
    legend = f"{count(len(results.runs), 'run')} in {view.dir}"
    if len(table) > SHOWN:
        legend = f"the first {SHOWN} of {legend}; --csv OUT writes all of them"
    if by:
        legend += "; mean [95 % interval of the mean over the runs of a group]"
    print_table(table.head(SHOWN), legend)
    if by:
        _warn_mixed(results, by)
    return 0


def compare(first: str, second: str) -> int:
    """Print where two runs differ, and their final results next to each other."""
    from rich.table import Table

    from rnnjax.store.compare import compare as pairs_of

    one, other = find_run(first), find_run(second)
    table = Table("", "key", one.path.name, other.path.name)
    part = None
    for pair in pairs_of(one, other):
        head = pair.part if pair.part != part else ""
        if head and part:
            table.add_section()
        part = pair.part
        table.add_row(head, pair.key, cell_text(pair.first), cell_text(pair.second))
    console().print(table)
    return 0


def find_run(name: str) -> "RunDir":
    """The run in a directory, or by the first digits of its run id: ``runs/3fa9``.

    Raises:
        UserError: there is no such run, or more than one.
    """
    from rnnjax.results import load
    from rnnjax.store.rundir import MANIFEST, RunDir

    path = user_path(name, f"'{name}' is not a run")
    if (path / MANIFEST).is_file():
        return RunDir(path.resolve())
    if path.is_dir() or not path.name:
        raise UserError(f"'{name}' is not the directory of a run")
    if not path.parent.is_dir():
        raise UserError(f"there is no folder '{path.parent}'")
    return load(path.parent).run(path.name)


def _write_out(frame: "pl.DataFrame", view: argparse.Namespace) -> None:
    """Write the requested file; into a device or a pipe, rather than replacing it."""
    from rnnjax.store.atomic import writable, write_bytes
    from rnnjax.store.frames import csv_bytes, parquet_bytes
    from rnnjax.store.index import INDEX
    from rnnjax.store.rundir import FILES, MANIFEST
    from rnnjax.store.sweep_record import SWEEP

    name = view.csv or view.parquet or ""
    file = user_path(name, f"cannot write '{name}'")
    if file.name in (INDEX, SWEEP, MANIFEST, *FILES) and file.is_file():
        raise UserError(
            f"'{file}' is a file that rnnjax itself reads; name another file"
        )
    content = csv_bytes(frame) if view.csv else parquet_bytes(frame)
    with writable(file):
        if file.exists() and not (file.is_file() or file.is_dir()):
            file.write_bytes(content)
        else:
            write_bytes(file, content)
    console().print(f"{len(frame)} rows written: {file}", soft_wrap=True)


def _shown(results: "Results") -> list[str]:
    """The columns to show in a terminal: what differs between the runs, and results."""
    columns = results.runs.columns
    # the variant already implies the fields of the cell
    axes = [name for name in results.varying() if not name.startswith("cell.")]
    wanted = ("run_id", "status", "cell.name", *axes, *_ends(results), "run_seconds")
    return [name for name in dict.fromkeys(wanted) if name in columns]


def _ends(results: "Results") -> list[str]:
    """Results to show, first the metric of each task on the test examples."""
    known = set(results.runs["metric"] if "metric" in results.runs else ())
    hidden = {"baseline", *(f"validation_{name}" for name in known)}
    kept = [name for name in results.result_columns if name not in hidden]
    return sorted(kept, key=lambda name: name.removeprefix("test_") not in known)


def _groups(results: "Results", by: Sequence[str]) -> "pl.DataFrame":
    import polars as pl

    ends = [c for c in _ends(results) if results.runs[c].dtype != pl.String]
    values = [c for c in [*ends, "run_seconds"] if c in results.runs.columns]
    known = [c for c in values if results.runs[c].dtype != pl.Null]
    return results.aggregate(by, known)


def _merged(frame: "pl.DataFrame") -> "pl.DataFrame":
    """The table with mean and interval of each value joined in one column of text."""
    import polars as pl

    values = [c for c in frame.columns if f"{c}.low" in frame.columns]
    texts = []
    for name in values:
        rows = frame.select(name, f"{name}.low", f"{name}.high").iter_rows()
        texts.append(pl.Series(name, [_interval(*row) for row in rows]))
    sides = [f"{name}{end}" for name in values for end in (".low", ".high", ".n")]
    return frame.drop(sides).with_columns(texts)


def _interval(mean: float | None, low: float | None, high: float | None) -> str:
    if low is None or high is None:
        return cell_text(mean)
    return f"{cell_text(mean)} [{low:.3g}, {high:.3g}]"


def _warn_mixed(results: "Results", by: Sequence[str]) -> None:
    """Say which settings differ within groups: their intervals mix more than seeds."""
    keys = [results.column(name) for name in by]
    other = [name for name in results.settings() if name not in keys]
    counts = results.runs.group_by(keys).n_unique() if other else None
    mixed = [c for c in other if counts is not None and (counts[c] > 1).any()]
    if mixed:
        console().print(f"a group mixes runs with different {', '.join(mixed)}")


def print_table(frame: "pl.DataFrame", legend: str) -> None:
    """Print a table to standard output, with a line of text below it."""
    from rich.table import Table

    table = Table(*frame.columns)
    for row in frame.iter_rows():
        table.add_row(*map(cell_text, row))
    console().print(table, legend, sep="\n")


def cell_text(value: object) -> str:
    """A value as shown in a table: floats with four digits, None as empty text."""
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
