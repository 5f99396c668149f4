"""Four launches of one sweep on one pool at once, one killed and one stopped for long.

Leases go stale after seconds here instead of a minute. The killed one's runs are taken
over, and so are those of the stopped one, which goes on when the others have overtaken
it. All runs are made, none changes once it is sealed, and nobody reports a failure.
"""

import random
import shutil
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

from rnnjax.errors import UserError
from rnnjax.store.rundir import RunDir
from scripts.soak.children import Child, ask
from scripts.soak.kills import mended
from scripts.soak.part import Limit, Outcome, Tally
from scripts.soak.phases import announce
from scripts.soak.samples import LIGHT, command, differences, look, sweep


ROUNDS = 12

STALE = 2.0
"""Seconds after which a lease may be overtaken here."""

SEEDS = 8

STOPPED = ("saving", "updates", "closing", "indexing")
"""Phases in which one is stopped, in turn, and one is killed."""

FAULTS = ("failures", "hangs", "changed", "other bits", "lost")


def hasty(tell: Callable[[Any], None]) -> None:
    """Let leases go stale soon, in this process, and tell the phases."""
    from rnnjax.store import leases
    from rnnjax.sweeps import worker

    leases.STALE_SECONDS = STALE
    leases.Leases.__init__.__defaults__ = (STALE,)
    worker.WAIT_SECONDS = 0.1
    announce(tell)


def soak(limit: Limit) -> Outcome:
    """All rounds; each has a pool of its own."""
    tally = Tally()
    whole = limit.home / "whole"
    ended = Child(limit.home, command, sweep(whole, *LIGHT, seeds=SEEDS)).end()
    if ended.status:
        raise RuntimeError(ended.text)
    expected = ask(limit.home, look, whole).bits
    for number in limit.some(range(ROUNDS)):
        if not limit.is_over:
            Round(limit, number, expected, tally).run()
    counts = tally.counts
    summary = (
        f"crowd: {counts['rounds']} rounds of 4 launches on one pool, "
        f"{counts['killed']} killed, {counts['stopped']} stopped and continued, "
        f"{counts['runs']} runs made; {tally.listed(FAULTS)}"
    )
    return Outcome(summary, tuple(tally.wrong))


class Round:
    """One pool, and four launches.

    Args:
        limit: of the soak.
        number: of the round.
        expected: what an undisturbed pool holds.
        tally: takes the counts.
    """

    def __init__(
        self, limit: Limit, number: int, expected: dict[str, str], tally: Tally
    ) -> None:
        self.limit, self.number = limit, number
        self.expected, self.tally = expected, tally
        self.pool = limit.home / f"pool-{number}"
        self.dice = random.Random(f"{limit.seed} {number}")
        self.over = threading.Event()
        self.sealed: dict[str, bytes] = {}

    def run(self) -> None:
        """Launch, kill, stop and continue, then compare."""
        tally, wrong = self.tally, len(self.tally.wrong)
        tally.add("rounds")
        words = sweep(self.pool, *LIGHT, seeds=SEEDS)
        started = [Child(self.limit.home, command, words, False, hasty)]
        self.reach(started[0], ("compiling",), 1)  # it holds a lease
        for _ in range(3):
            started.append(Child(self.limit.home, command, words, False, hasty))
        threads = [
            threading.Thread(target=self.watch),
            threading.Thread(target=self.stop, args=(started[0],)),
            threading.Thread(target=self.kill, args=(started[1],)),
        ]
        for thread in threads:
            thread.start()
        for thread in threads[1:]:
            thread.join()
        for i, child in enumerate(started):
            try:
                ended = child.end()
            except TimeoutError as error:
                tally.fault("hangs", f"{self.pool}, launch {i}: {error}")
                continue
            killed = i == 1 and ended.status == -signal.SIGKILL
            good = killed or ended.status == 0
            plain = "failed" not in ended.text and "Traceback" not in ended.text
            said = f"{self.pool}, launch {i}: {ended.status} {ended.text}"
            tally.require(good and plain, "failures", said)
        self.over.set()
        threads[0].join()
        self.compare()
        if len(tally.wrong) == wrong:
            shutil.rmtree(self.pool)

    def compare(self) -> None:
        """All runs are there with the bits of an undisturbed pool."""
        found = ask(self.limit.home, look, self.pool).bits
        self.tally.add("runs", len(found))
        for key, bits in self.expected.items():
            said = differences(found.get(key), bits)
            sentence = f"{self.pool}: {key}: {said}"
            self.tally.require(not said, "other bits", sentence)
        kinds, text = ask(self.limit.home, mended, self.pool)
        sound = not kinds - {"leftover"}
        self.tally.require(sound, "lost", f"{self.pool}, by fsck: {text}")

    def reach(self, child: Child, phases: tuple[str, ...], count: int) -> bool:
        """Wait until a launch has begun one of these phases so many times."""
        while (phase := child.told()) is not None:
            count -= phase in phases
            if count == 0:
                time.sleep(10 ** self.dice.uniform(-4, -1))
                return True
        return False

    def kill(self, child: Child) -> None:
        """SIGKILL at some phase, if the launch gets that far."""
        if self.reach(child, STOPPED, self.dice.randint(1, 9)):
            child.send(signal.SIGKILL)
            self.tally.add("killed")

    def stop(self, child: Child) -> None:
        """SIGSTOP for longer than leases live, at a phase, then SIGCONT."""
        phase = STOPPED[self.number % len(STOPPED)]
        if self.reach(child, (phase,), self.dice.randint(1, 2)):
            child.send(signal.SIGSTOP)
            time.sleep(2.5 * STALE)
            child.send(signal.SIGCONT)
            self.tally.add("stopped")

    def watch(self) -> None:
        """Once sealed, a run stays as it is."""
        while not self.over.wait(0.05):
            for folder in self.pool.glob("*-*/"):
                try:
                    run = RunDir(folder)
                    content = run.manifest_bytes()
                    if run.manifest_of(content).is_finished:
                        known = self.sealed.setdefault(folder.name, content)
                        if known != content:
                            self.tally.fault("changed", f"{folder}, once sealed")
                    elif folder.name in self.sealed:
                        self.tally.fault("lost", f"{folder}, once sealed")
                except UserError as error:
                    if folder.name in self.sealed:
                        self.tally.fault("lost", f"{folder}: {error}")
