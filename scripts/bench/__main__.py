"""Run the benchmarks: `python -m scripts.bench [NAME …] [--seconds S] [--only TEXT]`.

Each benchmark prints one table, a row at a time, and adds it to `bench.json` in the
folder `--out` with a description of the machine; `bench.txt` holds the tables of the
last command, and figures lie beside it. `--only lstm-1000` takes the rows of that name.
`--against FILE` prints below each row its ratios to the same row of an earlier
`bench.json`. Nothing else should run meanwhile.
"""

import argparse
import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from rnnjax.devices import use_every_core
from scripts.bench import (
    any_program,
    cells,
    engines,
    job,
    length,
    others,
    probes,
    recurrence,
    start,
    sweeps,
)
from scripts.bench.machine import machine


Rows = Callable[..., Iterator[dict[str, Any]]]
Draw = Callable[[list[dict[str, Any]], Path], Path]

BENCHMARKS: dict[str, Rows] = {
    "recurrence": recurrence.rows,
    "others": partial(others.rows, sizes=recurrence.SIZES[:1]),
    "probes": probes.rows,
    "job": partial(job.rows, sizes=job.HIDDEN[:1]),
    "start": start.rows,
}
LONG: dict[str, Rows] = {
    "any-program": any_program.rows,
    "others-everywhere": others.rows,
    "cells": cells.rows,
    "length": length.rows,
    "memory": length.memory_rows,
    "engines": engines.rows,
    "job-everywhere": job.rows,
    "sweeps": sweeps.rows,
}
"""Run when named only: all others take less than ten minutes together."""

DRAW: dict[str, Draw] = {"cells": cells.draw, "length": length.draw}


def main() -> None:
    """Parse the command line, run, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    every = BENCHMARKS | LONG
    parser.add_argument("names", nargs="*", help=", ".join(every))
    parser.add_argument("--seconds", type=float, default=3.0, help="a row, about")
    parser.add_argument("--only", default="", help="rows whose name contains this")
    parser.add_argument("--out", type=Path, default=Path("build/bench"))
    parser.add_argument("--against", type=Path, help="an earlier bench.json")
    given = parser.parse_args()
    unknown = set(given.names) - set(every)
    if unknown:
        parser.error(f"no benchmark {', '.join(unknown)}")
    use_every_core()
    about = machine()
    given.out.mkdir(parents=True, exist_ok=True)
    earlier = json.loads(given.against.read_text()) if given.against else {}
    report = Report(given.out, about)
    report.line(" | ".join(f"{k}: {v}" for k, v in about.items()))
    for name in given.names or BENCHMARKS:
        report.line(f"\n{name}")
        rows = []
        for row in every[name](given.seconds, given.only):
            if not rows:
                report.line("  ".join(row))
            cells_of = (f"{_text(v):>{len(k)}}" for k, v in row.items())
            report.line("  ".join(cells_of))
            if given.against:
                known = earlier.get(name, {}).get("rows", [])
                report.line("  ".join(_against(row, known)))
            rows.append(row)
        if name in DRAW and len(rows) > 1:
            report.line(f"drawn: {DRAW[name](rows, given.out)}")
        report.add(name, rows)
    print(f"\nwritten: {report.json} and {report.text}")


class Report:
    """The tables as text and as JSON; a benchmark replaces its last result there."""

    def __init__(self, folder: Path, about: dict[str, str]) -> None:
        self.json, self.text = folder / "bench.json", folder / "bench.txt"
        self.about, self.lines = about, []

    def line(self, text: str) -> None:
        """Show a line now, and keep it for the file."""
        print(text, flush=True)
        self.lines.append(text)

    def add(self, name: str, rows: list[dict[str, Any]]) -> None:
        """Write what is there after every benchmark: a stop loses one at most."""
        known = json.loads(self.json.read_text()) if self.json.exists() else {}
        known[name] = {"machine": self.about, "rows": rows}
        self.json.write_text(json.dumps(known, indent=1))
        self.text.write_text("\n".join(self.lines) + "\n")


def _against(row: dict[str, Any], known: list[dict[str, Any]]) -> list[str]:
    """The ratio of each number to that of the earlier row with the same texts."""
    texts = {k: v for k, v in row.items() if isinstance(v, str)}
    same = [one for one in known if texts.items() <= one.items()]
    old = same[0] if same else {}

    def ratio(key: str) -> str:
        new, before = row[key], old.get(key)
        numbers = isinstance(new, int | float) and isinstance(before, int | float)
        return f"×{new / before:.2f}" if numbers and before else ""

    return [f"{ratio(key):>{len(key)}}" for key in row]


def _text(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:.3g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main()
