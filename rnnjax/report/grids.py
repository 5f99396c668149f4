"""The tables of a report as rows of text, ready for a page."""

import dataclasses
import math
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import polars as pl

from rnnjax.report.aggregate import median
from rnnjax.report.conditions import places
from rnnjax.report.naming import horizon_text, number, score, span, whole
from rnnjax.report.runs import WORDS, Runs
from rnnjax.report.tables import decay_at, length_table, outcomes, run_table


@dataclasses.dataclass(frozen=True)
class Cell:
    """A cell: the text, and the value that it is sorted by."""

    text: str
    key: float | str
    numeric: bool = False


@dataclasses.dataclass(frozen=True)
class Grid:
    """A table of text.

    Attributes:
        name: for the page.
        head: column names; columns in which no row says anything are left out.
        rows: cells.
    """

    name: str
    head: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]


Reader = Callable[[dict[str, Any]], Cell]


def grid(name: str, frame: pl.DataFrame, columns: dict[str, Reader]) -> Grid:
    """Rows of text from a frame; a column is a heading and how a row is read."""
    rows = [tuple(read(row) for read in columns.values()) for row in frame.to_dicts()]
    kept = [
        i
        for i in range(len(columns))
        if any(row[i].text not in ("", "–") for row in rows)
    ]
    head = list(columns)
    return Grid(
        name,
        tuple(head[i] for i in kept),
        tuple(tuple(row[i] for i in kept) for row in rows),
    )


def plain(name: str, head: Sequence[str], rows: Iterable[Iterable[str]]) -> Grid:
    """A grid of nothing but text."""
    cells = tuple(tuple(Cell(text, text) for text in row) for row in rows)
    return Grid(name, tuple(head), cells)


def text(key: str) -> Reader:
    """A column of text."""

    def read(row: dict[str, Any]) -> Cell:
        value = "" if row[key] is None else str(row[key])
        return Cell(value, value)

    return read


def figure(key: str, write: Callable[[float | None], str]) -> Reader:
    """A column of numbers."""

    def read(row: dict[str, Any]) -> Cell:
        value = row[key]
        if value is None or math.isnan(value):
            return Cell(write(None), "", numeric=True)
        return Cell(write(value), value, numeric=True)

    return read


def digits(n: int) -> Callable[[float | None], str]:
    """Numbers with n digits after the point."""
    return lambda value: number(value, n)


def horizon(row: dict[str, Any]) -> Cell:
    """The memory horizon; "> T" if the gradient lasts through all that was measured.

    Of several seeds the median, and how many last: there is no mean of such numbers.
    Where the gradient returns, the lag from which on it stays below, too.
    """
    value, stays = row["horizon"], row["stays_below"]
    if value is None or math.isnan(value):
        return Cell("–", "", numeric=True)
    last = row["lags"] - 1
    shown = horizon_text(value, stays, last)
    if 0 < row["beyond"] < row["horizons"]:
        shown += f" ({row['beyond']} of {row['horizons']} > {last})"
    return Cell(shown, 1e12 if math.isinf(value) else value, numeric=True)


def runs_grid(runs: Runs, decays: pl.DataFrame) -> Grid:
    """One row per run."""

    def solved(row: dict[str, Any]) -> Cell:
        if row["solved"] is None:
            return Cell("", "")
        at = "" if row["updates"] is None else f" after {row['updates']}"
        return Cell(f"yes{at}" if row["solved"] else "no", float(row["solved"]))

    def status(row: dict[str, Any]) -> Cell:
        at = row["diverged_at"]
        where = "" if at is None else f" at update {at}"
        return Cell(f"{row['status']}{where}", row["status"])

    scores = {
        WORDS[name]: figure(f"test_{name}", partial(score, is_share=name == "accuracy"))
        for name in runs.metrics
    }
    return grid(
        "runs",
        run_table(runs.frame, decays),
        {
            "status": status,
            "variant": text("variant"),
            runs.axis_name: figure("distance", whole),
            "setting": text("setting"),
            "seed": figure("seed", whole),
            **scores,
            "balanced accuracy": figure("balanced", score),
            "solved": solved,
            "decay at start": figure("slope", digits(4)),
            "log₁₀‖λ₁‖/‖λ_s‖ at start": figure("first_ratio", digits(1)),
            "horizon at start": horizon,
            "updates": figure("steps", whole),
            "seconds": figure("run_seconds", digits(1)),
            "run_id": text("run_id"),
        },
    )


def decay_grid(runs: Runs, decays: pl.DataFrame) -> Grid:
    """The decay of every variant at initialisation."""

    def slopes(row: dict[str, Any]) -> Cell:
        if row["slope"] is None:
            return Cell("–", "", numeric=True)
        text = number(row["slope"], 4)
        if row["seeds"] > 1:
            low, high = number(row["slope_low"], 4), number(row["slope_high"], 4)
            text += f" ({low} to {high})"
        return Cell(text, row["slope"], numeric=True)

    def held(row: dict[str, Any]) -> Cell:
        if not row["bounded"]:
            return Cell("", "")
        return Cell(f"{row['held']} of {row['bounded']}", row["held"])

    return grid(
        "decay",
        decay_at(decays),
        {
            runs.axis_name: figure("distance", whole),
            "setting": text("setting"),
            "variant": text("variant"),
            "seeds": figure("seeds", whole),
            "slope per step": slopes,
            "law": text("law"),
            "horizon": horizon,
            "log₁₀‖λ₁‖": figure("first_word", digits(1)),
            "log₁₀‖λ₁‖/‖λ_s‖": figure("first_ratio", digits(1)),
            "in units of the state": figure("first_scaled", digits(1)),
            "σ_max(U)": figure("sigma_max", digits(2)),
            "log₁₀(σ_max/4)": figure("bound", digits(4)),
            "slope ≤ bound": held,
            "seeds with zeros": figure("zeros", lambda n: whole(n) if n else ""),
            "seeds that explode": figure("exploded", lambda n: whole(n) if n else ""),
            "fitted from lag": figure("transient", whole),
        },
    )


def outcome_grid(runs: Runs) -> Grid:
    """How the seeds of each variant did: variants down, places across."""
    table = outcomes(runs.frame, runs.metric)
    across = places(table)
    rows = []
    for name in runs.variants:
        cells = [Cell(name, name)]
        for place in across:
            found = place.of(table).filter(variant=name).to_dicts()
            cells.append(_outcome(found[0], runs) if found else Cell("", ""))
        rows.append(tuple(cells))
    levels = [median(place.of(table)["baseline"]) for place in across]
    if not all(map(math.isnan, levels)):
        texts = [Cell(score(level, runs.is_share), level) for level in levels]
        rows.append((Cell("without memory", "without memory"), *texts))
    head = [place.title(runs.axis_name) or runs.metric for place in across]
    return Grid("outcomes", ("variant", *head), tuple(rows))


def _outcome(row: dict[str, Any], runs: Runs) -> Cell:
    facts = [f"{row['solved']} of {row['seeds']}"]
    if row["updates"] is not None and row["solved"]:
        facts[0] += f" in {whole(row['updates'])}"
    facts += [f"{row[key]} {key}" for key in ("diverged", "unfinished") if row[key]]
    if row["median"] is None:
        return Cell(", ".join(facts), "")
    text = score(row["median"], runs.is_share)
    if row["seeds"] > 1:
        text += f" ({span(row['low'], row['high'], runs.is_share)})"
    return Cell(f"{text}, {', '.join(facts)}", row["median"])


def length_grid(runs: Runs) -> Grid | None:
    """The metric by length of the sentence beside the references, if there are any."""
    table = length_table(runs.frame)
    if table.is_empty():
        return None
    metric = lambda value: score(value, runs.is_share)
    extra: dict[str, Reader] = {}
    for name in table.columns:
        family, _, rest = name.partition(".")
        own = family.removeprefix("test_")
        if own in runs.metrics:
            head = rest if len(runs.metrics) == 1 else f"{rest} ({WORDS[own]})"
            extra[head] = _with_count(name, f"test_count.{rest}", metric)
        elif family == "reference":
            extra[rest.replace("_", " ")] = figure(name, metric)
    return grid(
        "lengths",
        table,
        {
            runs.axis_name: figure("distance", whole),
            "setting": text("setting"),
            "variant": text("variant"),
            "seeds": figure("seeds", whole),
            runs.metric: figure("metric", metric),
            **extra,
            "without memory": figure("baseline", metric),
        },
    )


def _with_count(key: str, count: str, write: Callable[[float | None], str]) -> Reader:
    def read(row: dict[str, Any]) -> Cell:
        n = row.get(count)
        known = row[key] is not None
        size = "" if n is None or not known else f" (n = {whole(n)})"
        return Cell(write(row[key]) + size, row[key] if known else "", numeric=True)

    return read
