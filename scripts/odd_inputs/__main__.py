"""Throw odd models, files and command lines at rnnjax, and count what comes back.

    python -m scripts.odd_inputs [--only WORD] [--seconds S]

Each case does one thing through the public face (`rnnjax.probe`, `rnnjax.train`,
`rnnjax.open_run`, modules of `rnnjax.cells`, the command ``rnnjax``) and counts as

- *right*: the answer agrees with an independent source (autodiff of the untouched
  model, NumPy, the content of the file),
- *refused*: one sentence, a `UserError` or status 2, where a refusal is good too,
- *wrong*: another value, a traceback, an exception of another library, an answer where
  only a refusal is right, a refusal of something plain, or nothing after S seconds.

The wrong ones are the silent share of odd inputs, and any of them makes the exit
status 1. `--only` takes the cases whose kind or name contains a word.
"""

import argparse
import importlib
import sys
import tempfile
from collections import Counter
from pathlib import Path

from rnnjax.devices import use_every_core
from scripts.odd_inputs.case import CASES, judge


KINDS = (
    "models unseen exploding padding recurrences numbers files text splits pools "
    "cells commands configuration tracker machine"
).split()


def main() -> int:
    """Do the cases, print a line each and the counts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", metavar="WORD")
    parser.add_argument("--seconds", type=int, default=120, help="limit of a case")
    given = parser.parse_args()
    use_every_core()
    for kind in KINDS:
        importlib.import_module(f"scripts.odd_inputs.{kind}")
    chosen = [one for one in CASES if given.only in f"{one.kind} {one.name}"]
    counts: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        for number, one in enumerate(chosen):
            outcome = judge(one, Path(folder) / str(number), given.seconds)
            counts[outcome.verdict] += 1
            words = outcome.words[:120]
            print(
                f"{outcome.verdict:8} {one.kind:14} {one.name:52} {words}", flush=True
            )
    shown = ", ".join(
        f"{counts[name]} {name}" for name in ("right", "refused", "wrong")
    )
    print(f"\n{len(chosen)} cases: {shown}")
    return 1 if counts["wrong"] else 0


if __name__ == "__main__":
    sys.exit(main())
