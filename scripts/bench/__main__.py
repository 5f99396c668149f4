"""Run the benchmarks: `python -m scripts.bench [probes …] [--seconds S] [--only TEXT]`.

Each benchmark prints one table, a row at a time, and adds it to `bench.json` in the
folder `--out` with a description of the machine. `--only lstm-1000` takes the rows of
that name. Nothing else should run meanwhile.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from rnnjax.devices import use_every_core
from scripts.bench import others, probes, recurrence, sweeps
from scripts.bench.machine import machine


BENCHMARKS = {
    "recurrence": recurrence.rows,
    "others": others.rows,
    "probes": probes.rows,
    "sweeps": sweeps.rows,
}


def main() -> None:
    """Parse the command line, run, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help=", ".join(BENCHMARKS))
    parser.add_argument("--seconds", type=float, default=6.0, help="a row, about")
    parser.add_argument("--only", default="", help="rows whose name contains this")
    parser.add_argument("--out", type=Path, default=Path("build/bench"))
    given = parser.parse_args()
    unknown = set(given.names) - set(BENCHMARKS)
    if unknown:
        parser.error(f"no benchmark {', '.join(unknown)}")
    use_every_core()
    about = machine()
    print(" | ".join(f"{k}: {v}" for k, v in about.items()))
    found: dict[str, Any] = {"machine": about}
    for name in given.names or BENCHMARKS:
        print(f"\n{name}")
        found[name] = []
        for row in BENCHMARKS[name](given.seconds, given.only):
            if not found[name]:
                print("  ".join(row))
            print(
                "  ".join(f"{_text(v):>{len(k)}}" for k, v in row.items()), flush=True
            )
            found[name].append(row)
    given.out.mkdir(parents=True, exist_ok=True)
    file = given.out / "bench.json"
    known = json.loads(file.read_text()) if file.exists() else {}
    file.write_text(json.dumps(known | found, indent=1))
    print(f"\nwritten: {file}")


def _text(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:.3g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main()
