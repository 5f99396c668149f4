"""What a launch takes, before it starts: what does not fit is refused with numbers.

Memory and disk are lower bounds (`rnnjax.training.demand`), so that nothing is refused
that fits. Files that a launch writes anew for runs that the pool holds are not counted,
nor are checkpoints of packs, which short runs never write.
"""

import dataclasses
import shutil
from collections.abc import Container, Hashable, Sequence
from pathlib import Path

import jax

from rnnjax.devices import free_host_memory
from rnnjax.errors import UserError
from rnnjax.sweeps.jobs import Job
from rnnjax.sweeps.settings import LaunchSettings
from rnnjax.sweeps.slots import Slots
from rnnjax.training.build import signature
from rnnjax.training.demand import Part, demand_of
from rnnjax.training.pack import run_mesh
from rnnjax.training.rehearsal import free_memory
from rnnjax.training.sizes import in_bytes


@dataclasses.dataclass(frozen=True)
class Need:
    """What runs of one kind take.

    Attributes:
        name: of one of them.
        together: how many of them share a pack, at least.
        memory: of that pack.
        runs: how many of them are new to the pool.
        disk: of each of these.
    """

    name: str
    together: int
    memory: tuple[Part, ...]
    runs: int
    disk: tuple[Part, ...]


def needs(
    jobs: Sequence[Job],
    unfinished: Container[str],
    known: Container[str],
    settings: LaunchSettings,
) -> list[Need]:
    """What the unfinished runs of a launch take, by kind.

    Args:
        jobs: all runs of the launch.
        unfinished: identities of those that are to be computed.
        known: identities of all runs that the pool holds in any state.
        settings: of the launch.
    """
    groups: dict[Hashable, list[Job]] = {}
    for one in jobs:
        if one.identity in unfinished:
            groups.setdefault(one.shared, []).append(one)
    slots = Slots(run_mesh(settings.pack.devices), settings.pack)
    found = []
    for members in groups.values():
        first = members[0]
        demand = demand_of(first.config, first.signature)
        together = _together(members, slots, settings)
        new = sum(one.identity not in known for one in members)
        found.append(
            Need(
                first.name,
                together,
                tuple(demand.training(together)),
                new,
                tuple(demand.stored(settings.checkpoint.keep)),
            )
        )
    return found


def check_needs(found: Sequence[Need], settings: LaunchSettings) -> None:
    """Refuse a launch that does not fit.

    Raises:
        UserError: memory or disk do not suffice; it says how much is needed, how much
            is free, and which keys make it so.
    """
    if not _is_elsewhere(settings):
        for need in found:
            many = f"a pack of {need.together} runs like " if need.together > 1 else ""
            hint = "; a smaller pack.capacity takes fewer at a time" if many else ""
            check_memory(f"{many}'{need.name}'", need.memory, settings, hint)
    runs, free = sum(need.runs for need in found), free_disk(settings)
    _, total = totals(found)
    if total > free:
        largest = max(found, key=lambda need: need.runs * _sum(need.disk))
        raise UserError(
            f"{runs:,} new runs need at least {in_bytes(total)} of disk and "
            f"'{settings.out}' has {in_bytes(free)} free: each like "
            f"'{largest.name}' takes {_in_words(largest.disk)}"
        )


def check_memory(
    who: str, parts: Sequence[Part], settings: LaunchSettings, hint: str = ""
) -> None:
    """Raise a `UserError` if so much memory is not there."""
    mesh = run_mesh(settings.pack.devices)
    # some of what is needed may be there already
    held = sum(array.nbytes for array in jax.live_arrays())
    places = [(list(parts), free_memory(mesh) + held)]
    if mesh.devices.flat[0].platform != "cpu":
        places[0] = [part for part in parts if not part.host], places[0][1]
        places.append(([part for part in parts if part.host], free_host_memory()))
    for some, free in places:
        if (total := _sum(some)) > free:
            raise UserError(
                f"{who} needs at least {in_bytes(total)} of memory and "
                f"{in_bytes(free)} are free: {_in_words(some)}{hint}"
            )


def check_looking(
    jobs: Sequence[Job], settings: LaunchSettings, *, stored: bool
) -> None:
    """Refuse to look at untrained networks that do not fit.

    Args:
        jobs: with their data.
        settings: pool and devices.
        stored: whether the norms by lag of all of them are written.

    Raises:
        UserError: as `check_needs`.
    """
    kinds: dict[Hashable, list[Job]] = {}
    for job in jobs:
        config = job.config
        kinds.setdefault((signature(config), config.probe), []).append(job)
    total = 0
    for members in kinds.values():
        demand = demand_of(members[0].config, signature(members[0].config))
        parts = demand.looking(len(members) if stored else 0)
        check_memory(f"'{members[0].name}'", parts, settings)
        total += demand.looked(len(members)) if stored else 0
    if total > (free := free_disk(settings)):
        raise UserError(
            f"norms by lag of {len(jobs):,} networks need at least {in_bytes(total)} "
            f"of disk and '{settings.out}' has {in_bytes(free)} free"
        )


def free_disk(settings: LaunchSettings) -> int:
    """Bytes that are free where the pool is, or will be."""
    place = Path(settings.out).expanduser().absolute()
    there = next(folder for folder in (place, *place.parents) if folder.exists())
    return shutil.disk_usage(there).free


def totals(found: Sequence[Need]) -> tuple[int, int]:
    """Bytes of memory of the largest pack, and of disk of all new runs, at least."""
    memory = max((_sum(need.memory) for need in found), default=0)
    return memory, sum(need.runs * _sum(need.disk) for need in found)


def in_a_line(memory: int, disk: int, settings: LaunchSettings) -> str:
    """What a launch takes beside what is free, in words."""
    free = in_bytes(free_memory(run_mesh(settings.pack.devices)))
    room = in_bytes(free_disk(settings))
    return (
        f"memory of the largest pack: at least {in_bytes(memory)}, {free} free; "
        f"disk: at least {in_bytes(disk)}, {room} free"
    )


def _together(members: Sequence[Job], slots: Slots, settings: LaunchSettings) -> int:
    """Runs that certainly share a pack; side by side, memory decides how many."""
    if settings.launcher.name != "packed":
        return 1
    if slots.side_by_side and settings.pack.capacity is None:
        return 1
    return min(len(members), slots(members[0]))


def _is_elsewhere(settings: LaunchSettings) -> bool:
    """Whether other machines compute the runs."""
    launcher = settings.launcher
    on_ray = launcher.name == "ray" and launcher.address is not None
    return on_ray or launcher.name == "submitit_slurm"


def _sum(parts: Sequence[Part]) -> int:
    return sum(part.bytes for part in parts)


def _in_words(parts: Sequence[Part]) -> str:
    """Those parts that are a fourth of the whole or more, the largest first."""
    large = [part for part in parts if 4 * part.bytes >= _sum(parts)]
    large.sort(key=lambda part: part.bytes, reverse=True)
    return ", ".join(
        f"{in_bytes(p.bytes)} for {p.what} ({', '.join(p.keys)})" for p in large
    )
