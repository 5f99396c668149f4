"""Decide which runs of a pool are not computed again, or only from where one ended."""

import dataclasses
import json
import time
from collections.abc import Mapping, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from flax.serialization import msgpack_restore, msgpack_serialize

from rnnjax.errors import UserError
from rnnjax.store.environment import deciding
from rnnjax.store.index import Row
from rnnjax.store.pool import Pool
from rnnjax.store.quarantine import damage
from rnnjax.store.rundir import STATE, RunDir
from rnnjax.sweeps.jobs import Job
from rnnjax.sweeps.packing import JobPack
from rnnjax.training.config import ProbeConfig
from rnnjax.training.resume_state import ResumeState


READERS = 4
"""Number of runs that are checked at the same time where reading has to wait."""

FIRST, WAITS = 50, 1e-3
"""So many runs are checked one after the other. If one takes longer than this many
seconds, reading waits for a disk or a network; else threads would only be in each
other's way (.17 ms a run without them, .46 ms with four)."""


def without_twins(jobs: Sequence[Job]) -> list[Job]:
    """The jobs without duplicates, such as jobs that read copies of the same data.

    Raises:
        UserError: two jobs differ only in their probes, so they share a directory.
    """
    known: dict[str, Job] = {}
    for one in jobs:
        other = known.setdefault(one.run_id, one)
        if other.config.probe != one.config.probe:
            raise UserError(
                f"'{other.name}' and '{one.name}' are the same run: jobs of a sweep "
                "cannot differ only in the probe"
            )
    return list(known.values())


def whole_rows(pool: Pool, jobs: Sequence[Job]) -> dict[str, Row]:
    """The rows of a pool by run id, without those of damaged runs among the jobs.

    These are then computed again; the process that begins one moves the damaged folder
    to quarantine (`rnnjax.sweeps.pack_run`).

    Raises:
        OtherFormat: a record was written in the format of another version.
    """
    asked = {one.run_id for one in jobs}
    rows = {row.run_id: row for row in pool.mend()}
    wanted = [row for run_id, row in rows.items() if run_id in asked]

    def is_lost(row: Row) -> bool:
        run = RunDir(pool.path / row.folder)
        return damage(run, row.is_finished, parse=False) is not None

    began = time.perf_counter()
    lost = [is_lost(row) for row in wanted[:FIRST]]
    waits = time.perf_counter() - began > WAITS * len(lost)
    with ThreadPoolExecutor(READERS) as readers:
        each = readers.map if waits else map
        lost.extend(each(is_lost, wanted[FIRST:]))
    gone = {row.run_id for row, one in zip(wanted, lost, strict=True) if one}
    return {run_id: row for run_id, row in rows.items() if run_id not in gone}


def held(rows: Mapping[str, Row], jobs: Sequence[Job]) -> tuple[set[str], set[str]]:
    """Ids of finished runs: those made by the present numeric code, and all others."""
    good: set[str] = set()
    old: set[str] = set()
    for one in jobs:
        row = rows.get(one.run_id)
        if row is None or not row.is_finished or not covers(row, one):
            continue
        fresh = row.facts.get("source_digest") == one.source
        (good if fresh else old).add(one.run_id)
    return good, old


def covers(row: Row, job: Job) -> bool:
    """Whether a finished run has the probes that the job requests."""
    config = job.config
    if config.probe.preset == "off":
        return True
    # as it is stored: only with the keys of its preset
    asked = dict(job.resolved["probe"])
    if not config.probe.signal:  # also of older runs, whose probe has no such key
        asked.pop("signal", None)
    held = {key: row.config.get(f"probe.{key}") for key in asked}
    steps = {step for step in asked.pop("steps") if step <= config.steps}
    return steps <= set(held.pop("steps") or ()) and asked == held


def wrap(job: Job, kept: ResumeState) -> bytes:
    """The state of a run, with the properties that a resuming run must share."""
    probe = dataclasses.asdict(job.config.probe)
    entries = {"source": job.source, "probe": json.dumps(probe)}
    entries["environment"] = json.dumps(deciding())
    return msgpack_serialize(entries | {"run": kept.to_bytes()})


def with_starts(
    pool: Pool, jobs: Sequence[Job], rows: Mapping[str, Row], unfinished: Set[str]
) -> list[Job]:
    """The jobs; each of `unfinished` with the shorter run from which it can resume.

    If there are several shorter runs, the longest one is chosen whose state was stored
    by the same code, with the same probes, in the same environment. Each job is also
    given the directory that the pool already has for it, if any.
    """
    shorter: dict[str, list[Row]] = {}
    for row in sorted(rows.values(), key=lambda row: -row.facts["steps"]):
        if row.facts["status"] == "done":
            shorter.setdefault(row.lineage, []).append(row)
    started = []
    for job in jobs:
        where: dict[str, Any] = {}
        if job.run_id in rows:
            where["folder"] = rows[job.run_id].folder
        if job.run_id in unfinished:
            for row in shorter.get(job.lineage, ()):
                if row.facts["steps"] >= job.schedule.steps:
                    continue
                if kept := _usable(RunDir(pool.path / row.folder), job):
                    where |= {"start": kept.step, "start_folder": row.folder}
                    break
        started.append(job.placed(**where))
    return started


def continued(pool: Pool, pack: JobPack) -> list[ResumeState]:
    """The states from which the members of a pack resume.

    Empty if any member cannot resume, or if the pack has a checkpoint.
    """
    if not pack.members[0].start or pack.checkpoint.members():
        return []
    kept = [_usable(RunDir(pool.path / m.start_folder), m) for m in pack.members]
    same = {one.step if one else None for one in kept} == {pack.members[0].start}
    return [one for one in kept if one] if same else []


def _usable(run: RunDir, job: Job) -> ResumeState | None:
    """The stored state of a shorter run, if the same code and probes produced it.

    None, too, if the environment (`deciding`) differs: a run cannot continue in another
    environment because its manifest can record only one.
    """
    if not run.has(STATE):
        return None
    try:
        if run.manifest().lineage != job.lineage:
            return None
        entries: Any = msgpack_restore(run.state_bytes())
        source, probe = entries["source"], ProbeConfig(**json.loads(entries["probe"]))
        where = json.loads(entries["environment"])
        kept = ResumeState.from_bytes(entries["run"])
    except (UserError, ValueError, TypeError, KeyError, AttributeError):
        return None  # Computing from the start is slower but gives the same numbers.

    def until_then(probe: ProbeConfig) -> ProbeConfig:
        steps = sorted({step for step in probe.steps if step < kept.step})
        always = {"keep_params": True, "signal": 0}  # measured after the last update
        return dataclasses.replace(probe, steps=tuple(steps), **always)

    fits = (
        (source, where) == (job.source, deciding())
        and kept.step < job.schedule.steps
        and until_then(probe) == until_then(job.config.probe)
    )
    return kept if fits else None
