"""Kill launches at random moments: nothing sealed is lost, and the bits are the same.

A chain is one pool and the asks that are made of it, one after the other: a sweep, then
other probes or more updates of its runs. Each is launched again and again, killed on
the way, until it is through. After each kill the pool is read by the public readers: a
run that was finished before is still there, and every finished run holds the very bytes
that an undisturbed pool holds. At the end all runs do, and `fsck` finds it sound.
"""

import itertools
import random
import shutil
import signal
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from rnnjax.store.fsck import examine, repair
from rnnjax.store.quarantine import QUARANTINE
from scripts.soak.children import Child, Ended, ask
from scripts.soak.part import Limit, Outcome, Tally
from scripts.soak.phases import PLACES, announce, dies_at
from scripts.soak.samples import (
    FULL,
    LIGHT,
    OFF,
    Look,
    command,
    differences,
    look,
    sweep,
)


@dataclass(frozen=True)
class Kind:
    """What is asked of a pool, and whether reports are drawn."""

    asks: tuple[tuple[str, ...], ...]
    draws: bool = False


KINDS = {
    "one sweep": Kind(((*FULL,),)),
    "other probes": Kind(((*OFF,), (*LIGHT,), (*FULL,))),
    "more updates": Kind(((*OFF,), (*OFF, "steps=24"))),
    "a report": Kind(((*LIGHT,),), draws=True),
    "more probes and updates": Kind(((*LIGHT,), (*FULL,), (*FULL, "steps=18"))),
}

A_CHAIN = 7
"""Kills of a chain at most; then it is left in peace to its end."""

LAUNCHES = 60
"""Of one ask, after which it counts as one that never ends."""

NAMED = ("kills", "signals", "chains", "runs", "lost", "half-read", "other bits")
"""Counts that have a place of their own in the summary."""

Bits = dict[str, str]


@dataclass(frozen=True)
class Strike:
    """When a launch is struck, and how.

    Attributes:
        phase: of `PLACES`, or ``files``: before an operation on files of the pool.
        count: at which beginning of the phase, or which operation.
        delay: seconds after that.
        number: the signal.
    """

    phase: str
    count: int
    delay: float
    number: int


def strike(dice: random.Random, kind: Kind) -> Strike:
    """A random one; a phase of moments gets as many as one of seconds."""
    phases = [phase for phase in PLACES if phase != "reporting"]
    if dice.random() < 0.3:
        return Strike("files", dice.randint(1, 80), 0.0, signal.SIGKILL)
    phase = "reporting" if kind.draws and dice.random() < 0.5 else dice.choice(phases)
    several = phase not in ("composing", "reporting")
    number = dice.choices(
        (signal.SIGKILL, signal.SIGTERM, signal.SIGINT), weights=(8, 1, 1)
    )[0]
    delay = 10 ** dice.uniform(-4, -0.3)
    return Strike(phase, dice.randint(1, 2) if several else 1, delay, number)


def launch(home: Path, words: Sequence[str], kind: Kind, at: Strike | None) -> Ended:
    """Run a command, struck on the way if it comes that far.

    Raises:
        TimeoutError: it did not end.
    """
    if at is None:
        return Child(home, command, words, kind.draws).end()
    pool = Path(words[-1].removeprefix("out="))
    prepare = partial(dies_at, at.count, pool) if at.phase == "files" else announce
    child = Child(home, command, words, kind.draws, prepare)
    seen: Counter[str] = Counter()
    while at.phase != "files" and (phase := child.told()) is not None:
        seen[phase] += 1
        if seen[at.phase] == at.count:
            time.sleep(at.delay)
            child.send(at.number)
            break
    return child.end()


def soak(limit: Limit) -> Outcome:
    """Kill `Limit.kills` launches, in as many chains as that takes."""
    tally, phases = Tally(), Counter[str]()
    expected: dict[str, list[Bits]] = {}

    def whole(name: str) -> None:
        expected[name] = undisturbed(limit.home / f"whole {name}", KINDS[name], limit)

    names = list(KINDS)[: max(1, limit.kills // A_CHAIN)]
    limit.side_by_side(whole, names)
    numbers = itertools.count()

    def chains(worker: int) -> None:
        while expected and tally.counts["kills"] < limit.kills and not limit.is_over:
            number = next(numbers)
            name = list(expected)[number % len(expected)]
            Chain(limit, number, name, expected[name], tally, phases).run()

    limit.side_by_side(chains, range(limit.workers))
    counts = tally.counts
    same = "OTHER BITS" if counts["other bits"] else "same bits"
    others = sum(n for name, n in counts.items() if name not in NAMED)
    spread = ", ".join(f"{phase} {n}" for phase, n in sorted(phases.items()))
    summary = (
        f"kills: {counts['kills']} kills over {counts['chains']} chains "
        f"({counts['signals']} by SIGINT or SIGTERM), {counts['lost']} lost, "
        f"{counts['half-read']} half-read, {others} other faults, {same} of "
        f"{counts['runs']} runs; killed in {spread}"
    )
    return Outcome(summary, tuple(tally.wrong))


def undisturbed(pool: Path, kind: Kind, limit: Limit) -> list[Bits]:
    """What a pool holds after each ask if nobody disturbs it.

    Raises:
        RuntimeError: a launch fails.
    """
    found = []
    for asked in kind.asks:
        ended = launch(limit.home, sweep(pool, *asked), kind, None)
        if ended.status:
            raise RuntimeError(f"an undisturbed launch fails: {ended.text}")
        found.append(ask(limit.home, look, pool).bits)
    shutil.rmtree(pool)
    return found


class Chain:
    """One pool through all of its asks.

    Args:
        limit: of the soak.
        number: of the chain.
        name: of its kind.
        expected: what an undisturbed pool holds after each ask.
        tally: takes the counts.
        phases: takes the phases in which it was killed.
    """

    def __init__(
        self,
        limit: Limit,
        number: int,
        name: str,
        expected: Sequence[Bits],
        tally: Tally,
        phases: Counter[str],
    ) -> None:
        self.limit, self.name, self.kind = limit, name, KINDS[name]
        self.expected, self.tally, self.phases = expected, tally, phases
        self.pool = limit.home / f"chain-{number}"
        self.dice = random.Random(f"{limit.seed} {number}")
        self.seen: Bits = {}
        self.sound = True

    def run(self) -> None:
        """Make all asks, with kills on the way, and examine what is there then."""
        used = 0
        for stage, asked in enumerate(self.kind.asks):
            ends = A_CHAIN * (stage + 1) // len(self.kind.asks)
            words = sweep(self.pool, *asked)
            for _ in range(LAUNCHES):
                enough = self.tally.counts["kills"] >= self.limit.kills
                peace = used >= ends or enough
                at = None if peace else strike(self.dice, self.kind)
                where = f"{self.name}, {self.pool}, ask {stage}, {at}"
                struck, through = self._launch(words, at, stage, where)
                used += struck
                if through:
                    break
            else:
                stuck = f"{self.name}, {self.pool}: {LAUNCHES} launches do not end it"
                self._fault("stuck", stuck)
        self._close()

    def _launch(
        self, words: list[str], at: Strike | None, stage: int, where: str
    ) -> tuple[bool, bool]:
        """Launch once and read the pool: whether it was killed, whether it is through.

        One that hangs or fails is entered, and ends the ask.
        """
        try:
            ended = launch(self.limit.home, words, self.kind, at)
        except TimeoutError as error:
            self._fault("hang", f"{where}: {error}")
            return False, True
        good = () if at is None else (-at.number, 128 + at.number)
        struck = at is not None and ended.status in good
        if at and struck:
            self.tally.add("kills")
            self.tally.add("signals", at.number != signal.SIGKILL)
            told = [one for one in ended.told if one != "armed"]
            self.phases[[at.phase, *told][-1]] += 1
        plain = ended.status in (0, *good) and "Traceback" not in ended.text
        if not plain or "failed" in ended.text:
            self._fault("failure", f"{where}, status {ended.status}: {ended.text}")
        self._read(stage, where)
        if struck and self.seen and self.dice.random() < 0.2:
            self._repair(stage, where)
        return struck, not struck

    def _repair(self, stage: int, where: str) -> None:
        """Nothing but leftovers goes by a repair, and no damage is found."""
        kinds, text = ask(self.limit.home, mended, self.pool)
        if not kinds <= {"leftover", "unsettled", "index", "note"}:
            self._fault("damage", f"{where}: {text}")
        self._read(stage, f"{where}, repaired")

    def _read(self, stage: int, where: str) -> None:
        """Compare what the pool holds with what was seen before, and with the bits."""
        now: Look = ask(self.limit.home, look, self.pool)
        for said in now.said:
            self._fault("half-read", f"{where}: {said}")
        for run_id in self.seen.keys() - now.bits.keys():
            self._fault("lost", f"{where}: {run_id}")
        for run_id, found in now.bits.items():
            known = [one.get(run_id) for one in self.expected[: stage + 1]]
            if run_id in self.seen:  # never back to an earlier result
                known = known[known.index(self.seen[run_id]) :]
            if found in known:
                self.seen[run_id] = found
            else:
                said = differences(found, known[-1])
                self._fault("other bits", f"{where}: {run_id}: {said}")

    def _close(self) -> None:
        """All is there, `fsck` finds no damage, and leftovers go."""
        self.tally.add("chains")
        self.tally.add("runs", len(self.seen))
        if self.seen != self.expected[-1]:
            self._fault("other bits", f"{self.name}, {self.pool}: at its end")
        kinds, text = ask(self.limit.home, mended, self.pool)
        if kinds - {"leftover", "unsettled"}:
            self._fault("damage", f"{self.name}, {self.pool}: {text}")
        if (self.pool / QUARANTINE).exists():
            self._fault("damage", f"{self.name}, {self.pool}: something in quarantine")
        if ask(self.limit.home, look, self.pool).bits != self.seen:
            self._fault("lost", f"{self.name}, {self.pool}: by a repair")
        if self.sound:
            shutil.rmtree(self.pool)

    def _fault(self, name: str, sentence: str) -> None:
        self.sound = False
        self.tally.fault(name, sentence)


def mended(pool: Path) -> tuple[set[str], str]:
    """Examine a pool and repair it: the kinds of findings, and their sentences.

    What the repair leaves is a finding ``unmended``.
    """
    found = examine(pool).findings
    repair(pool, found)
    kinds: set[str] = {one.kind for one in found}
    left = [one for one in examine(pool).findings if one.kind != "note"]
    texts = "; ".join(one.text for one in (*found, *left))
    return kinds | ({"unmended"} if left else set()), texts
