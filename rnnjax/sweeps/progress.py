"""What a launch tells while it works."""

import time
import warnings
from collections import Counter
from collections.abc import Sequence
from types import TracebackType
from typing import NamedTuple

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import (
    Progress as Bar,
)

from rnnjax.errors import shown


class PackSize(NamedTuple):
    """A pack to come: updates of each run, how many runs, the update they resume from.

    The last is 0 for runs that begin anew.
    """

    steps: int
    runs: int
    start: int = 0


class Progress:
    """Silent; the base of what is shown."""

    def begin(self, packs: Sequence[PackSize], there: int) -> None:
        """The packs to come, and how many runs are there already."""

    def advance(self, updates: int, runs_ended: int) -> None:
        """So many more updates were made, or spared by a run that ended early."""

    def say(self, message: str) -> None:
        """Something that was done beside the runs."""

    def warn(self, message: str) -> None:
        """Something the user should know."""

    def __enter__(self) -> "Progress":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        return None


class Warnings(Progress):
    """Shows nothing, and hands what the user should know to Python's warnings."""

    def warn(self, message: str) -> None:
        warnings.warn(message, stacklevel=2)


class LiveProgress(Progress):
    """A live bar on a terminal; on anything else a line every `every` seconds."""

    def __init__(
        self, console: Console, things: str = "runs", every: float = 10.0
    ) -> None:
        self.console, self.things, self.every = console, things, every
        self.total = self.done = self.runs = self.ended = 0
        self.spoken = self.began = time.monotonic()
        self.bar = Bar(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn(things),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )

    def begin(self, packs: Sequence[PackSize], there: int) -> None:
        self.done = self.ended = 0
        for earlier in self.bar.task_ids:
            self.bar.remove_task(earlier)
        self.total = sum(max(pack.steps, 1) * pack.runs for pack in packs)
        self.runs = sum(pack.runs for pack in packs)
        starts: Counter[int] = Counter()
        for pack in packs:
            starts[pack.start] += pack.runs
        parts = [f"{self.runs} {self.things} in {len(packs)} packs"]
        parts += [
            f"{runs} resume{'s' * (runs == 1)} from {start} updates"
            for start, runs in sorted(starts.items())
            if start
        ]
        parts += [f"{there} were there"] if there else []
        self.console.print(", ".join(parts))
        self.task = self.bar.add_task("training", total=self.runs)

    def advance(self, updates: int, runs_ended: int) -> None:
        self.done += updates
        self.ended += runs_ended
        share = self.done / max(self.total, 1)
        self.bar.update(self.task, completed=round(share * self.runs, 1))
        now = time.monotonic()
        if not self.console.is_terminal and now - self.spoken >= self.every:
            self.spoken = now
            seconds = now - self.began
            self.console.print(
                f"{share:6.1%} of {self.runs} {self.things}, {seconds:.0f} s"
            )

    def say(self, message: str) -> None:
        self.console.print(
            shown(message), markup=False, highlight=False, soft_wrap=True
        )

    def warn(self, message: str) -> None:
        # An error may show shapes in brackets, which are markup to rich.
        self.console.print(
            shown(message), style="yellow", markup=False, highlight=False
        )

    def __enter__(self) -> "Progress":
        self.bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None and self.runs:
            self.bar.update(self.task, completed=self.runs)
        self.bar.stop()
