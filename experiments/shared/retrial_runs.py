"""The runs behind the figure `retrial`: starts, tasks, arms, and those watched."""

import dataclasses
import io
import itertools
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jax
import numpy as np
from jaxtyping import Float

from rnnjax.reproduce.training import curves, evaluated
from rnnjax.run import Run
from rnnjax.store.atomic import make_folder, write_bytes
from rnnjax.store.run_id import digest, file_digest
from rnnjax.training.build import initial_params, signature
from rnnjax.training.program import Signature

from . import deciding_step
from .causes import ARMS, Place
from .deciding_step import MEASURED, measure_of


BATCH, RATE = 32, 3e-3
"""Examples of an update, and Adam's learning rate."""

MOMENTS = ("start", "early")

_LSTM = ("cell=lstm", "cell.chrono=length")
_GRU = ("cell=gru", "cell.chrono=length")
_TANH = ("cell=elman", "init=orthogonal", "init.gain=1.0")

STARTS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    **{
        f"LSTM {bias}": (("cell=lstm", f"cell.forget_bias={bias}.0"), _LSTM)
        for bias in range(5)
    },
    **{
        f"tanh {gain}": (("cell=elman", "init=orthogonal", f"init.gain={gain}"), _TANH)
        for gain in ("0.8", "0.9", "1.0", "1.1")
    },
    **{
        f"GRU {bias}": (("cell=gru", f"cell.update_bias={bias}.0"), _GRU)
        for bias in (0, 2)
    },
    "IRNN": (
        ("cell=elman", "cell.activation=relu", "cell.recurrent_init=identity"),
        _TANH,
    ),
}
"""Overrides of each start, and of the critical one that the arm `critical` tries."""

TASKS = {
    "opinion": ("task.distance", 2),
    "adding": ("task.length", 2),
    "temporal_order": ("task.length", 12),
}
"""The key of the length of each task, and the least length that is used."""


@dataclasses.dataclass(frozen=True)
class Settings:
    """What differs between presets.

    Attributes:
        starts, tasks: names in `STARTS` and `TASKS`; the last task is held out.
        lengths: steps from the first that decides to the answer, or of a sequence.
        updates: budget of a run.
        every: updates between two evaluations.
        early: updates after which all is measured again.
        examples: held-out examples of a measurement.
        cells: largest number of failing cells with arms, besides `named`.
        named: start and task of the first of them, at the longest length.
        large: batch of the arm `batch`.
        retries: number of seeds, the first ones, of every arm.
        arms: names in `ARMS`.
        watched: number of runs with a plateau that are watched.
        plateau: updates that a run must have taken to be watched.
        looks: measurements of a run that is watched.
        seeds: seeds of every cell.
    """

    starts: tuple[str, ...] = (
        "LSTM 0",
        "LSTM 1",
        "LSTM 3",
        "tanh 0.9",
        "GRU 0",
        "IRNN",
    )
    tasks: tuple[str, ...] = ("opinion", "adding")
    lengths: tuple[int, ...] = (8, 20, 50)
    updates: int = 2000
    every: int = 50
    early: int = 100
    examples: int = 1024
    cells: int = 4
    named: tuple[str, str] = ("tanh 0.9", "adding")
    large: int = 256
    retries: int = 2
    arms: tuple[str, ...] = ARMS
    watched: int = 2
    plateau: int = 500
    looks: int = 11
    seeds: tuple[int, ...] = (0, 1)

    def length(self, task: str, reach: int) -> int:
        """The length of a task at a place in `lengths`."""
        return max(TASKS[task][1], self.lengths[reach])

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Number of starts, tasks, lengths and seeds."""
        parts = self.starts, self.tasks, self.lengths, self.seeds
        return tuple(map(len, parts))  # type: ignore[return-value]


def _common(seeds: Sequence[int]) -> list[str]:
    return [
        "clipping=norm",
        "clipping.threshold=1.0",
        "eval.size=512",
        "eval.stop_when_solved=true",
        f"seed={','.join(map(str, seeds))}",
    ]


def all_runs(settings: Settings, pool: Path) -> tuple[list[Run], list[Run]]:
    """All runs, in the order of `Settings.shape`: after the first updates, and ended.

    A run that has solved its task ends, also before the first of the two.
    """
    sweeps = []
    for start in settings.starts:
        for task in settings.tasks:
            lengths = [settings.length(task, k) for k in range(len(settings.lengths))]
            sweeps.append(
                [
                    *STARTS[start][0],
                    f"task={task}",
                    f"{TASKS[task][0]}={','.join(map(str, lengths))}",
                    f"lr={RATE}",
                    f"batch={BATCH}",
                    "probe=off",
                    *_common(settings.seeds),
                ]
            )
    early = evaluated(pool, settings.early, settings.every, *sweeps)
    return early, evaluated(pool, settings.updates, settings.every, *sweeps)


def solved_after(runs: Sequence[Run]) -> Float[np.ndarray, "runs"]:
    """The number of updates after which each run solved its task; inf: it did not."""
    found = np.full(len(runs), np.inf)
    for i, run in enumerate(runs):
        metric = run.results[f"validation_{run.manifest.metric}"]
        ended = run.results["stopped_early"] or run.spec.is_solved(metric)
        if run.manifest.status == "done" and ended:
            found[i] = run.manifest.steps
    return found


def measurements(
    settings: Settings, early: Sequence[Run], folder: Path
) -> Float[np.ndarray, "quantity moment runs"]:
    """All that is measured of every run at the start and after the first updates.

    Numbers are kept in `folder`, from which they are read if a figure is begun again.
    """
    found = np.full((len(MEASURED), len(MOMENTS), len(early)), np.nan)
    make_folder(folder)
    code = file_digest(deciding_step.__file__)[:12]
    size = len(settings.seeds)

    def measure(first: int) -> None:
        """The runs of one cell, which share a program."""
        runs = digest(
            "".join(x.manifest.run_id for x in early[first : first + size]).encode()
        )
        kept = folder / f"{runs[:12]}-{settings.examples}-{code}.npy"
        if kept.is_file():
            found[:, :, first : first + size] = np.load(kept)
            return
        look = measure_of(early[first].config, settings.examples)
        for i in range(first, first + size):
            for k, params in enumerate(
                (initial_params(early[i].config), early[i].params)
            ):
                found[:, k, i] = look(params)
        content = io.BytesIO()
        np.save(content, found[:, :, first : first + size])
        write_bytes(kept, content.getvalue())  # whole, or not at all

    # One after another what shares a program: only some are kept at a time.
    programs: dict[Signature, list[int]] = {}
    for first in range(0, len(early), size):
        programs.setdefault(signature(early[first].config), []).append(first)
    with ThreadPoolExecutor(jax.local_device_count()) as threads:
        list(threads.map(measure, itertools.chain(*programs.values())))
    return found


def _arm(settings: Settings, arm: str, place: Place) -> list[str]:
    """Overrides of the runs of a cell with one change."""
    start, task = settings.starts[place[0]], settings.tasks[place[1]]
    rate = RATE * {"slow": 1 / 3, "fast": 3.0}.get(arm, 1.0)
    rule = arm if arm in ("renormalise", "sham") else "exact"
    return [
        *STARTS[start][1 if arm == "critical" else 0],
        f"task={task}",
        f"{TASKS[task][0]}={settings.length(task, place[2])}",
        f"lr={rate:g}",
        f"batch={settings.large if arm == 'batch' else BATCH}",
        f"backprop={rule}",
        f"pairs={str(arm == 'pairs').lower()}",
        "probe=off",
        *_common(settings.seeds[: settings.retries]),
    ]


def retried(
    settings: Settings, pool: Path, places: Sequence[Place]
) -> Float[np.ndarray, "cell arm retry"]:
    """Updates to the solution of some cells with each change; inf: not solved."""
    wanted = [_arm(settings, arm, place) for place in places for arm in settings.arms]
    # starts of one cell have the same critical one
    sweeps = {tuple(one): one for one in wanted}
    runs = evaluated(pool, settings.updates, settings.every, *sweeps.values())
    each = solved_after(runs).reshape(len(sweeps), -1)
    rows = dict(zip(sweeps, each, strict=True))
    found = np.array([rows[tuple(one)] for one in wanted])
    return found.reshape(len(places), len(settings.arms), -1)


def plateaus(
    updates: Float[np.ndarray, "start task reach seed"], least: int, most: int
) -> list[tuple[int, int, int, int]]:
    """Runs that solved their task late: of each task in turn the slowest.

    At most one of each cell, and only those with more than `least` updates.
    """
    late = np.where(np.isfinite(updates) & (updates > least), updates, -1.0)
    seed = late.argmax(axis=-1)
    slowest = late.max(axis=-1)
    known = [tuple(map(int, place)) for place in np.argwhere(slowest > 0)]
    known.sort(key=lambda place: -slowest[place])
    turn: dict[int, int] = {}
    queue = []
    for place in known:
        turn[place[1]] = turn.get(place[1], -1) + 1
        queue.append((turn[place[1]], place[1], (*place, int(seed[place]))))
    return [place for *_, place in sorted(queue)][:most]  # type: ignore[misc]


def watched(
    settings: Settings,
    pool: Path,
    places: Sequence[tuple[int, int, int, int]],
    updates: Sequence[int],
) -> tuple[Float[np.ndarray, "run look"], Float[np.ndarray, "quantity run look"]]:
    """Progress and measurements of some runs while they train, the same runs again.

    Returns:
        the progress of the metric from its baseline (0) to the solution (1), and all
        that is measured, at multiples of `every` updates; NaN where nothing was.
    """
    looks = settings.updates // settings.every + 1
    progress = np.full((max(len(places), 1), looks), np.nan)
    found = np.full((len(MEASURED), *progress.shape), np.nan)
    if not places:
        return progress, found
    at = [
        np.unique(np.linspace(0, last // settings.every, settings.looks).astype(int))
        for last in updates
    ]
    sweeps = []
    for place, own in zip(places, at, strict=True):
        steps = ",".join(str(settings.every * k) for k in own)
        words = [
            word
            for word in _arm(settings, "", place[:3])
            if not word.startswith(("probe=", "seed="))
        ]
        probe = ["probe=full", f"probe.steps=[{steps}]", "probe.batch=8"]
        seed = f"seed={settings.seeds[place[3]]}"
        sweeps.append([*words, *probe, "probe.sentences=0", seed])
    runs = evaluated(pool, settings.updates, settings.every, *sweeps)
    metric = curves(runs, settings.updates, settings.every)
    for i, run in enumerate(runs):
        goal = run.spec.solved - run.spec.baseline
        progress[i] = (metric[i] - run.spec.baseline) / goal
        look = measure_of(run.config, settings.examples)
        for k in at[i]:
            found[:, i, k] = look(run.params_at(settings.every * int(k)))
    return progress, found
