"""Generated command lines, data files and pool files, and what comes of each.

    python -m scripts.soak.generated [--inputs N] [--seed S] [--show K]

Each input is drawn from a generator of its own, of the seed and its number, and is
done in a process that does a block of them, with bounded memory; a process that dies or
hangs costs one input. An input is right or refused in one sentence; anything else is a
fault, is printed, and makes the exit status 1. `--show K` does the input K alone and
prints what it is.
"""

import argparse
import faulthandler
import json
import os
import resource
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np

from scripts.soak.generated_case import Input, judged
from scripts.soak.part import Limit, Outcome


INPUTS = 5000

BLOCK = 500
"""Inputs of a process, which takes seconds to begin."""

SECONDS = 90
"""After so long without an answer an input hangs."""

MEMORY = 5 * 2**30
"""Bytes of addresses of a process, of which JAX takes half."""

KINDS = {"command lines": 26, "data files": 14, "pool files": 10}
"""So many of each fifty."""

Line = tuple[int, str, str, list[str], str]
"""Number, verdict and kind of an input, its words, and what was said."""


def run(inputs: int, seed: int) -> str:
    """Do so many inputs; prints the faults and returns a line of counts."""
    counts: Counter[str] = Counter()
    blocks = range(0, inputs, BLOCK)
    with tempfile.TemporaryDirectory() as ground, ThreadPoolExecutor(2) as workers:
        _prepare(Path(ground))
        do = partial(_block, inputs=inputs, seed=seed, ground=Path(ground))
        for lines in workers.map(do, blocks):
            for number, verdict, kind, words, said in lines:
                counts[kind] += 1
                counts[verdict] += 1
                if verdict not in ("right", "refused"):
                    print(f"{number} {verdict}: {words}\n  {said}", flush=True)
    kinds = ", ".join(f"{counts[kind]} {kind}" for kind in KINDS)
    names = {"traceback": "tracebacks", "hang": "hangs"}
    ended = [f"{counts[one]} {one}" for one in ("right", "refused")]
    ended += [f"{counts[one]} {name}" for one, name in names.items()]
    others = inputs - sum(counts[one] for one in ("right", "refused", *names))
    ended += [f"{others} other faults"] * bool(others)
    return f"generated: {inputs} inputs ({kinds}), {', '.join(ended)}"


def soak(limit: Limit) -> Outcome:
    """Do `Limit.share` of `INPUTS`; the part of ``python -m scripts.soak``."""
    line = run(round(INPUTS * limit.share), limit.seed)
    return Outcome(line, () if is_clean(line) else ("see the inputs above",))


def is_clean(line: str) -> bool:
    """Whether the counts of `run` tell of no fault."""
    return "0 tracebacks, 0 hangs" in line and "other" not in line


def _block(low: int, inputs: int, seed: int, ground: Path) -> list[Line]:
    """The outcomes of a block; a process that dies is followed by another."""
    found: list[Line] = []
    high = min(low + BLOCK, inputs)
    while low < high:
        words = ["--low", str(low), "--high", str(high), "--seed", str(seed)]
        lines, complaint = _lines(words, ground)
        ended = [line for line in lines if line[1] != "begun"]
        found += ended
        low += len(ended)
        if low < high:
            verdict = "hang" if "Timeout (" in complaint else "crash"
            begun = [line for line in lines if line[1] == "begun" and line[0] == low]
            kind, words = begun[0][2:4] if begun else ("command lines", [])
            found.append((low, verdict, kind, words, complaint[-2500:]))
            low += 1
    return found


def _lines(words: list[str], ground: Path) -> tuple[list[Line], str]:
    """What a process of inputs says of each, and on standard error."""
    done = _child(words, ground)
    texts = [text for text in done.stdout.splitlines() if text.startswith("[")]
    return [tuple(json.loads(text)) for text in texts], done.stderr


def _child(words: list[str], ground: Path) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "scripts.soak.generated", "--ground", str(ground)]
    return subprocess.run(
        [*line, *words],
        capture_output=True,
        text=True,
        errors="replace",
        env=_environment(ground),
    )


def _prepare(ground: Path) -> None:
    """Make what inputs start from, in a process of its own."""
    made = _child(["--prepare"], ground)
    if made.returncode:
        raise RuntimeError(f"no pool to start from: {made.stderr[-1000:]}")


def _environment(ground: Path) -> dict[str, str]:
    """Variables of a process of inputs: no network, no home, no data of the user."""
    own = {f"{name}_proxy": "http://127.0.0.1:9" for name in ("http", "https")}
    own |= {
        "HOME": str(ground),
        "XDG_CACHE_HOME": str(ground / "cache"),
        "RNNJAX_DATA": str(ground / "data"),
        "WANDB_MODE": "disabled",
        "PYTHONPATH": str(Path(__file__).parents[2]),
        "JAX_PLATFORMS": "cpu",
        # Programs run for moments only, so that XLA's effort on them is lost.
        "XLA_FLAGS": "--xla_backend_optimization_level=0",
    }
    return {**os.environ, **own}


def made(number: int, seed: int, ground: Path) -> Input:
    """Input `number`, whose files are written into the present folder."""
    from scripts.soak import generated_data, generated_pools, generated_words

    rng = np.random.default_rng([seed, number])
    place = number * 7 % sum(KINDS.values())  # the kinds mixed
    makers: dict[str, Callable[..., Input]] = {
        "command lines": generated_words.command,
        "data files": generated_data.command,
        "pool files": generated_pools.command,
    }
    for kind, share in KINDS.items():
        if place < share:
            return makers[kind](rng, ground)
        place -= share
    raise AssertionError("the shares are exhausted")


def _do(low: int, high: int, seed: int, ground: Path) -> None:
    """Do inputs in this process; a line of JSON as each begins, and as it ends."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")

    def say(number: int, verdict: str, given: Input, said: str = "") -> None:
        line = number, verdict, given.kind, list(given.words), said
        print(json.dumps(line), file=out, flush=True)

    for number in range(low, high):
        known: list[Input] = []

        def tell(given: Input, number: int = number, known: list[Input] = known):
            known.append(given)
            say(number, "begun", given)

        faulthandler.dump_traceback_later(SECONDS, exit=True)
        outcome = judged(partial(made, number, seed, ground), tell)
        faulthandler.cancel_dump_traceback_later()
        say(number, outcome.verdict, known[0], outcome.words)


def main() -> int:
    """Do the inputs and print the counts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=INPUTS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--show", type=int, metavar="K")
    parser.add_argument("--prepare", action="store_true", help=argparse.SUPPRESS)
    for name, kind in (("low", int), ("high", int), ("ground", Path)):
        parser.add_argument(f"--{name}", type=kind, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.prepare:
        from scripts.soak import generated_pools

        generated_pools.prepare(given.ground)
        return 0
    if given.low is not None:
        _do(given.low, given.high, given.seed, given.ground)
        return 0
    if given.show is not None:
        with tempfile.TemporaryDirectory() as ground:
            _prepare(Path(ground))
            for line in _block(given.show, given.show + 1, given.seed, Path(ground)):
                print(*line, sep="\n")
        return 0
    line = run(given.inputs, given.seed)
    print(line)
    return 0 if is_clean(line) else 1


if __name__ == "__main__":
    sys.exit(main())
