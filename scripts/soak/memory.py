"""`rnnjax.train` again and again in one process: what it holds stays the same.

That is memory, its mappings, descriptors and threads.

After a warm-up three configurations take turns, each time with another seed, so that
every call trains. What the process holds is looked at after each round of three.
"""

import contextlib
import dataclasses
import gc
import os
import statistics
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from scripts.soak.children import Child
from scripts.soak.part import Limit, Outcome, Tally
from scripts.soak.samples import FULL, LIGHT, OFF, SIZES


CALLS = 120

WARM_UP = 75
"""Calls before the first look, 25 of each configuration: JAX's caches are full then."""

GROWTH = 0.05
"""Of memory that is allowed between the first looks and the last."""

CONFIGURATIONS = (
    (*OFF, "cell=elman"),
    (*LIGHT, "cell=gru", "task=adding", "task.length=6"),
    (*FULL, "cell=lstm"),
)


@dataclasses.dataclass(frozen=True)
class Held:
    """What a process holds: bytes, mappings, open files, and threads by name."""

    memory: int
    mappings: int
    descriptors: int
    threads: dict[str, int]


def soak(limit: Limit) -> Outcome:
    """Call `rnnjax.train`, `CALLS` times after the warm-up."""
    calls = max(9, round(CALLS * limit.share))
    warm_up = max(6, round(WARM_UP * limit.share))
    until = None if limit.seconds is None else limit.seconds
    child = Child(limit.home, calling, limit.home / "runs", warm_up, calls, until)
    looks: list[Held] = []
    while (held := child.told()) is not None:
        looks.append(held)
    del looks[: warm_up // 3]
    ended = child.end()
    tally = Tally()
    if ended.status or len(looks) < 2:
        tally.fault("ended", f"status {ended.status}: {ended.text}")
        text = f"memory: it ended after {3 * len(looks)} calls"
        return Outcome(text, tuple(tally.wrong))
    size = max(1, len(looks) // 8)
    first, last = looks[:size], looks[-size:]
    size_of, growth = {}, {}
    for name in ("memory", "mappings"):
        before, after = (
            statistics.median(getattr(one, name) for one in part)
            for part in (first, last)
        )
        size_of[name], growth[name] = before, after / before - 1
        if growth[name] > GROWTH and limit.share == 1:
            tally.fault(name, f"{growth[name]:+.1%}, from {before:.0f}")
    files, files_left = looks[0].descriptors, looks[-1].descriptors
    threads, threads_left = looks[0].threads, looks[-1].threads
    if files_left > files:
        tally.fault("descriptors", f"{files} became {files_left}")
    few, many = (sum(one.values()) for one in (threads, threads_left))
    if many > few + (limit.share < 1):  # a short soak sees pools that still grow
        new = {k: n - threads.get(k, 0) for k, n in threads_left.items()}
        tally.fault("threads", f"{few} became {many}: {new}")
    summary = (
        f"memory: {3 * len(looks)} calls of rnnjax.train after {warm_up}, "
        f"{size_of['memory'] / 2**20:.0f} MiB and {growth['memory']:+.1%}, "
        f"{size_of['mappings']:.0f} mappings and {growth['mappings']:+.1%}, "
        f"descriptors {files} to {files_left}, threads {few} to {many}"
    )
    return Outcome(summary, tuple(tally.wrong))


def calling(
    out: Path,
    warm_up: int,
    calls: int,
    seconds: float | None,
    *,
    tell: Callable[[Any], None],
) -> int:
    """Train, and tell after each third call what the process holds.

    It tells that during the warm-up, too, as somebody waits for a sign of life.
    """
    import rnnjax

    began, seed = time.monotonic(), 0
    for call in range(warm_up + calls):
        words = CONFIGURATIONS[call % len(CONFIGURATIONS)]
        seed += 1
        sizes = [word for word in SIZES if not word.startswith("task.")]
        run = rnnjax.train(*sizes, *words, f"seed={seed}", out=out)
        if run.manifest.status != "done":
            return 1
        if call % 3 == 2:
            gc.collect()
            tell(Held(resident(), mappings(), descriptors(), threads()))
        if seconds is not None and time.monotonic() - began > seconds:
            break
    return 0


def resident() -> int:
    """Bytes of memory of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def mappings() -> int:
    """Mappings of memory; Linux allows a process 65 530, a program takes some 15."""
    return Path("/proc/self/maps").read_bytes().count(b"\n")


def descriptors() -> int:
    """Open files, the one that looks left out."""
    return len(os.listdir("/proc/self/fd")) - 1


def threads() -> dict[str, int]:
    """Threads of this process by name, those of libraries too.

    The fewest of several looks within .3 s: some that were told to end still may.
    """
    looks = []
    for _ in range(6):
        found: Counter[str] = Counter()
        for task in Path("/proc/self/task").iterdir():
            with contextlib.suppress(FileNotFoundError):  # it has just ended
                found[(task / "comm").read_text().strip()] += 1
        looks.append(dict(found))
        time.sleep(0.05)
    return min(looks, key=lambda look: sum(look.values()))
