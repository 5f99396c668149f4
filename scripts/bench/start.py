"""How long it takes until something happens: `--help`, and a first run.

*cold* compiles everything, *warm* finds the programs of the run before in the cache.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import Any


TIMES = 5
RUN = ("train", "cell=lstm", "task=adding", "steps=50", "probe=full")


def rows(seconds: float, only: str = "") -> Iterator[dict[str, Any]]:
    """One row for each of help, cold, warm."""
    del seconds
    with tempfile.TemporaryDirectory() as folder:
        apart = {"XDG_CACHE_HOME": f"{folder}/cache"}
        if only in "help":
            taken = [_seconds(["--help"], {}) for _ in range(TIMES)]
            yield _row("rnnjax --help", statistics.median(taken))
        for seed, name in enumerate(("cold", "warm")):
            if only in "cold warm":
                words = [*RUN, f"seed={seed}", f"out={folder}/runs"]
                yield _row(f"a run of 50 updates, {name}", _seconds(words, apart))


def _row(what: str, seconds: float) -> dict[str, Any]:
    return {f"{'what':27}": f"{what:27}", "seconds": seconds}


def _seconds(words: list[str], environment: dict[str, str]) -> float:
    began = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "rnnjax", *words],
        check=True,
        env=os.environ | environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    return time.perf_counter() - began
