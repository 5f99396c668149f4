"""What every part of the soak takes and gives."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar


T = TypeVar("T")


@dataclass(frozen=True)
class Limit:
    """How much a part does.

    Attributes:
        home: a folder for pools and compiled programs; what went wrong stays there.
        seconds: after which nothing new is begun; None: all of it.
        kills: how many processes `kills` is to kill.
        share: of the points of attack, the part that is tried, up to 1.
        workers: processes at a time.
        seed: of every choice.
    """

    home: Path
    seconds: float | None = None
    kills: int = 200
    share: float = 1.0
    workers: int = 2
    seed: int = 0
    began: float = field(default_factory=time.monotonic)

    @property
    def is_over(self) -> bool:
        """Whether nothing new is to be begun."""
        if self.seconds is None:
            return False
        return time.monotonic() - self.began > self.seconds

    def some(self, points: Iterable[T]) -> list[T]:
        """Evenly spread ones of the points of attack; at least one if there are any."""
        known = list(points)
        wanted = max(1, round(self.share * len(known))) if known else 0
        return [known[i * len(known) // wanted] for i in range(wanted)]

    def side_by_side(self, do: Callable[[T], object], points: Iterable[T]) -> None:
        """Call a function for each point, several at a time, until time is over."""

        def unless_over(point: T) -> None:
            if not self.is_over:
                do(point)

        with ThreadPoolExecutor(self.workers) as workers:
            for done in [workers.submit(unless_over, point) for point in points]:
                done.result()


class Tally:
    """Counts of a part, and what went wrong; several threads may add to it."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.wrong: list[str] = []
        self._lock = threading.Lock()

    def add(self, name: str, number: int = 1) -> None:
        """Count something."""
        with self._lock:
            self.counts[name] += number

    def fault(self, name: str, sentence: str) -> None:
        """Count what should not be, and print a sentence that says where."""
        with self._lock:
            self.counts[name] += 1
            self.wrong.append(f"{name}: {sentence}")
            print(f"  {self.wrong[-1]}", flush=True)

    def listed(self, names: Sequence[str]) -> str:
        """Counts by name, those that are 0 as well."""
        return ", ".join(f"{self.counts[name]} {name}" for name in names)

    def require(self, good: object, name: str, sentence: str) -> bool:
        """Enter a fault unless something holds."""
        if not good:
            self.fault(name, sentence)
        return bool(good)


@dataclass(frozen=True)
class Outcome:
    """What a part found.

    Attributes:
        summary: the counts, in one line.
        wrong: a sentence for each promise that was not kept.
    """

    summary: str
    wrong: tuple[str, ...] = ()
