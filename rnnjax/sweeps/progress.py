"""Progress messages of a launch."""

import time
import warnings
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

from rich import progress as bars
from rich.console import Console

from rnnjax.counting import count
from rnnjax.errors import shown


class PackSize(NamedTuple):
    """The size of a pack: updates per run, number of runs, updates already made."""

    steps: int
    runs: int
    start: int = 0


class Progress:
    """The base class; shows nothing."""

    def begin(self, packs: Sequence[PackSize], there: int) -> None:
        """The launch begins; `there` runs are already finished."""

    def advance(self, updates: int, runs_ended: int) -> None:
        """`updates` more updates were made, or saved because a run ended early."""

    def say(self, message: str) -> None:
        """Report something other than the advance of runs."""

    def warn(self, message: str) -> None:
        """Report a problem to the user."""

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *error: object) -> None:
        return None


class Warnings(Progress):
    """Shows no progress, and turns problems into Python warnings."""

    def warn(self, message: str) -> None:
        warnings.warn(message, stacklevel=2)


class LiveProgress(Progress):
    """A live bar on a terminal; elsewhere, one line every `every` seconds."""

    def __init__(
        self, console: Console, things: str = "runs", every: float = 10.0
    ) -> None:
        self.console, self.things, self.every = console, things, every
        self.total = self.done = self.runs = 0
        self.spoken = self.began = time.monotonic()
        self.bar = bars.Progress(
            bars.TextColumn("{task.description}"),
            bars.BarColumn(),
            bars.MofNCompleteColumn(),
            bars.TextColumn(things),
            bars.TimeElapsedColumn(),
            bars.TextColumn("left"),
            bars.TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )

    def begin(self, packs: Sequence[PackSize], there: int) -> None:
        self.done = 0
        for earlier in self.bar.task_ids:
            self.bar.remove_task(earlier)
        self.total = sum(max(pack.steps, 1) * pack.runs for pack in packs)
        self.runs = sum(pack.runs for pack in packs)
        starts: Counter[int] = Counter()
        for pack in packs:
            starts[pack.start] += pack.runs
        parts = [f"{self._count(self.runs)} in {count(len(packs), 'pack')}"]
        parts += [
            f"{runs} resume{'s' * (runs == 1)} from update {start}"
            for start, runs in sorted(starts.items())
            if start
        ]
        parts += [f"{there} already finished"] if there else []
        self.console.print(", ".join(parts))
        self.task = self.bar.add_task("training", total=self.runs)

    def _count(self, number: int) -> str:
        return count(number, self.things.removesuffix("s"), self.things)

    def advance(self, updates: int, runs_ended: int) -> None:
        self.done += updates
        share = self.done / max(self.total, 1)
        self.bar.update(self.task, completed=round(share * self.runs, 1))
        now = time.monotonic()
        if not self.console.is_terminal and now - self.spoken >= self.every:
            self.spoken = now
            seconds = now - self.began
            done = f"{share:6.1%} of {self._count(self.runs)}"
            self.console.print(f"{done}, {seconds:.0f} s")

    def say(self, message: str) -> None:
        self._print(message, soft_wrap=True)

    def warn(self, message: str) -> None:
        self._print(message, style="yellow")

    def _print(self, message: str, **how: Any) -> None:
        # An error may contain shapes in brackets, which rich would take for markup.
        self.console.print(shown(message), markup=False, highlight=False, **how)

    def __enter__(self) -> "Progress":
        self.bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        if error[0] is None and self.runs:
            self.bar.update(self.task, completed=self.runs)
        self.bar.stop()
