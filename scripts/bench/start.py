"""How long a command takes, and where its seconds go (see `scripts.bench.where`).

*nothing kept* compiles every program, *kept* finds those of the command before. All
rows are medians; the parts are those of the median command.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from scripts.bench.where import ORDER


ROOT = Path(__file__).parents[2]
TIMES = 5

COMMANDS = {
    "train": ("train", "cell=lstm", "steps=50"),
    "probe": ("probe", "cell=lstm", "task.distance=50"),
}
LONG = {"demo": ("demo",)}
"""Timed only with ``--only demo``, once."""


def rows(seconds: float, only: str = "") -> Iterator[dict[str, Any]]:
    """Two rows for each command."""
    del seconds
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        if only in "help":
            taken = sorted(_plain("--help") for _ in range(TIMES))
            yield _row("rnnjax --help", taken[TIMES // 2], {})
        for name, words in (COMMANDS | LONG).items():
            if only not in name or (name in LONG and not only):
                continue
            times = 1 if name in LONG else TIMES
            for what in ("nothing kept", "kept"):
                looks = [
                    _watched(home, words, forget=what != "kept") for _ in range(times)
                ]
                parts = sorted(looks, key=lambda look: look["whole"])[times // 2]
                yield _row(f"{name}, {what}", parts.pop("whole"), parts)


def _row(what: str, seconds: float, parts: dict[str, float]) -> dict[str, Any]:
    cells = {part: parts.get(part) for part in ORDER}
    return {f"{'what':20}": f"{what:20}", "seconds": seconds, **cells}


def _plain(*words: str) -> float:
    began = time.perf_counter()
    quiet: Any = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    subprocess.run([sys.executable, "-m", "rnnjax", *words], check=True, **quiet)
    return time.perf_counter() - began


def _watched(home: Path, words: tuple[str, ...], forget: bool) -> dict[str, float]:
    """Seconds by part, and as a whole, of a command that is run for the first time."""
    shutil.rmtree(home / "runs", ignore_errors=True)
    if forget:
        shutil.rmtree(home / "cache", ignore_errors=True)
    seen = home / "seen.json"
    own = {"XDG_CACHE_HOME": str(home / "cache"), "PYTHONPATH": str(ROOT)}
    began = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "scripts.bench.where", str(seen), *words],
        cwd=home,
        env=os.environ | own,
        check=True,
        capture_output=True,
    )
    whole = time.perf_counter() - began
    parts = json.loads(seen.read_text())
    return {**parts, "whole": whole}
