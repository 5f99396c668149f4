"""A dry run: predict what a launch would do, without starting or writing anything."""

import dataclasses
import statistics
from collections.abc import Sequence
from pathlib import Path

from jax.sharding import Mesh

from rnnjax.store.index import Row
from rnnjax.store.pool import Pool
from rnnjax.sweeps.job_data import with_data
from rnnjax.sweeps.jobs import Job
from rnnjax.sweeps.packing import Slots, make_packs
from rnnjax.sweeps.resources import needs, totals
from rnnjax.sweeps.reuse import held, with_starts, without_twins
from rnnjax.sweeps.settings import LaunchSettings
from rnnjax.training.compiled import Compiled
from rnnjax.training.pack import run_mesh
from rnnjax.training.program import Signature
from rnnjax.training.rehearsal import rehearse


@dataclasses.dataclass(frozen=True)
class Group:
    """The runs with one static signature.

    Attributes:
        labels: labels of the runs (their lines in figures).
        task: name of the task, and its number T of time steps.
        sizes: text with cell, hidden size, layers and batch.
        runs: number of runs.
        done: number of runs that need no work.
        stale: number of finished runs that were made by different numeric code.
        packs: number of packs for the remaining runs.
        steps: total number of updates that remain.
        minimum: memory of the largest pack and disk of all new runs, in bytes; both are
            lower bounds derived only from shapes.
        bytes: memory of the largest pack; None if nothing was compiled.
        seconds: time of all packs; None if unknown.
        compile_seconds: longest time to compile; None if nothing was compiled.
    """

    labels: tuple[str, ...]
    task: str
    sizes: str
    runs: int
    done: int
    stale: int
    packs: int
    steps: int
    minimum: tuple[int, int]
    bytes: int | None
    seconds: float | None
    compile_seconds: float | None


def forecast(
    jobs: Sequence[Job], settings: LaunchSettings, full: bool = False
) -> list[Group]:
    """The groups of a sweep.

    Args:
        jobs, settings: as composed; this function reads the data.
        full: compile each program to learn from XLA how much memory it needs and, if
            that fits, time a few updates. Otherwise the time is estimated from runs of
            the group that the pool already holds, if any, and the memory stays unknown.

    Raises:
        UserError: as `rnnjax.sweeps.launch.launch`, except for stale runs.
    """
    pool = Pool(Path(settings.out))
    jobs = without_twins(with_data(jobs))
    rows = {row.run_id: row for row in pool.rows()}
    fresh, stale = held(rows, jobs)
    done = fresh if settings.stale == "rerun" else fresh | stale
    unfinished = {one.run_id for one in jobs} - done
    slots = Slots(run_mesh(settings.pack.devices), settings.pack)
    jobs = with_starts(pool, jobs, rows, unfinished)
    packs = make_packs(jobs, unfinished, pool.path, slots)
    groups: dict[Signature, list[Job]] = {}
    for one in jobs:
        groups.setdefault(one.signature, []).append(one)
    found = []
    for signature, members in groups.items():
        own = [pack for pack in packs if pack.members[0].signature == signature]
        left = [one for one in members if one.run_id in unfinished]
        steps = sum(one.schedule.steps - one.start for one in left)
        size = seconds = compiling = None
        if full:
            programs: dict[tuple[Mesh, int], Compiled] = {}
            tried = []
            for pack in own:
                place = slots.places(pack.members)
                made = Compiled(signature, *place, settings.pack.how)
                program = programs.setdefault(place, made)
                tried.append(rehearse(program, [m.config for m in pack.members]))
            size = max((one.bytes for one in tried), default=None)
            times = [one.seconds for one in tried if one.seconds is not None]
            seconds = sum(times) if len(times) == len(tried) else None
            compiling = max((one.compile_seconds for one in tried), default=0.0)
        elif pace := _pace(members, rows):
            seconds = pace * steps
        config = members[0].config
        layers = f" × {config.model.layers}" if config.model.layers > 1 else ""
        group = Group(
            labels=tuple(dict.fromkeys(one.label for one in members)),
            task=f"{config.task}, T = {signature.spec.length}",
            sizes=f"{config.cell} {config.model.hidden}{layers}, B = {config.batch}",
            runs=len(members),
            done=len(members) - len(left),
            stale=len(stale & {one.run_id for one in members}),
            packs=len(own),
            steps=steps,
            minimum=totals(needs(members, unfinished, rows, settings)),
            bytes=size,
            seconds=seconds,
            compile_seconds=compiling,
        )
        found.append(group)
    return found


def _pace(members: Sequence[Job], rows: dict[str, Row]) -> float | None:
    """Median wall time per update, in seconds, of the members that the pool holds."""
    facts = [rows[one.run_id].facts for one in members if one.run_id in rows]
    known = [
        entry["run_seconds"] / entry["steps"]
        for entry in facts
        if entry.get("run_seconds") and entry.get("steps")
    ]
    return statistics.median(known) if known else None
