"""Find shorter runs of the same lineage, from which a longer run can resume."""

import dataclasses
import json
from collections.abc import Mapping, Sequence, Set
from typing import Any

from flax.serialization import msgpack_restore, msgpack_serialize

from rnnjax.errors import UserError
from rnnjax.store.environment import deciding
from rnnjax.store.index import Row
from rnnjax.store.pool import Pool
from rnnjax.store.rundir import STATE, RunDir
from rnnjax.sweeps.jobs import Job
from rnnjax.sweeps.packing import JobPack
from rnnjax.training.config import ProbeConfig
from rnnjax.training.resume_state import ResumeState


def wrap(job: Job, kept: ResumeState) -> bytes:
    """The state of a run, with the properties that a resuming run must share."""
    probe = dataclasses.asdict(job.config.probe)
    entries = {"source": job.source, "probe": json.dumps(probe)}
    entries["environment"] = json.dumps(deciding())
    return msgpack_serialize(entries | {"run": kept.to_bytes()})


def with_starts(
    pool: Pool,
    jobs: Sequence[Job],
    rows: Mapping[str, Row],
    unfinished: Set[str],
) -> list[Job]:
    """The jobs; each of `unfinished` with the shorter run from which it can resume.

    If there are several shorter runs, the longest one is chosen whose state was stored
    by the same code, with the same probes, in the same environment. Each job is also
    given the directory that the pool already has for it, if any.
    """
    jobs = [
        one.placed(folder=rows[one.run_id].folder) if one.run_id in rows else one
        for one in jobs
    ]
    shorter: dict[str, list[Row]] = {}
    for row in sorted(rows.values(), key=_steps, reverse=True):
        if row.facts["status"] == "done":
            shorter.setdefault(row.lineage, []).append(row)
    return [
        _with_start(pool, one, shorter.get(one.lineage, ()))
        if one.run_id in unfinished
        else one
        for one in jobs
    ]


def _with_start(pool: Pool, job: Job, shorter: Sequence[Row]) -> Job:
    for row in shorter:
        if _steps(row) < job.schedule.steps:
            kept = _usable(RunDir(pool.path / row.folder), job)
            if kept is not None:
                return job.placed(start=kept.step, start_folder=row.folder)
    return job


def _steps(row: Row) -> int:
    return row.facts["steps"]


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
    asked = job.config.probe
    fits = (
        source == job.source
        and where == deciding()
        and kept.step < job.schedule.steps
        and _finely(probe) == _finely(asked)
        and _before(probe.steps, kept.step) == _before(asked.steps, kept.step)
    )
    return kept if fits else None


def _finely(probe: ProbeConfig) -> dict[str, Any]:
    entries = dataclasses.asdict(probe)
    del entries["steps"], entries["keep_params"]
    return entries


def _before(steps: Sequence[int], step: int) -> set[int]:
    return {one for one in steps if one < step}
