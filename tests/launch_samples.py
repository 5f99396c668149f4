"""Sweeps of tiny runs, launched into a pool of a test's own."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import flax.serialization

from rnnjax.store.rundir import RunDir
from rnnjax.sweeps.compose import compose_sweep
from rnnjax.sweeps.jobs import Job
from rnnjax.sweeps.launch import LaunchResult, launch
from rnnjax.sweeps.progress import PackSize, Progress
from rnnjax.sweeps.settings import CheckpointConfig, LaunchSettings, PackConfig
from tests.training_samples import CAPACITY


SIZES = [
    "model.hidden=5",
    "model.embedding=3",
    "eval.every=6",
    "eval.size=20",
    "lr=0.05",
    "batch=4",
    "steps=12",
    "log_every=5",
]
"""The overrides of `tests.training_samples.tiny`."""
PROBE = ["probe.steps=[0,4,7]", "probe.batch=6", "probe.sentences=2"]
OPINION = ["task.distance=5"]


def jobs(*overrides: str, probe: str = "off", task: Sequence[str] = OPINION) -> Any:
    """Jobs that equal `tiny` runs but for the overrides."""
    preset = [f"probe={probe}", *(PROBE if probe != "off" else [])]
    return compose_sweep([*SIZES, *preset, *task, *overrides])


def settings(pool: Path, **changes: Any) -> LaunchSettings:
    """Launch into `pool`, saving at every stop."""
    defaults: dict[str, Any] = {
        "pack": PackConfig(capacity=CAPACITY),
        "checkpoint": CheckpointConfig(every_seconds=0),
    }
    return LaunchSettings(out=str(pool), **{**defaults, **changes})


class Witness(Progress):
    """Keeps what it is told, and may interrupt the launch at an advance."""

    def __init__(self, interrupt_at: int | None = None) -> None:
        self.interrupt_at = interrupt_at
        self.packs: list[PackSize] = []
        self.advances: list[tuple[int, int]] = []
        self.warnings: list[str] = []

    def begin(self, packs: Sequence[PackSize], there: int) -> None:
        self.packs = list(packs)

    def advance(self, updates: int, runs_ended: int) -> None:
        if len(self.advances) == self.interrupt_at:
            raise KeyboardInterrupt
        self.advances.append((updates, runs_ended))

    def warn(self, message: str) -> None:
        self.warnings.append(message)


def start(
    pool: Path,
    planned: Sequence[Job],
    witness: Progress | None = None,
    **changes: Any,
) -> LaunchResult:
    """Launch jobs into a pool."""
    return launch(planned, settings(pool, **changes), "a test", witness)


def params_of(run: RunDir) -> Any:
    """Final parameters of a run directory."""
    return flax.serialization.msgpack_restore(run.params_bytes())


def contents(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Bytes and time of every file of the run directories below a pool."""
    return {
        str(file.relative_to(folder)): (file.read_bytes(), file.stat().st_mtime_ns)
        for file in sorted(folder.glob("*-*/*"))
        if file.is_file()
    }
