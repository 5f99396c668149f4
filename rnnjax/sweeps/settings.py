"""How and where jobs are launched: no run becomes another one by it.

Its numbers are the same to the last bit, `PackConfig.how` aside.
"""

import dataclasses
import re
from typing import Literal

from rnnjax.checks import check_range
from rnnjax.errors import UserError
from rnnjax.paths import user_path
from rnnjax.training.pack import PLACES, How


FOLDER_NAME = r"[\w=,+@][\w.=,+@-]*"

LONGEST_NAME = 120
"""Bytes of a name; a file system takes 255 with what is put behind it."""


@dataclasses.dataclass(frozen=True)
class TrackerConfig:
    """Where results are mirrored to beside the run directory.

    Attributes:
        name: ``none`` or ``wandb``.
        mode: ``offline`` needs no account; None: as ``WANDB_MODE`` and
            ``WANDB_DISABLED`` say, or else ``offline``.
        project: the W&B project; None: ``WANDB_PROJECT``, or else ``rnnjax``.
    """

    name: Literal["none", "wandb"] = "none"
    mode: Literal["offline", "online", "disabled"] | None = None
    project: str | None = None

    def __post_init__(self) -> None:
        name = self.project
        if name is not None and not re.fullmatch(r"[^/\\#?%:]{1,128}", name):
            raise UserError(
                f"tracker.project={name} must have 1 to 128 characters, none of "
                "them / \\ # ? % or :"
            )


@dataclasses.dataclass(frozen=True)
class PackConfig:
    """How runs of one static signature share the machine.

    Attributes:
        devices: how many devices to use; None: all.
        capacity: places for runs on each device, at least 2; None: 8, fewer where runs
            are large, or where they run side by side as many as its memory takes.
        how: the runs of a device one after the other (``loop``) or side by side
            (``vmap``); None: ``loop`` on a CPU, ``vmap`` elsewhere.
    """

    devices: int | None = None
    capacity: int | None = None
    how: How | None = None

    def __post_init__(self) -> None:
        if self.devices is not None:
            check_range("pack.devices", self.devices, 1)
        if self.capacity is not None:
            check_range("pack.capacity", self.capacity, 2, 65_536)

    @property
    def places(self) -> int:
        """Places for runs on each device, where memory does not decide."""
        return self.capacity or PLACES


@dataclasses.dataclass(frozen=True)
class CheckpointConfig:
    """What is saved of the state of runs.

    Attributes:
        every_seconds: how often that of a pack, against interruptions.
        keep: whether a finished run keeps it, so that `steps` can be raised later.
    """

    every_seconds: float = 60.0
    keep: bool = True

    def __post_init__(self) -> None:
        check_range("checkpoint.every_seconds", self.every_seconds, 0.0)


@dataclasses.dataclass(frozen=True)
class LauncherConfig:
    """Which processes compute the runs.

    Attributes:
        name: see ``rnnjax list launchers``.
        workers: processes (joblib) or tasks of the array (Slurm) at a time; None: one
            per core, all of them.
        cpus: cores of a task on a cluster, each an XLA device.
        address: of a Ray cluster; ``auto``: the running one; None: a local one.
        partition: of Slurm; None: its default.
        minutes: time limit of a task, after which it is queued again.
    """

    name: Literal[
        "packed", "basic", "joblib", "ray", "submitit_local", "submitit_slurm"
    ] = "packed"
    workers: int | None = None
    cpus: int = 1
    address: str | None = None
    partition: str | None = None
    minutes: int = 60

    def __post_init__(self) -> None:
        if self.workers is not None:
            check_range("launcher.workers", self.workers, 1)
        check_range("launcher.cpus", self.cpus, 1)
        check_range("launcher.minutes", self.minutes, 1)


@dataclasses.dataclass(frozen=True)
class LaunchSettings:
    """What all jobs of one command have in common.

    Attributes:
        out: folder of the run directories, made if it is not there.
        name: of the sweep, and the beginning of the names of its runs.
        launcher: see `LauncherConfig`.
        pack: see `PackConfig`.
        checkpoint: see `CheckpointConfig`.
        most_jobs: of a command that asks for more none is started. Composing a job
            takes .8 ms and 8 KB.
        stale: what becomes of a finished run that other numeric code made.
        dry_run: show what would be done, and do nothing; ``full`` also compiles, for
            memory and time.
    """

    out: str = "runs"
    name: str | None = None
    launcher: LauncherConfig = LauncherConfig()
    pack: PackConfig = PackConfig()
    checkpoint: CheckpointConfig = CheckpointConfig()
    most_jobs: int = 100_000
    stale: Literal["error", "accept", "rerun"] = "error"
    dry_run: bool | Literal["full"] = False

    def __post_init__(self) -> None:
        if not self.out:
            raise UserError("out is empty; name a folder")
        user_path(self.out, f"out={self.out} cannot be a folder")
        if self.name is not None and not re.fullmatch(FOLDER_NAME, self.name):
            permitted = "letters, digits and -_.=,+@"
            raise UserError(f"name={self.name} cannot name a folder; use {permitted}")
        if self.name is not None and len(self.name.encode()) > LONGEST_NAME:
            raise UserError(
                f"name={self.name} is too long; use at most {LONGEST_NAME} bytes"
            )
