"""Turn the rows of an index into a table with one type per column."""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import polars as pl

from rnnjax.store.index import Row


FIRST = ("run_id", "name", "status", "path")


@dataclass(frozen=True)
class Table:
    """Runs as a data frame.

    Attributes:
        frame: one row per run. Columns: `FIRST`; the other facts (created, steps,
            run_seconds, …); the configuration with dotted names; the results.
        config: names of the columns that show the configuration. A key that is also a
            fact (``steps``, ``name``) is called ``config.<key>``.
        results: names of the columns that show final numbers; if a name is already
            taken, the column is called ``result.<name>``.
    """

    frame: pl.DataFrame
    config: tuple[str, ...]
    results: tuple[str, ...]


def table_of(rows: Sequence[Row], pool: Path) -> Table:
    """The table of some runs of a pool, with the columns that these runs have."""
    facts = [row.facts for row in rows]
    config = [row.config for row in rows]
    results = [row.results for row in rows]
    fact_keys = dict.fromkeys(chain.from_iterable(facts))
    taken = {*FIRST, *fact_keys}
    config_keys = _columns(config, taken, "config.")
    result_keys = _columns(results, taken | {*config_keys}, "result.")
    data: dict[str, list[Any]] = {
        "run_id": [row.run_id for row in rows],
        "name": [entry["name"] for entry in facts],
        "status": [entry["status"] for entry in facts],
        "path": [os.path.join(pool, row.folder) for row in rows],
    }
    data |= {key: [entry.get(key) for entry in facts] for key in fact_keys}
    for entries, keys in ((config, config_keys), (results, result_keys)):
        data |= {n: [entry.get(key) for entry in entries] for n, key in keys.items()}
    frame = pl.DataFrame([series_of(name, values) for name, values in data.items()])
    return Table(frame, tuple(config_keys), tuple(result_keys))


def series_of(name: str, values: list[Any]) -> pl.Series:
    """A column of the narrowest type that represents all values exactly.

    Boolean, integer or float; otherwise text, with lists and other values as JSON.

    >>> series_of("size", [1, None, 2.5]).dtype
    Float64
    >>> series_of("size", [1, "auto"]).to_list()
    ['1', 'auto']
    """
    kinds = set(map(type, values)) - {type(None)}
    if kinds <= {bool}:
        return pl.Series(name, values, pl.Boolean if kinds else pl.Null)
    largest = max((abs(v) for v in values if type(v) is int), default=0)
    if kinds == {int} and largest < 2**63:
        return pl.Series(name, values, pl.Int64)
    if kinds <= {int, float} and float in kinds and largest <= 2**53:
        return pl.Series(name, [None if v is None else float(v) for v in values])
    texts = [v if v is None or isinstance(v, str) else json.dumps(v) for v in values]
    return pl.Series(name, texts, pl.String)


def _columns(
    entries: Iterable[Mapping[str, Any]], taken: set[str], prefix: str
) -> dict[str, str]:
    """Column names, mapped to the keys that the columns show."""
    keys = dict.fromkeys(chain.from_iterable(entries))
    return {f"{prefix}{key}" if key in taken else key: key for key in keys}
