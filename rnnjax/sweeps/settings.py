"""Settings of how and where jobs are launched.

They are not part of the run id. The numbers of a run do not depend on them, to the last
bit, except on `PackConfig.how`.
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
"""Largest number of bytes of a name; with a suffix, file systems accept up to 255."""


@dataclasses.dataclass(frozen=True)
class TrackerConfig:
    """Where results are copied to, in addition to the run directory.

    Attributes:
        mode: ``offline`` needs no account; None: as set by ``WANDB_MODE`` and
            ``WANDB_DISABLED``, or else ``offline``.
        project: the W&B project; None: ``WANDB_PROJECT``, or else ``rnnjax``.
    """

    name: Literal["none", "wandb"] = "none"
    mode: Literal["offline", "online", "disabled"] | None = None
    project: str | None = None

    def __post_init__(self) -> None:
        name = self.project
        if name is not None and not re.fullmatch(r"[^/\\#?%:]{1,128}", name):
            raise UserError(
                f"tracker.project={name} must have 1 to 128 characters, without "
                "/ \\ # ? % and :"
            )


@dataclasses.dataclass(frozen=True)
class PackConfig:
    """How runs with the same static signature share the machine.

    Attributes:
        devices: number of devices to use; None: all.
        capacity: number of runs per device, at least 2; None: with ``loop``, 8 or fewer
            if the runs are large; with ``vmap``, as many as fit in its memory.
        how: whether a device computes its runs one after another (``loop``) or side by
            side (``vmap``); None: ``loop`` on a CPU, ``vmap`` elsewhere.
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
        """Number of runs per device, if not limited by memory."""
        return self.capacity or PLACES


@dataclasses.dataclass(frozen=True)
class CheckpointConfig:
    """When the states of runs are saved.

    Attributes:
        every_seconds: interval between checkpoints of a pack, in case of interruption.
        keep: whether a finished run keeps its state, so that a run with more `steps`
            can resume from it.
    """

    every_seconds: float = 60.0
    keep: bool = True

    def __post_init__(self) -> None:
        check_range("checkpoint.every_seconds", self.every_seconds, 0.0)


@dataclasses.dataclass(frozen=True)
class LauncherConfig:
    """Which processes compute the runs.

    Attributes:
        workers: number of simultaneous processes (joblib) or array tasks (Slurm);
            None: one process per core (joblib), no limit (Slurm).
        cpus: cores per task on a cluster; each core is an XLA device.
        address: address of a Ray cluster; ``auto``: the running one; None: start a
            local one.
        partition: Slurm partition; None: Slurm's default.
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
    """The settings that all jobs of one command share.

    Attributes:
        out: folder for the run directories (the pool); created if necessary.
        name: name of the sweep; the names of its runs begin with it.
        max_jobs: a command with more jobs is refused. Composing a job takes 0.8 ms and
            8 KB.
        stale: what to do with finished runs made by different numeric code.
        dry_run: only show what would be done; ``full`` also compiles, to estimate
            memory and time.
    """

    out: str = "runs"
    name: str | None = None
    launcher: LauncherConfig = LauncherConfig()
    pack: PackConfig = PackConfig()
    checkpoint: CheckpointConfig = CheckpointConfig()
    max_jobs: int = 100_000
    stale: Literal["error", "accept", "rerun"] = "error"
    dry_run: bool | Literal["full"] = False

    def __post_init__(self) -> None:
        if not self.out:
            raise UserError("out is empty; name a folder")
        user_path(self.out, f"out={self.out} cannot be used as a folder")
        if self.name is not None and not re.fullmatch(FOLDER_NAME, self.name):
            permitted = "letters, digits and -_.=,+@"
            raise UserError(
                f"name={self.name} cannot name a folder; use only {permitted}"
            )
        if self.name is not None and len(self.name.encode()) > LONGEST_NAME:
            raise UserError(
                f"name={self.name} is too long; use at most {LONGEST_NAME} bytes"
            )
