"""A disk that is full, or fails: nothing sealed is lost, and the next command mends it.

In each scene one command meets a pool. First all its operations on files are counted;
then it runs once for each of them, which fails: opening, writing, renaming, syncing,
linking, making folders. It also runs with files that may not grow beyond a size, which
writers outside of Python meet, too. It may say so in a sentence, not in a traceback;
what was sealed stays; and the same command without the fault completes.
"""

import errno
import os
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from rnnjax.store.rundir import METRICS
from scripts.soak.children import Child, Ended, ask
from scripts.soak.faults import CODES, fail, keep_small, watch
from scripts.soak.kills import Bits, mended
from scripts.soak.part import Limit, Outcome, Tally
from scripts.soak.samples import LIGHT, OFF, Look, command, differences, look, sweep


SIZES = (0, 400, 2000, 5000, 20_000)
"""Bytes: below that of a configuration to that of probes."""


@dataclass(frozen=True)
class Scene:
    """A pool, and a command that meets it.

    Attributes:
        before: the commands that make the pool.
        words: the command.
        damage: done to the pool before, or nothing.
        statuses: of the command where no disk fails.
        draws: whether the command makes a report; a sweep is without its own.
    """

    before: Callable[[Path], list[list[str]]]
    words: Callable[[Path], list[str]]
    damage: Callable[[Path], object] = lambda pool: None
    statuses: tuple[int, ...] = (0,)
    draws: bool = False


def hurt(pool: Path) -> None:
    """Damage a run, and lose a line of the index."""
    run = sorted(pool.glob(f"*/{METRICS}"))[0].parent
    (run / METRICS).write_bytes(b"")
    index = pool / "index.jsonl"
    index.write_bytes(index.read_bytes()[:-9])


FEW = ["eval.every=12", "log_every=6"]
"""Two saves of a pack are enough here; each takes dozens of operations."""

SCENES = {
    "a sweep": Scene(
        lambda pool: [sweep(pool, *OFF, *FEW, seeds=1)],
        lambda pool: sweep(pool, *OFF, *FEW, seeds=2),
    ),
    "other probes": Scene(
        lambda pool: [sweep(pool, *OFF, *FEW, seeds=1)],
        lambda pool: sweep(pool, *LIGHT, *FEW, seeds=1),
    ),
    "a report": Scene(
        lambda pool: [sweep(pool, *LIGHT, *FEW, seeds=1)],
        lambda pool: ["report", str(pool)],
        draws=True,
    ),
    "a W&B copy": Scene(
        lambda pool: [sweep(pool, *OFF, *FEW, seeds=1)],
        lambda pool: sweep(pool, *OFF, *FEW, "tracker=wandb", seeds=1),
    ),
    "a table": Scene(
        lambda pool: [sweep(pool, *OFF, *FEW, seeds=2)],
        lambda pool: ["runs", str(pool), "--csv", f"{pool}/out.csv"],
    ),
    "a repair": Scene(
        lambda pool: [sweep(pool, *OFF, *FEW, seeds=2)],
        lambda pool: ["fsck", str(pool), "--repair"],
        hurt,
    ),
}


def soak(limit: Limit, scenes: Mapping[str, Scene] = SCENES) -> Outcome:
    """The scenes; every operation fails once, with one of the two errors in turn."""
    tally = Tally()
    points: list[tuple[Stage, Callable[..., object], str]] = []

    def prepare(name: str) -> None:
        stage = Stage(name, scenes[name], limit, tally)
        operations = stage.rehearse()
        for number, operation in enumerate(operations, 1):
            code = CODES[number % 2]
            what = f"{operation} {number} fails ({errno.errorcode[code]})"
            points.append((stage, partial(stage.failing, number, code), what))
        for size in SIZES:
            what = f"files of at most {size} bytes"
            points.append((stage, partial(stage.small, size), what))

    limit.side_by_side(prepare, scenes)
    points.sort(key=lambda point: point[0].name)
    limit.side_by_side(lambda point: point[0].meet(*point[1:]), limit.some(points))
    counts = tally.counts
    summary = (
        f"disks: {counts['faults']} faults in {len(scenes)} scenes "
        f"({counts['operations']} at an operation, {counts['sizes']} by size), "
        f"{counts['noted']} of them ended the command; {tally.listed(FAULTS)}"
    )
    return Outcome(summary, tuple(tally.wrong))


FAULTS = ("lost", "tracebacks", "without a sentence", "not completed", "other bits")


class Stage:
    """A scene with its pool as it is before, and what is in it afterwards.

    Args:
        name: of the scene.
        scene: what happens.
        limit: of the soak.
        tally: takes the counts.
    """

    def __init__(self, name: str, scene: Scene, limit: Limit, tally: Tally) -> None:
        self.name, self.scene, self.limit, self.tally = name, scene, limit, tally
        self.pool = limit.home / re.sub(r"\W+", "-", f"before {name}")
        self.before: Bits = {}
        self.after: Bits = {}

    def rehearse(self) -> list[Any]:
        """Make the pool, and run the command once; its operations on files.

        Raises:
            RuntimeError: a command fails.
        """
        for words in self.scene.before(self.pool):
            self._plainly(words)
        self.scene.damage(self.pool)
        self.before = ask(self.limit.home, look, self.pool).bits
        pool = self.copy("whole")
        ended = self.run(pool, partial(watch, pool))
        if ended.status not in self.scene.statuses:
            raise RuntimeError(f"{self.name} fails undisturbed: {ended.text}")
        if not ended.told:
            raise RuntimeError(f"{self.name} does nothing to files of {pool}")
        self.after = ask(self.limit.home, look, pool).bits
        shutil.rmtree(pool)
        return ended.told

    def _plainly(self, words: list[str]) -> None:
        ended = Child(self.limit.home, command, words).end()
        if ended.status:
            raise RuntimeError(f"{self.name} fails undisturbed: {ended.text}")

    def copy(self, what: str) -> Path:
        """A pool of its own, as it is before."""
        pool = self.limit.home / re.sub(r"\W+", "-", f"{self.name} {what}")
        shutil.copytree(self.pool, pool, symlinks=True)
        return pool

    def run(self, pool: Path, prepare: Any = None) -> Ended:
        """The command on a pool."""
        words, draws = self.scene.words(pool), self.scene.draws
        return Child(self.limit.home, command, words, draws, prepare).end()

    def failing(self, number: int, code: int, pool: Path) -> tuple[str, Any]:
        """The words of an error, and what lets an operation fail."""
        self.tally.add("operations")
        return os.strerror(code), partial(fail, pool, number, code)

    def small(self, size: int, pool: Path) -> tuple[str, Any]:
        """The same for files of at most so many bytes."""
        self.tally.add("sizes")
        return os.strerror(errno.EFBIG), partial(keep_small, size)

    def meet(self, fault: Any, what: str) -> None:
        """Run the command with a fault, look, and run it without."""
        tally, pool = self.tally, self.copy(what)
        tally.add("faults")
        where, wrong = f"{self.name}, {what}", len(tally.wrong)
        reason, prepare = fault(pool)
        ended = self.run(pool, prepare)
        text = " ".join(ended.text.split())
        tally.add("noted", ended.status != 0)
        plain = "Traceback" not in text and ended.status in (0, 1, 2)
        tally.require(plain, "tracebacks", f"{where}: {ended.status} {text}")
        said = ended.status == 0 or "cannot" in text or reason in text
        tally.require(said, "without a sentence", f"{where}: {ended.status} {text}")
        # A repair in between may lose nothing, either.
        steps = ("look", "mend", "look") if tally.counts["faults"] % 2 else ("look",)
        words, draws = self.scene.words(pool), self.scene.draws
        again = Child(self.limit.home, recover, pool, steps, words, draws).end()
        done = again.status in self.scene.statuses and len(again.told) == 2
        if not tally.require(done, "not completed", f"{where}: {again.text}"):
            return
        (seen, *rest), (found, (kinds, findings)) = again.told
        self.compare(seen, where)
        if rest:
            self.compare(rest[-1], f"{where}, repaired")
        for key, expected in self.after.items():
            said = differences(found.bits.get(key), expected)
            tally.require(not said, "other bits", f"{where}: {key}: {said}")
        sound = not kinds - {"leftover", "note", "unsettled"}
        tally.require(sound, "not completed", f"{where}, by fsck: {findings}")
        if len(tally.wrong) == wrong:
            shutil.rmtree(pool)

    def compare(self, now: Look, where: str) -> None:
        """What is known is still there, in its earlier or its later state."""
        for key in self.before:
            good = now.bits.get(key) in (self.before.get(key), self.after.get(key))
            said = "is gone" if key not in now.bits else "has other bits"
            self.tally.require(good, "lost", f"{where}: {key} {said}: {now.said}")


def recover(
    pool: Path,
    steps: Sequence[str],
    words: Sequence[str],
    draws: bool,
    *,
    tell: Callable[[Any], None],
) -> int:
    """Look at a pool, run a command on it, and look again, in one process."""
    do = {"look": look, "mend": mended}
    tell([do[step](pool) for step in steps])
    status = command(words, draws, tell=tell)
    tell([look(pool), mended(pool)])
    return status
