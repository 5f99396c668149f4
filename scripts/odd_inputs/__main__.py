"""Throw odd models, files and command lines at rnnjax, and count what comes back.

    python -m scripts.odd_inputs [--only WORD] [--seconds S]

Each case does one thing through the public face (`rnnjax.probe`, `rnnjax.train`,
`rnnjax.open_run`, cells, tasks and layers, the command ``rnnjax``) and counts as

- *right*: the answer agrees with an independent source (autodiff of the untouched
  model, NumPy, the content of the file),
- *refused*: one sentence, a `UserError` or status 2, where a refusal is good too,
- *wrong*: another value, a traceback, an exception of another library, an answer where
  only a refusal is right, a refusal of something plain, or nothing after S seconds.

The wrong ones are the silent share of odd inputs, and any of them makes the exit
status 1. `--only` takes the cases whose kind or name contains a word. Kinds are done
in processes of their own, two at a time.
"""

import argparse
import faulthandler
import importlib
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path


KINDS = (
    "models pools unseen machine tracker exploding cells recurrences numbers padding "
    "files commands splits text readers configuration"
).split()
"""The modules of cases, those that take longest first."""

Line = tuple[str, str, str, str]
"""Verdict, kind, name and words of an outcome."""


def main() -> int:
    """Do the cases, print a line each and the counts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", metavar="WORD")
    parser.add_argument("--seconds", type=int, default=120, help="limit of a case")
    parser.add_argument("--kind", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.kind:
        do_kind(given.kind, given.only, given.seconds)
        return 0
    counts: Counter[str] = Counter()
    look = partial(lines_of, only=given.only, seconds=given.seconds)
    kinds = [given.only] if given.only in KINDS else KINDS
    with ThreadPoolExecutor(2) as workers:
        for lines in workers.map(look, kinds):
            for verdict, kind, name, words in lines:
                counts[verdict] += 1
                print(f"{verdict:8} {kind:14} {name:52} {words[:120]}", flush=True)
    shown = ", ".join(
        f"{counts[name]} {name}" for name in ("right", "refused", "wrong")
    )
    print(f"\n{counts.total()} cases: {shown}")
    return 1 if counts["wrong"] else 0


def lines_of(kind: str, only: str, seconds: int) -> Sequence[Line]:
    """Outcomes of a kind, from a process of its own; one that dies is wrong itself."""
    words = [sys.executable, "-m", "scripts.odd_inputs", "--kind", kind]
    # Programs run for moments only, so that XLA's effort on them is lost.
    fast = {"XLA_FLAGS": "--xla_backend_optimization_level=0"}
    done = subprocess.run(
        [*words, "--only", only, "--seconds", str(seconds)],
        capture_output=True,
        text=True,
        env=fast | os.environ,
    )
    lines: list[Line] = []
    name = "the process"
    for text in done.stdout.splitlines():
        if not text.startswith('["'):
            continue
        verdict, _, name, reason = json.loads(text)
        if verdict != "begun":
            lines.append((verdict, kind, name, reason))
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or [""])[-1]
        reason = f"status {done.returncode}, and what follows it not done: {reason}"
        lines.append(("wrong", kind, name, reason))
    return lines


def do_kind(kind: str, only: str, seconds: int) -> None:
    """Do the cases of a kind; a line of JSON for each, and one when it begins."""
    from rnnjax.devices import use_every_core

    use_every_core()
    importlib.import_module(f"scripts.odd_inputs.{kind}")
    from scripts.odd_inputs.case import CASES, judge

    chosen = [one for one in CASES if one.kind == kind and only in f"{kind} {one.name}"]
    with tempfile.TemporaryDirectory() as folder:
        for number, one in enumerate(chosen):
            print(json.dumps(("begun", kind, one.name, "")), flush=True)
            faulthandler.dump_traceback_later(2 * seconds, exit=True)  # not in Python
            outcome = judge(one, Path(folder) / str(number), seconds)
            faulthandler.cancel_dump_traceback_later()
            line = outcome.verdict, kind, one.name, outcome.words
            print(json.dumps(line), flush=True)


if __name__ == "__main__":
    sys.exit(main())
