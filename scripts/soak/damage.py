"""Damage every kind of file: it is named, and no number read from it is wrong.

A pool holds finished runs and the checkpoint of a pack that was killed. One file at a
time is changed: a bit flipped, cut, emptied, lost, swapped for that of another run, of
a later version. Three passes:

- of the files of a run every byte is flipped, and `rnnjax.store.quarantine.damage`,
  which launches and `fsck` ask, names the file;
- at places that are spread over each kind of file all public readers read the pool:
  what they give is what was there before, and they or `fsck` name the file;
- after a few of them the sweep is launched again, and completes with the same bits.
"""

import random
import shutil
import signal
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from rnnjax.store.quarantine import damage
from rnnjax.store.rundir import RunDir
from scripts.soak.children import Child, ask
from scripts.soak.part import Limit, Outcome, Tally
from scripts.soak.phases import dies_in
from scripts.soak.samples import FULL, command, differences, look, sweep
from scripts.soak.wounds import OF_A_RUN, Wound, all_of, deep, files, flip, read


PLACES = 40
"""Flips of each file that everything is read after."""

SEEDS = 6

FAULTS = ("not found", "not named", "wrong numbers", "tracebacks", "other bits")


Kinds = tuple[Path, Path | None]
"""A file of a pool, and the same of another run."""


LONG = 1800.0
"""Seconds for one process to read all the damage that it does."""


@dataclass
class Report:
    """What a process found: counts, and faults by their name."""

    counts: Counter[str] = field(default_factory=Counter)
    faults: list[tuple[str, str]] = field(default_factory=list)


def soak(limit: Limit) -> Outcome:
    """All three passes."""
    tally, pool = Tally(), limit.home / "damaged"
    whole = limit.home / "whole"
    make(limit.home, pool, whole)
    expected = ask(limit.home, look, whole).bits
    kinds = list(files(pool))

    def reads(number: int) -> None:
        copy = limit.home / f"read-{number}"
        shutil.copytree(pool, copy)
        mine = kinds[number :: limit.workers]
        for do in (every_byte, everything_read):
            report = ask(limit.home, do, copy, mine, limit, seconds=LONG)
            enter(tally, report)

    limit.side_by_side(reads, range(limit.workers))
    wounds = [one for file, other in kinds for one in deep(pool, file, other)]

    def launches(point: tuple[int, Wound]) -> None:
        relaunch(limit, pool, *point, expected, tally)

    # each kind of wound on a third of the files, another one for each
    limit.side_by_side(launches, list(enumerate(limit.some(wounds[::3]))))
    counts = tally.counts
    summary = (
        f"damage: {counts['bytes']} flips at every byte and {counts['wounds']} wounds "
        f"of {len(kinds)} files read, {counts['launches']} launched again; "
        f"{tally.listed(FAULTS)}"
    )
    return Outcome(summary, tuple(tally.wrong))


def make(home: Path, pool: Path, whole: Path) -> None:
    """A pool with finished runs and a saved pack, and one in which all are finished.

    Raises:
        RuntimeError: a launch fails.
    """
    words = sweep(whole, *FULL, seeds=SEEDS)
    first = sweep(pool, *FULL, seeds=SEEDS - 2)
    for one in (words, first):
        ended = Child(home, command, one).end()
        if ended.status:
            raise RuntimeError(ended.text)
    words = sweep(pool, *FULL, seeds=SEEDS)
    ended = Child(home, command, words, False, partial(dies_in, "saving", 4)).end()
    if ended.status != -signal.SIGKILL:
        raise RuntimeError(f"it was not killed: {ended.text}")


def enter(tally: Tally, report: Report) -> None:
    """Add what a process found."""
    for name, number in report.counts.items():
        tally.add(name, number)
    for name, sentence in report.faults:
        tally.fault(name, sentence)


def every_byte(pool: Path, kinds: Sequence[Kinds], limit: Limit) -> Report:
    """Flip every byte of the files of a run."""
    report, dice = Report(), random.Random(limit.seed)
    for file, _ in kinds:
        if file.name not in OF_A_RUN:
            continue
        run, path = RunDir(pool / file.parent), pool / file
        old = path.read_bytes()
        for place in limit.some(range(len(old))):
            if limit.is_over:
                break
            path.write_bytes(flip(place, dice.randrange(8))(old) or b"")
            report.counts["bytes"] += 1
            said = damage(run)
            if not said or str(path) not in said:
                report.faults.append(("not found", f"{file} at {place}: {said}"))
        path.write_bytes(old)
    return report


def everything_read(pool: Path, kinds: Sequence[Kinds], limit: Limit) -> Report:
    """Read all of a pool after each wound of some of its files."""
    # that of a pool with a pack that was killed: what it left is no damage
    report, truth = Report(), read(pool)
    if any("repair removes it" not in text for text in truth.said):
        report.faults.append(("not found", f"the whole pool: {truth.said}"))
    for file, foreign in kinds:
        for wound in limit.some(all_of(pool, file, foreign, PLACES, limit.seed)):
            old = None if limit.is_over else wound.inflict(pool)
            if old is None:
                continue
            report.counts["wounds"] += 1
            try:
                found = read(pool)
            except Exception as error:
                report.faults.append(("tracebacks", f"{wound}: {error!r}"))
            else:
                said = tuple(text for text in found.said if text not in truth.said)
                report.faults += judged(wound, truth.given, found.given, said)
            (pool / file).write_bytes(old)
    return report


def judged(
    wound: Wound, truth: dict[str, str], given: dict[str, str], said: tuple[str, ...]
) -> list[tuple[str, str]]:
    """What is wrong with what was read after a wound."""
    faults = []
    for name, text in given.items():
        if text != truth.get(name):
            faults.append(("wrong numbers", f"{wound}: {name}"))
    if not said:
        faults.append(("not found", str(wound)))
    # Of a checkpoint the folder may be named, or the one file that is damaged.
    names = (wound.file.name, wound.file.parent.name)
    if said and not any(name and name in text for name in names for text in said):
        faults.append(("not named", f"{wound}: {said}"))
    return faults


def relaunch(
    limit: Limit,
    pool: Path,
    number: int,
    wound: Wound,
    expected: dict[str, str],
    tally: Tally,
) -> None:
    """Launch the sweep on a wounded copy of the pool."""
    copy = limit.home / f"launched-{number}"
    shutil.copytree(pool, copy)
    wound.inflict(copy)
    tally.add("launches")
    ended = Child(limit.home, command, sweep(copy, *FULL, seeds=SEEDS)).end()
    wrong = len(tally.wrong)
    plain = ended.status == 0 and "Traceback" not in ended.text
    tally.require(plain, "tracebacks", f"{wound}: {ended.status} {ended.text}")
    found = ask(limit.home, look, copy).bits
    for key, bits in expected.items():
        said = differences(found.get(key), bits)
        tally.require(not said, "other bits", f"{wound}, launched: {key}: {said}")
    if len(tally.wrong) == wrong:
        shutil.rmtree(copy)
