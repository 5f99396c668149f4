"""Finished runs of which more steps are asked: where they can go on from."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any

from flax.serialization import msgpack_restore, msgpack_serialize

from rnnjax.errors import UserError
from rnnjax.store.identity import source_digest
from rnnjax.store.index import Row
from rnnjax.store.pool import Pool
from rnnjax.store.rundir import STATE, RunDir
from rnnjax.sweeps.packing import Planned, PlannedPack
from rnnjax.training.config import ProbeConfig
from rnnjax.training.continuation import Continuation


def wrap(planned: Planned, kept: Continuation) -> bytes:
    """The state of a run with what has to be equal when it goes on."""
    probe = dataclasses.asdict(planned.job.config.probe)
    entries = {"source": source_digest(), "probe": json.dumps(probe)}
    return msgpack_serialize(entries | {"run": kept.to_bytes()})


def with_starts(
    pool: Pool,
    planned: Sequence[Planned],
    rows: Mapping[str, Row],
    unfinished: set[str],
) -> list[Planned]:
    """The runs with the step that those of `unfinished` can go on from."""
    found = []
    for one in planned:
        row = rows.get(one.identity) if one.identity in unfinished else None
        kept = _usable(RunDir(pool.path / row.folder), one) if row else None
        found.append(dataclasses.replace(one, start=kept.step) if kept else one)
    return found


def continued(pool: Pool, pack: PlannedPack) -> list[Continuation]:
    """What all members of a pack go on from; empty if one of them starts anew."""
    if not pack.members[0].start or pack.checkpoint.members():
        return []
    runs = [(pool.find(member.identity), member) for member in pack.members]
    kept = [_usable(run, member) if run else None for run, member in runs]
    same = {one.step if one else None for one in kept} == {pack.members[0].start}
    return [one for one in kept if one] if same else []


def _usable(run: RunDir, planned: Planned) -> Continuation | None:
    """The stored state of a run if the same code and probes made it."""
    if not run.has(STATE):
        return None
    try:
        entries: Any = msgpack_restore(run.state_bytes())
        source, probe = entries["source"], ProbeConfig(**json.loads(entries["probe"]))
        kept = Continuation.from_bytes(entries["run"])
    except (UserError, ValueError, TypeError, KeyError, AttributeError):
        return None  # Computed from the start: slower, and the same numbers.
    asked = planned.job.config.probe
    fits = (
        source == source_digest()
        and kept.step < planned.schedule.steps
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
