"""Memory and disk that a launch needs; a launch that cannot fit is refused.

The numbers are lower bounds (`rnnjax.training.demand`), so that a launch that fits is
never refused. Two things are not counted: files that a launch rewrites for runs that
the pool already holds, and checkpoints of packs, which short runs never write.
"""

import dataclasses
import shutil
from collections.abc import Container, Hashable, Sequence
from pathlib import Path

import jax

from rnnjax.devices import free_host_memory
from rnnjax.errors import UserError
from rnnjax.sweeps.jobs import Job
from rnnjax.sweeps.packing import Slots
from rnnjax.sweeps.settings import LaunchSettings
from rnnjax.training.demand import Part, demand_of
from rnnjax.training.pack import run_mesh
from rnnjax.training.rehearsal import free_memory
from rnnjax.training.sizes import in_bytes


@dataclasses.dataclass(frozen=True)
class Need:
    """Memory and disk that runs of one kind need.

    Attributes:
        name: the name of one of these runs.
        together: least number of these runs that share a pack.
        memory: memory of that pack, by part.
        runs: number of these runs that are new to the pool.
        disk: disk space of each new run, by part.
    """

    name: str
    together: int
    memory: Sequence[Part]
    runs: int
    disk: Sequence[Part]


def needs(
    jobs: Sequence[Job],
    unfinished: Container[str],
    known: Container[str],
    settings: LaunchSettings,
) -> list[Need]:
    """Memory and disk that the unfinished runs of a launch need, by kind.

    `known` are the ids of all runs in the pool, whatever their state.
    """
    groups: dict[Hashable, list[Job]] = {}
    for one in jobs:
        if one.run_id in unfinished:
            groups.setdefault(one.pack_key, []).append(one)
    slots = Slots(run_mesh(settings.pack.devices), settings.pack)
    found = []
    for members in groups.values():
        first = members[0]
        demand = demand_of(first.config, first.signature)
        together = _together(members, slots, settings)
        new = sum(one.run_id not in known for one in members)
        memory = demand.training(together)
        disk = demand.stored(settings.checkpoint.keep)
        found.append(Need(first.name, together, memory, new, disk))
    return found


def check_needs(found: Sequence[Need], settings: LaunchSettings) -> None:
    """Refuse a launch that does not fit.

    Raises:
        UserError: there is not enough memory or disk; the message says how much is
            needed, how much is free, and which keys cause the need.
    """
    launcher = settings.launcher
    on_ray = launcher.name == "ray" and launcher.address is not None
    if not (on_ray or launcher.name == "submitit_slurm"):  # on other machines
        for need in found:
            many = f"a pack of {need.together} runs like " if need.together > 1 else ""
            hint = "; a smaller pack.capacity runs fewer at a time" if many else ""
            check_memory(f"{many}'{need.name}'", need.memory, settings, hint)
    runs, free = sum(need.runs for need in found), free_disk(settings)
    _, total = totals(found)
    if total > free:
        largest = max(found, key=lambda need: need.runs * _sum(need.disk))
        raise UserError(
            f"{runs:,} new runs need at least {in_bytes(total)} of disk and "
            f"'{settings.out}' has {in_bytes(free)} free: each run like "
            f"'{largest.name}' needs {_in_words(largest.disk)}"
        )


def check_memory(
    who: str, parts: Sequence[Part], settings: LaunchSettings, hint: str = ""
) -> None:
    """Raise a `UserError` if the memory for `parts` is not free."""
    mesh = run_mesh(settings.pack.devices)
    # some of the needed arrays may already be in memory
    held = sum(array.nbytes for array in jax.live_arrays())
    on_cpu = mesh.devices.flat[0].platform == "cpu"
    of_host = [part for part in parts if part.host and not on_cpu]
    others = [part for part in parts if part not in of_host]
    for some, free in (
        (others, free_memory(mesh) + held),
        (of_host, free_host_memory()),
    ):
        if (total := _sum(some)) > free:
            raise UserError(
                f"{who} needs at least {in_bytes(total)} of memory and "
                f"{in_bytes(free)} is free: {_in_words(some)}{hint}"
            )


def check_looking(
    jobs: Sequence[Job], settings: LaunchSettings, *, stored: bool
) -> None:
    """Refuse to probe untrained networks that do not fit in memory or on disk.

    `stored` says whether the norms by lag of all networks are written to disk.

    Raises:
        UserError: as `check_needs`.
    """
    kinds: dict[Hashable, list[Job]] = {}
    for job in jobs:
        kinds.setdefault((job.signature, job.config.probe), []).append(job)
    total = 0
    for members in kinds.values():
        demand = demand_of(members[0].config, members[0].signature)
        parts = demand.looking(len(members) if stored else 0)
        check_memory(f"'{members[0].name}'", parts, settings)
        total += demand.looked(len(members)) if stored else 0
    if total > (free := free_disk(settings)):
        raise UserError(
            f"norms by lag of {len(jobs):,} networks need at least {in_bytes(total)} "
            f"of disk and '{settings.out}' has {in_bytes(free)} free"
        )


def free_disk(settings: LaunchSettings) -> int:
    """Free bytes on the disk of the pool, which may not exist yet."""
    place = Path(settings.out).expanduser().absolute()
    there = next(folder for folder in (place, *place.parents) if folder.exists())
    return shutil.disk_usage(there).free


def totals(found: Sequence[Need]) -> tuple[int, int]:
    """Lower bounds in bytes: memory of the largest pack, disk space of all new runs."""
    memory = max((_sum(need.memory) for need in found), default=0)
    return memory, sum(need.runs * _sum(need.disk) for need in found)


def in_a_line(memory: int, disk: int, settings: LaunchSettings) -> str:
    """A line with the memory and disk that a launch needs, and what is free."""
    free = in_bytes(free_memory(run_mesh(settings.pack.devices)))
    room = in_bytes(free_disk(settings))
    return (
        f"memory of the largest pack: at least {in_bytes(memory)}, {free} free; "
        f"disk: at least {in_bytes(disk)}, {room} free"
    )


def _together(members: Sequence[Job], slots: Slots, settings: LaunchSettings) -> int:
    """Number of runs that certainly share a pack.

    If memory decides how many runs are mapped side by side, only 1 is certain.
    """
    if settings.launcher.name != "packed":
        return 1
    if slots.side_by_side and settings.pack.capacity is None:
        return 1
    return min(len(members), slots(members[0]))


def _sum(parts: Sequence[Part]) -> int:
    return sum(part.bytes for part in parts)


def _in_words(parts: Sequence[Part]) -> str:
    """The parts that make up at least a quarter of the total, the largest first."""
    large = [part for part in parts if 4 * part.bytes >= _sum(parts)]
    large.sort(key=lambda part: part.bytes, reverse=True)
    return ", ".join(
        f"{in_bytes(p.bytes)} for {p.what} ({', '.join(p.keys)})" for p in large
    )
